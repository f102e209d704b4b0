//go:build !race

package kind

// hostileSize is the size of hostile input: the largest that is accepted.
const hostileSize = MaxFile
