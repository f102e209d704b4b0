package logs

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// rotated is the name of the k-th rotated file, 1 being the newest; it may
// stand there with the ending .gz instead.
func rotated(path string, k int) string { return path + "." + strconv.Itoa(k) }

// rotate makes the current file Path.1, or empties it with keep: 0. When that
// is refused the file grows until it is allowed: no line is given up for it.
func (s *Stream) rotate() {
	f := &s.file
	var err error
	switch {
	case s.o.Keep == 0:
		if err = unix.Ftruncate(f.fd, 0); err == nil {
			f.size, f.torn = 0, false
		}
	case !f.isAt(s.o.Path): // moved away by somebody else, who keeps it
		f.close()
	default:
		if err = shift(s.o.Path, s.o.Keep); err == nil {
			f.close()
			s.p.gzip.offer(s)
		}
	}
	if err != nil {
		f.stay = time.Now().Add(turnAgain)
		s.degrade(fmt.Errorf("rotate %s: %w", s.o.Path, err))
	} else if !f.stay.IsZero() {
		f.stay = time.Time{}
		s.recovered()
	}
}

func (f *file) isAt(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Ino == f.ino && st.Dev == f.dev
}

// shift moves each rotated file one up, as far as the first number that is
// free, removes what is then beyond keep, and moves path to path.1. Nothing is
// renamed over something else: ext4 would write the file to disk there and then.
func shift(path string, keep int) error {
	free := 1
	for free < keep && present(rotated(path, free)) {
		free++
	}
	if free == keep {
		remove(rotated(path, keep))
	}
	for k := keep + 1; remove(rotated(path, k)); k++ {
		// Of a time when more were kept.
	}
	for k := free - 1; k >= 1; k-- {
		for _, ending := range []string{"", ".gz"} {
			err := os.Rename(rotated(path, k)+ending, rotated(path, k+1)+ending)
			if err != nil && !os.IsNotExist(err) {
				return err
			}
		}
	}
	return os.Rename(path, rotated(path, 1))
}

func present(name string) bool {
	var st unix.Stat_t
	return unix.Lstat(name, &st) == nil || unix.Lstat(name+".gz", &st) == nil
}

// remove removes a rotated file in both its forms. It is false when there was
// none. An error shows at the rename that follows, if it matters.
func remove(name string) bool {
	plain, packed := unix.Unlink(name), unix.Unlink(name+".gz")
	return plain == nil || packed == nil
}
