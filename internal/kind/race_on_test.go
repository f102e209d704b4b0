//go:build race

package kind

// hostileSize is smaller under the race detector, which makes parsing 20 times
// slower; the bounds of the test stay.
const hostileSize = MaxFile / 64
