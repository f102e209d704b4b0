package kind

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is written with a unit: 90s, 10m, 1h30m. A
// bare 0 is allowed; negative durations are not.
type Duration = time.Duration

// Size is a number of bytes, written 4096, 64KiB, 64MB, 1.5GiB; all units are
// powers of 1024. Never negative.
type Size int64

// Path is a file name. A relative one is taken from the directory of the file
// it is written in, so that it means the same wherever the daemon is started.
type Path string

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := ParseSize(string(text))
	*s = Size(n)
	return err
}

// UnmarshalNode implements Unmarshaler.
func (p *Path) UnmarshalNode(d *Decoder, n *Node, path string) {
	var text string
	if !d.text(n, path, &text) {
		return
	}
	if text == "" {
		d.Problems.Add(n, path, "must not be empty")
		return
	}
	*p = Path(Resolve(n, text))
}

// Resolve makes a file name that n names absolute: relative ones are taken
// from the directory of n's file.
func Resolve(n *Node, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	name = filepath.Join(filepath.Dir(n.File), name)
	if abs, err := filepath.Abs(name); err == nil { // fails only when the working directory is gone
		return abs
	}
	return name
}

// Long enough for everybody, and far from overflowing when added to a time or
// multiplied by a factor.
const maxDuration = 87600 * time.Hour

// ParseDuration reads a duration with a unit (ns us ms s m h). 0 needs none.
func ParseDuration(text string) (time.Duration, error) {
	if text == "" {
		return 0, errors.New("expected a duration such as 30s, got an empty value")
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil && text != "0" {
		return 0, fmt.Errorf("duration %s needs a unit, such as %ss or %sm", Quote(text), text, text)
	}
	v, err := time.ParseDuration(text)
	switch {
	case err != nil && onlyDurationLetters(text):
		return 0, fmt.Errorf("duration %s is not valid, or too long; the longest is %dh (ten years)", Quote(text), maxDuration/time.Hour)
	case err != nil:
		return 0, fmt.Errorf("expected a duration such as 30s, 10m or 1h30m, got %s", Quote(text))
	case v < 0:
		return 0, fmt.Errorf("duration %s must not be negative", Quote(text))
	case v > maxDuration:
		return 0, fmt.Errorf("duration %s is too long; the longest is %dh (ten years)", Quote(text), maxDuration/time.Hour)
	}
	return v, nil
}

func onlyDurationLetters(text string) bool {
	return text[0] >= '0' && text[0] <= '9' && strings.Trim(text, "0123456789.hmsunµ") == ""
}

// The units of a size. K and KB mean 1024 as well: nobody sizes memory in thousands.
var sizeUnits = []struct {
	names  []string
	factor float64
}{
	{[]string{"", "B"}, 1},
	{[]string{"KiB", "KB", "K"}, 1 << 10},
	{[]string{"MiB", "MB", "M"}, 1 << 20},
	{[]string{"GiB", "GB", "G"}, 1 << 30},
	{[]string{"TiB", "TB", "T"}, 1 << 40},
}

// ParseSize reads a number of bytes with an optional unit; all units are powers of 1024.
func ParseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "BKMGTPEibkmgtpe ")
	unit := strings.TrimSpace(text[len(digits):])
	number, err := strconv.ParseFloat(digits, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || digits == "" || strings.Trim(digits, "-0123456789.") != "" {
		return 0, fmt.Errorf("expected a size such as 64MiB, got %s", Quote(text))
	}
	if number < 0 {
		return 0, fmt.Errorf("size %s must not be negative", Quote(text))
	}
	for _, u := range sizeUnits {
		for _, name := range u.names {
			if !strings.EqualFold(name, unit) {
				continue
			}
			if number*u.factor >= math.MaxInt64/2 {
				return 0, fmt.Errorf("size %s is too large", Quote(text))
			}
			return int64(number * u.factor), nil
		}
	}
	return 0, fmt.Errorf("unknown unit in size %s: use KiB, MiB, GiB or TiB", Quote(text))
}
