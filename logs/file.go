package logs

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxLine is how many bytes past its size a file takes to end a line; after
	// that the line is split, without a byte added: it goes on in the next file.
	maxLine = 1 << 20

	lookAgain   = time.Second      // between two looks whether the path still is our file
	retryFirst  = time.Second / 10 // after a write failed; doubled each time
	retryMax    = 5 * time.Second  //
	retryForget = time.Minute      // without a failure, until retryFirst holds again
	turnAgain   = 10 * time.Second // after a rotation failed; the file grows meanwhile
)

// file is where a stream writes. It is opened at the first byte.
type file struct {
	fd       int // -1: not open
	dev, ino uint64
	size     int64 // bytes
	torn     bool  // the file does not end with a newline
	copies   bool  // its file system has no splice
	inLine   bool  // what was put last, or lost, did not
	turn     turn
	over     int       // bytes written while turn waits for the end of a line
	looked   time.Time // when path and file were last compared
	stay     time.Time // no rotation before
	gap      gap
	sick     bool // in Pump.sick
	retryAt  time.Time
	backoff  time.Duration
	failed   time.Time
}

// turn is what is to be done with a file at the end of the line.
type turn uint8

const (
	turnNone turn = iota
	turnRotate
	turnReopen
)

// put appends b to the file, rotating it on the way. What cannot be written is
// counted in the gap; put never waits for a better time.
func (s *Stream) put(b []byte) {
	f := &s.file
	for len(b) > 0 {
		if f.gap.why != "" {
			if b = s.resume(b); len(b) == 0 {
				return
			}
		}
		if err := s.ready(); err != nil {
			s.lose(b, err)
			return
		}
		n, turn := s.cut(b)
		if k, err := s.pass(b[:n]); err != nil {
			s.lose(b[k:], err)
			return
		}
		b = b[n:]
		if turn {
			s.turnFile()
		}
	}
}

// cut is how many bytes of b go into the file before it must be turned.
func (s *Stream) cut(b []byte) (n int, turn bool) {
	f := &s.file
	if f.turn == turnNone {
		room := s.room()
		if len(b) <= room {
			return len(b), false
		}
		f.turn, f.over = turnRotate, 0
		if i := bytes.LastIndexByte(b[:room], '\n'); i >= 0 {
			return i + 1, true
		}
	}
	if !f.torn && (f.size > 0 || f.turn == turnReopen) {
		return 0, true
	}
	if i := bytes.IndexByte(b[:min(len(b), maxLine-f.over)], '\n'); i >= 0 {
		return i + 1, true
	}
	if n := maxLine - f.over; n <= len(b) {
		return n, true
	}
	f.over += len(b)
	return len(b), false
}

func (s *Stream) room() int {
	if s.o.MaxSize == 0 || !s.file.stay.IsZero() && time.Now().Before(s.file.stay) {
		return math.MaxInt
	}
	return int(min(max(0, s.o.MaxSize-s.file.size), math.MaxInt))
}

// ready makes sure that the file is open, is the one at its path, and stands
// where the stream stands: at the beginning of a line or inside one.
func (s *Stream) ready() error {
	f := &s.file
	if f.fd >= 0 {
		s.look()
	}
	if f.fd < 0 {
		if err := s.openFile(true); err != nil {
			return err
		}
	}
	if f.torn && !f.inLine {
		_, err := s.write([]byte{'\n'})
		return err
	}
	return nil
}

// look notices, about once a second and only while something is written, that
// the file was deleted, moved or truncated by somebody else.
func (s *Stream) look() {
	f := &s.file
	now := time.Now()
	if now.Sub(f.looked) < lookAgain {
		return
	}
	f.looked = now
	var st unix.Stat_t
	err := unix.Lstat(s.o.Path, &st)
	if err == nil && st.Ino == f.ino && st.Dev == f.dev {
		f.size = st.Size
		f.torn = f.torn && st.Size > 0
		return
	}
	if err != nil && err != unix.ENOENT && err != unix.ENOTDIR {
		return // not seen is not gone
	}
	if unix.Fstat(f.fd, &st) == nil && st.Nlink == 0 {
		f.close() // nobody will read the rest of the line there
		return
	}
	f.turn, f.over = turnReopen, 0
}

func (s *Stream) turnFile() {
	if s.file.turn == turnRotate {
		s.rotate()
	} else {
		s.file.close()
	}
	s.file.turn = turnNone
}

// write appends all of b. On an error, k bytes of it are in the file.
func (s *Stream) write(b []byte) (k int, err error) {
	f := &s.file
	for k < len(b) {
		n, err := unix.Pwritev2(f.fd, [][]byte{b[k:]}, -1, unix.RWF_APPEND)
		if n > 0 {
			k += n
			f.size += int64(n)
			f.torn = b[k-1] != '\n'
			f.inLine = f.torn
			continue
		}
		if err != unix.EINTR {
			return k, fmt.Errorf("write %s: %w", s.o.Path, err)
		}
	}
	return k, nil
}

// openFile opens the file for appending, and never anything but a regular file
// with one name: whoever may write into the directory must not be able to send
// root's writes elsewhere.
func (s *Stream) openFile(create bool) error {
	fd, st, err := openLog(s.o.Path, create)
	if err != nil {
		return err
	}
	f := &s.file
	f.fd, f.dev, f.ino, f.size, f.torn = fd, st.Dev, st.Ino, st.Size, endsTorn(fd, st.Size)
	f.looked = time.Now()
	return nil
}

func (f *file) close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd) // every write has been checked
	}
	f.fd, f.size, f.torn = -1, 0, false
}
