package logs

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Stream is one captured pipe. Its methods may be called from any goroutine.
type Stream struct {
	p  *Pump
	fd int // of the pipe

	// state is 0 when all that was read is where it belongs and ends with a
	// newline; see EndOfRun.
	state   atomic.Uint32
	bytes   atomic.Uint64
	dropped atomic.Uint64
	lines   atomic.Uint64
	trouble atomic.Pointer[trouble]

	// What follows belongs to Run.
	o       Options
	next    *Options // to be in force from the next line
	busy    bool
	quiet   uint8 // reads of nothing in a row
	streak  uint8 // reads of something since busy, up to flowing: then the pipe is not in epoll
	asked   bool  // to enlarge the pipe
	large   bool  // the pipe holds bigPipe
	ahead   int   // bytes that are being passed on and still in the pipe
	gone    bool  // closed
	packing bool  // a rotated file is being compressed
	rec     record
	file    file
	hold    []byte // stdout: a line whose end is not yet known; nil when there is none
	gap     gap    // stdout: what is missing there
}

// Bits of Stream.state.
const (
	taking  = 1 << iota // between a read and the write of what it gave
	inLine              // the last byte was not a newline
	unknown             // a file is there and nobody has looked how it ends
	changed             // Configure has been called and has not taken place
)

// Stats say how a stream is doing.
type Stats struct {
	Bytes        uint64    // read from the consumer
	DroppedBytes uint64    // of what should have been written, prefixes included
	DroppedLines uint64    // lines lost in whole or in part
	Degraded     string    // what is wrong with the sink, in words; "" when nothing is
	Since        time.Time // since when it is degraded
}

type trouble struct {
	why   string
	since time.Time
}

// Stats may be asked for at any time and costs no wait.
func (s *Stream) Stats() Stats {
	st := Stats{Bytes: s.bytes.Load(), DroppedBytes: s.dropped.Load(), DroppedLines: s.lines.Load()}
	if t := s.trouble.Load(); t != nil {
		st.Degraded, st.Since = t.why, t.since
	}
	return st
}

// Configure changes what becomes of the stream, soon after it returned and at
// the end of a line, so that no line is torn.
func (s *Stream) Configure(o Options) error {
	if err := s.p.check(&o); err != nil {
		return fmt.Errorf("capture output of %s/%d: %w", o.Consumer, o.Slot, err)
	}
	s.state.Or(changed)
	s.p.do(func() {
		s.state.And(^uint32(changed))
		s.next = &o
		if s.state.Load()&inLine == 0 {
			s.adopt()
		}
	})
	return nil
}

// EndOfRun is to be called when the process of a run is gone. What is in the
// pipe at this moment is taken, a last line without newline is ended, and then
// done is called: before EndOfRun returns when there was nothing to do, else
// from the pump, which it must not hold up. Whoever has inherited the pipe and
// goes on writing is captured too, and delays nothing.
func (s *Stream) EndOfRun(done func()) {
	// In this order: what was read before the pipe was found empty shows in state.
	if n, err := pending(s.fd); err == nil && n == 0 && s.state.Load() == 0 {
		done()
		return
	}
	if !s.p.do(func() { s.endRun(); done() }) {
		done()
	}
}

// Close takes what is in the pipe, ends the last line and closes pipe and file,
// soon after it returned. The stream is not to be used any more.
func (s *Stream) Close() {
	s.p.do(func() { s.endRun(); s.release() })
}

func (s *Stream) prepare() error {
	var st unix.Stat_t
	if err := unix.Fstat(s.fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return fmt.Errorf("descriptor %d is not a pipe", s.fd)
	}
	if err := unix.SetNonblock(s.fd, true); err != nil {
		return err
	}
	if err := s.p.check(&s.o); err != nil {
		return err
	}
	var file unix.Stat_t
	if s.o.toFile() && unix.Lstat(s.o.Path, &file) == nil && file.Size > 0 {
		s.state.Store(unknown)
	}
	return nil
}

// adopt makes next the options in force, between two lines.
func (s *Stream) adopt() {
	old := s.o
	s.o, s.next = *s.next, nil
	if !s.o.toFile() || s.o.Path != old.Path {
		s.file.close()
		s.file.turn, s.file.stay, s.file.copies = turnNone, time.Time{}, false
	}
	if !s.o.toFile() {
		s.file.gap = gap{} // there is no file any more to say it in
		s.recovered()
	}
}

func (s *Stream) interest() *unix.EpollEvent {
	return &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(s.fd)}
}

// listen leaves a new stream to epoll.
func (s *Stream) listen() error {
	return unix.EpollCtl(s.p.epfd, unix.EPOLL_CTL_ADD, s.fd, s.interest())
}

// takeRest has what is in the pipe of a new stream taken as a whole, and then leaves
// it to epoll. It is called with the pump's mu held.
func (s *Stream) takeRest() error {
	left, err := pending(s.fd)
	if err != nil {
		return err
	}
	if left == 0 && s.state.Load() == 0 {
		s.streak = 0
		return s.listen()
	}
	s.p.calls = append(s.p.calls, func() {
		s.drain(left)
		s.endLine()
		if !s.gone && !s.watch() {
			s.busy = true
			s.p.busy = append(s.p.busy, s)
		}
	})
	if len(s.p.calls) == 1 {
		s.p.wake()
	}
	return nil
}

