package logs

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"testing"
)

// A reader that is cut off again and again goes on where it was, through
// rotated and compressed files, without a gap or a line twice.
func TestFollowGoesOnFromAnyLine(t *testing.T) {
	const lines = 900
	path, all := makeLog(t, lines)
	mark(t, path+".2.gz")
	enough := errors.New("enough")
	for _, step := range []int{1, 7, 299, 300, 301, 899} {
		var got [][]byte
		var at Position
		for len(got) < lines {
			n := 0
			err := Follow(context.Background(), path, at, func(line []byte, next Position) error {
				got, at, n = append(got, bytes.Clone(line)), next, n+1
				if n == step || len(got) == lines {
					return enough
				}
				return nil
			})
			if err != enough {
				t.Fatalf("step %d: %v", step, err)
			}
		}
		if !bytes.Equal(bytes.Join(got, []byte("\n")), bytes.Join(all, []byte("\n"))) {
			t.Errorf("step %d: %d lines, not those that were written", step, len(got))
		}
	}
}

// mark gives a compressed file the mark of its original, as rotation does.
func mark(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	z, err := gzip.NewReader(f)
	check(t, err)
	var text bytes.Buffer
	_, err = text.ReadFrom(z)
	check(t, errors.Join(err, f.Close()))
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Extra = identity{Dev: 1, Ino: 2, Size: int64(text.Len()), MTime: 3}.mark()
	_, err = w.Write(text.Bytes())
	check(t, errors.Join(err, w.Close(), os.WriteFile(path, b.Bytes(), 0o640)))
}
