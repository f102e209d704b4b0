package logs

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// What goes into a file as it came does not pass through this process: it is
// moved from the pipe to the file by the kernel, and so is in one of them at any
// moment, whenever we are killed. splice(2) does not say what it moved. Where
// that matters, as at the end of a file, the bytes are looked at while they stay
// in the pipe, see peek.

// direct says whether the stream is one of those.
func (s *Stream) direct() bool {
	return s.o.To == ToFile && s.o.Prefix == PrefixNone && !s.file.copies
}

// move moves up to size bytes from the pipe to the file.
func (s *Stream) move(size int) (int, error) {
	n, err := pending(s.fd)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return s.peek(size) // its end, or nothing
	}
	s.learn()
	n = min(n, size)
	f := &s.file
	if s.next == nil && f.turn == turnNone && f.gap.why == "" && s.ready() == nil && n <= s.room() {
		if n, err = s.splice(n); err == nil {
			s.bytes.Add(uint64(n))
			s.seeEnd()
			return n, nil
		}
	}
	return s.peek(size) // a second time it shows what is wrong, and with what
}

// splice moves up to n bytes, at least one unless there is an error.
func (s *Stream) splice(n int) (int, error) {
	f := &s.file
	for {
		// Others may have truncated it. O_APPEND would spare us the question, but
		// splice refuses such a file.
		var st unix.Stat_t
		if err := unix.Fstat(f.fd, &st); err != nil {
			return 0, fmt.Errorf("write %s: %w", s.o.Path, err)
		}
		end := st.Size
		k, err := unix.Splice(s.fd, nil, f.fd, &end, n, unix.SPLICE_F_NONBLOCK)
		if k > 0 {
			f.size = end
			return int(k), nil
		}
		switch err {
		case unix.EINTR:
			continue
		case unix.EINVAL, unix.ENOSYS: // not with this file system, or container
			f.copies = true
		case nil:
			err = unix.EPIPE // somebody else has emptied it
		}
		return 0, fmt.Errorf("write %s: %w", s.o.Path, err)
	}
}

// seeEnd finds out how what was moved ends.
func (s *Stream) seeEnd() {
	f := &s.file
	f.torn = endsTorn(f.fd, f.size)
	f.inLine = f.torn
	if f.torn {
		s.state.Or(inLine)
	} else {
		s.state.And(^uint32(inLine))
	}
}

// endsTorn says whether a file of size bytes ends inside a line.
func endsTorn(fd int, size int64) bool {
	var last [1]byte
	if size == 0 {
		return false
	}
	n, err := unix.Pread(fd, last[:], size-1)
	return err == nil && n == 1 && last[0] != '\n'
}

// peek passes on up to size bytes that stay in the pipe until they are in the
// file, or counted as lost: see pass and skip.
func (s *Stream) peek(size int) (int, error) {
	p := s.p
	if !p.glass.open() {
		return s.copy(size)
	}
	n, err := unix.Tee(s.fd, p.glass.w, size, unix.SPLICE_F_NONBLOCK)
	if n <= 0 {
		return 0, err
	}
	b := p.buf[:n]
	if err := p.glass.read(b); err != nil {
		return 0, err
	}
	if s.next != nil { // what follows the line is for other options
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			b = b[:i+1]
		}
	}
	s.ahead = len(b)
	s.bytes.Add(uint64(len(b)))
	s.give(b)
	return len(b), nil
}

// pass puts b into the file, from where it is. On an error, k bytes of it are there.
func (s *Stream) pass(b []byte) (k int, err error) {
	f := &s.file
	for k < len(b) && s.ahead > 0 {
		n, err := s.splice(min(len(b)-k, s.ahead))
		if f.copies {
			s.consume(s.ahead) // b has it
			break
		}
		if err != nil {
			return k, err
		}
		k += n
		s.ahead -= n
		f.torn = b[k-1] != '\n'
		f.inLine = f.torn
	}
	n, err := s.write(b[k:])
	return k + n, err
}

// consume takes n bytes that were looked at out of the pipe.
func (s *Stream) consume(n int) {
	n = min(n, s.ahead)
	s.ahead -= n
	for n > 0 {
		var scratch [4096]byte
		k, err := unix.Read(s.fd, scratch[:min(n, len(scratch))])
		if k <= 0 && err != unix.EINTR {
			return // somebody else did
		}
		n -= max(k, 0)
	}
}

// glass is a pipe to look at what is in another one: tee(2) puts the same pages
// into it.
type glass struct {
	r, w int // 0: not made yet
}

func (g *glass) open() bool {
	if g.w == 0 {
		var fds [2]int
		if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
			return false // tried again
		}
		g.r, g.w = fds[0], fds[1]
		_, _ = unix.FcntlInt(uintptr(g.w), unix.F_SETPIPE_SZ, bigPipe) // a smaller one shows less at a time
	}
	return true
}

func (g *glass) read(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(g.r, b)
		if n <= 0 && err != unix.EINTR {
			g.close() // what is left in it must not be taken for something else
			return fmt.Errorf("look into pipe: %w", err)
		}
		b = b[max(n, 0):]
	}
	return nil
}

func (g *glass) close() {
	if g.w > 0 {
		unix.Close(g.r)
		unix.Close(g.w)
	}
	g.r, g.w = 0, 0
}