// crowded tells whether a pipe that held n bytes should not be kept waiting.
func (s *Stream) crowded(n int) bool {
	return n >= bigPipe/4 || n >= smallPipe/2 && !s.large
}

// read takes once from the pipe. It is not alive when the stream has been quiet
// for long enough to be left to epoll again.
func (s *Stream) read() (n int, alive bool) {
	if s.gone {
		return 0, false
	}
	n, err := s.take(readSize)
	switch {
	case n > 0:
		s.flow(n)
		return n, true
	case err == nil: // the end of a pipe that was not opened O_RDWR: nothing will come
		return 0, false
	case err != unix.EAGAIN && err != unix.EINTR:
		s.degrade(fmt.Errorf("read pipe: %w", err))
		return 0, false
	}
	enough := uint8(quietPasses)
	if s.large {
		enough = quietLargePasses
	}
	if s.quiet++; s.quiet < enough {
		return 0, true
	}
	return 0, !s.watch()
}

// flow notes that n bytes came.
func (s *Stream) flow(n int) {
	s.quiet = 0
	if s.streak < flowing {
		if s.streak++; s.streak == flowing {
			_ = unix.EpollCtl(s.p.epfd, unix.EPOLL_CTL_DEL, s.fd, nil) // it is in there
		}
	}
	if n >= smallPipe/2 && !s.asked {
		s.asked = true
		s.large = s.p.big.enlarge(s.fd)
	}
}

// watch leaves the stream to epoll. It is false when the kernel has no memory
// for that: then the pipe goes on being read.
func (s *Stream) watch() bool {
	op := unix.EPOLL_CTL_MOD
	if s.streak == flowing {
		op = unix.EPOLL_CTL_ADD
	}
	s.quiet = 0
	return unix.EpollCtl(s.p.epfd, op, s.fd, s.interest()) == nil
}

// take reads up to size bytes and passes them on.
func (s *Stream) take(size int) (int, error) {
	s.state.Or(taking)
	defer s.state.And(^uint32(taking))
	size = min(size, len(s.p.buf))
	if s.direct() {
		return s.move(size)
	}
	return s.copy(size)
}

// copy is take by way of our memory: what is there when we are killed is lost.
func (s *Stream) copy(size int) (int, error) {
	n, err := unix.Read(s.fd, s.p.buf[:size])
	if n <= 0 {
		return 0, err
	}
	s.bytes.Add(uint64(n))
	s.give(s.p.buf[:n])
	return n, nil
}

// drain takes the next bytes in the pipe, which are there.
func (s *Stream) drain(left int) {
	for left > 0 && !s.gone {
		n, err := s.take(left)
		if n == 0 || err != nil {
			return
		}
		left -= n
	}
}

func (s *Stream) endRun() {
	if s.gone {
		return
	}
	s.drainAll()
	s.endLine()
}

// drainAll takes what is in the pipe now and not what is written meanwhile.
func (s *Stream) drainAll() {
	if left, err := pending(s.fd); err == nil {
		s.drain(left)
	}
}

func (s *Stream) endLine() {
	if s.gone {
		return
	}
	s.learn()
	if s.state.Load()&inLine != 0 {
		s.give([]byte{'\n'})
	}
}

func (s *Stream) release() {
	if s.gone {
		return
	}
	s.gone = true
	if s.file.gap.why != "" {
		s.file.retryAt, s.file.inLine = time.Time{}, false
		s.resume(nil)
	}
	s.file.close()
	if s.hold != nil && !s.p.leaving.Load() {
		s.p.stdout.put(s, append(s.hold, '\n'))
		s.hold = nil
	}
	if s.large {
		s.p.big.left++
	}
	s.p.mu.Lock()
	delete(s.p.streams, s.fd)
	s.p.mu.Unlock()
	_ = unix.Close(s.fd) // a pipe's read end has nothing to lose
}

// give passes on what was read, with the options that were in force when its
// first line began.
func (s *Stream) give(b []byte) {
	s.learn()
	if s.next != nil {
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			s.format(b[:i+1])
			b = b[i+1:]
			s.state.And(^uint32(inLine))
			s.adopt()
		}
	}
	if len(b) == 0 {
		return
	}
	s.format(b)
	if b[len(b)-1] == '\n' {
		s.state.And(^uint32(inLine))
	} else {
		s.state.Or(inLine)
	}
}

// learn looks, once, whether the file that is there ends inside a line.
func (s *Stream) learn() {
	if s.state.Load()&unknown == 0 {
		return
	}
	s.state.And(^uint32(unknown))
	if s.openFile(false) != nil || !s.file.torn {
		return
	}
	if s.o.Prefix == PrefixJSON {
		return // a record cannot be continued safely: the next one begins a new line
	}
	s.file.inLine, s.rec.open = true, s.o.Prefix == PrefixTime
	s.state.Or(inLine)
}

// emit hands finished bytes to the sinks.
func (s *Stream) emit(b []byte) {
	if s.o.toFile() {
		s.put(b)
	}
	if s.o.toStdout() {
		s.say(b)
	}
}
