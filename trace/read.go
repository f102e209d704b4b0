package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// longest is how long a line may be, in bytes: a consumer of ten thousand slots
// that all differ stays below.
const longest = 16 << 20

// Read returns the records of a file and of the one that was put aside before it,
// oldest first, and how many lines are no records: those that the death of an engine has
// cut off.
func Read(path string) (records []Record, torn int, err error) {
	for _, p := range []string{Former(path), path} {
		f, err := os.Open(p)
		if p != path && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read the trace: %w", err)
		}
		more, bad, err := read(f)
		_ = f.Close()
		if err != nil {
			return nil, 0, fmt.Errorf("read the trace %s: %w", p, err)
		}
		records, torn = append(records, more...), torn+bad
	}
	slices.SortStableFunc(records, func(a, b Record) int { return a.At.Compare(b.At) })
	return records, torn, nil
}

func read(r io.Reader) (records []Record, torn int, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), longest)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var rec Record
		if json.Unmarshal(lines.Bytes(), &rec) != nil || rec.Consumer == "" || rec.At.IsZero() {
			torn++
			continue
		}
		records = append(records, rec)
	}
	return records, torn, lines.Err()
}
