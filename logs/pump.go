// Package logs keeps what consumers print: it reads their pipes, writes whole
// lines to files it rotates, or to the daemon's stdout, and reads them back.
//
// The writing side is a [Pump]: one goroutine for all streams. It is asleep
// until a pipe has data; then it reads that pipe about once a millisecond,
// without being woken for every line, until the pipe is quiet again. With
// prefix none the bytes go to the file as they come (a line that has no end yet
// can be seen at once); a newline is looked for only where a file is rotated.
//
// A sink that cannot be written, because the disk is full or stdout is stuck,
// never stops a consumer: pipes are drained, what cannot be kept is counted,
// and a line says how much is missing as soon as writing works again.
//
// When the process is killed, what is still in the pipes waits for the next one.
// Nothing else is lost where output goes to a file without prefixes, for it is
// then moved by the kernel (see move.go). Of all other output, what was read and
// not yet written is lost: that of about a millisecond.
//
// The reading side is [Tail] and [Follow].
package logs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readSize = bigPipe // bytes taken from one pipe before the next has its turn: all of it

	// pace is how long pipes may fill before they are read again while data
	// flows (the runtime rounds it up to 1 ms). Without it each line that finds
	// its pipe empty wakes the reader, and the reader takes a core for itself.
	pace = 500 * time.Microsecond

	// flowing is how many reads in a row find something before a pipe is taken
	// out of epoll altogether: a watched pipe, even one that may not report
	// (EPOLLONESHOT), makes each write of its consumer a third slower.
	flowing = 3

	// quietPasses is after how many reads of nothing, a pace apart, a stream
	// goes back to sleep. One that has had its pipe enlarged is given longer: with
	// more writers than processors each of them rests for tens of milliseconds,
	// and going in and out of epoll costs the writers a fifth of their rate.
	quietPasses      = 3
	quietLargePasses = 60
)

// Pump moves the output of any number of streams. Create it with NewPump; it
// does nothing until Run.
type Pump struct {
	poll *os.File // the epoll descriptor, itself in the runtime's poller, so that waiting costs no thread
	raw  syscall.RawConn
	epfd int

	hasStdout bool

	// Trouble, if not nil, is called from Run whenever Stats.Degraded of a stream
	// has changed. It must not wait. Set it before Run.
	Trouble func()

	mu      sync.Mutex
	streams map[int]*Stream // by descriptor
	calls   []func()        // to be run by Run, in order
	ended   bool            // Run is at its end

	// What follows belongs to the goroutine in Run.
	busy   []*Stream // have had data lately: read every pace, not watched by epoll
	sick   []*Stream // have lost something and not said so yet
	events []unix.EpollEvent
	buf    []byte // what was read
	out    []byte // what was read, with prefixes
	glass  glass
	stamp  stamp
	stdout stdout
	big    bigPipes
	gzip   compressor
	gather func(uintptr) bool // collect, bound once

	leaving atomic.Bool // see Leave

	passes atomic.Uint64 // of the loop; tests look whether it stands still
}

// NewPump returns a pump that writes to stdout what Options send there; nil
// when nothing will. It starts nothing.
func NewPump(stdout *os.File) (*Pump, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll for log pipes: %w", err)
	}
	if err := unix.SetNonblock(epfd, true); err != nil {
		return nil, errors.Join(err, unix.Close(epfd))
	}
	p := &Pump{
		poll:    os.NewFile(uintptr(epfd), "log pipes"),
		epfd:    epfd,
		streams: map[int]*Stream{},
		events:  make([]unix.EpollEvent, 64),

		hasStdout: stdout != nil,
	}
	if p.raw, err = p.poll.SyscallConn(); err == nil {
		err = p.poll.SetReadDeadline(time.Time{}) // proves that the poller has it
	}
	if err == nil {
		err = p.stdout.open(p, stdout)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare log capture: %w", err), p.poll.Close())
	}
	return p, nil
}

// Run captures until ctx is done, then takes what is still in the pipes, closes
// every stream and waits for what it started. It returns early only when the
// kernel refuses to wait for the pipes at all.
func (p *Pump) Run(ctx context.Context) error {
	p.buf = make([]byte, readSize)
	p.big = pipeBudget()
	p.gzip.start(p)
	p.gather = p.collect
	stop := context.AfterFunc(ctx, p.wake)
	defer stop()
	var err error
	for ctx.Err() == nil && err == nil {
		p.passes.Add(1)
		if full := p.pass(); !full {
			err = p.wait(ctx)
		}
	}
	p.finish()
	return err
}

// pass takes what there is once. It tells whether some pipe was so full that
// waiting would hold up its writer.
func (p *Pump) pass() (full bool) {
	for p.collect(0) {
	}
	p.runCalls()
	still := p.busy[:0]
	for _, s := range p.busy {
		if s.o.toStdout() && p.stdout.crowded() {
			still = append(still, s)
			continue
		}
		n, alive := s.read()
		full = full || s.crowded(n)
		if alive {
			still = append(still, s)
		} else {
			s.busy = false
		}
	}
	clear(p.busy[len(still):])
	p.busy = still
	p.stdout.flush()
	if len(p.sick) > 0 {
		p.retry(time.Now())
	}
	return full
}

// collect moves streams that have data to busy, where each stays out of epoll
// (EPOLLONESHOT) until it is quiet. It is false when nothing has happened.
func (p *Pump) collect(uintptr) bool {
	n, err := unix.EpollWait(p.epfd, p.events, 0)
	if err != nil || n == 0 { // an error can only be EINTR, and the event stays
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ev := range p.events[:n] {
		if s := p.streams[int(ev.Fd)]; s != nil && !s.busy {
			s.busy, s.quiet, s.streak = true, 0, 0
			p.busy = append(p.busy, s)
		} else if s == nil {
			p.stdout.blocked = false // the only other descriptor
		}
	}
	return true
}

// wait sleeps for a pace while data flows, else until something happens.
func (p *Pump) wait(ctx context.Context) error {
	until, ready := p.nextRetry(), p.gather
	if len(p.busy) > 0 {
		until, ready = time.Now().Add(pace), later
	}
	if err := p.poll.SetReadDeadline(until); err != nil {
		return fmt.Errorf("wait for log pipes: %w", err)
	}
	// Only now, for wake works by setting another deadline.
	p.mu.Lock()
	called := len(p.calls) > 0
	p.mu.Unlock()
	if called || ctx.Err() != nil {
		return nil
	}
	if err := p.raw.Read(ready); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("wait for log pipes: %w", err)
	}
	return nil
}

// later makes a paced wait last: who begins to talk meanwhile is heard after it.
func later(uintptr) bool { return false }

// wake ends a wait, from any goroutine and without a descriptor of its own.
func (p *Pump) wake() { _ = p.poll.SetReadDeadline(time.Unix(1, 0)) }

// do has Run call f. It is false when Run has ended.
func (p *Pump) do(f func()) bool {
	p.mu.Lock()
	ended, first := p.ended, len(p.calls) == 0
	if !ended {
		p.calls = append(p.calls, f)
	}
	p.mu.Unlock()
	if first && !ended {
		p.wake()
	}
	return !ended
}

func (p *Pump) runCalls() {
	p.mu.Lock()
	calls := p.calls
	p.calls = nil
	p.mu.Unlock()
	for _, f := range calls {
		f()
	}
}

// Attach begins to capture from fd, the read end of a FIFO opened O_RDWR, so
// that it has no end of file. The pump owns fd from now on, also when Attach
// fails. A log file that cannot be opened is no error here: the stream drops and
// counts, and goes on by itself (see Stats).
//
// A file that ends inside a line is continued, as after the death of a keeper
// whose consumer lives on. Where no process lives on, call EndOfRun first, or
// AttachAfter instead.
func (p *Pump) Attach(fd int, o Options) (*Stream, error) {
	s := &Stream{p: p, fd: fd, o: o}
	s.file.fd = -1
	return p.attach(s, func() {}, s.listen)
}

// AttachAfter is Attach where those who have written what is in the pipe are gone.
// That is taken first and its last line ended; whatever is written from the return
// of AttachAfter on begins a new line.
func (p *Pump) AttachAfter(fd int, o Options) (*Stream, error) {
	s := &Stream{p: p, fd: fd, o: o, streak: flowing} // not in epoll yet
	s.file.fd = -1
	return p.attach(s, func() {}, s.takeRest)
}

// attach begins to capture; known says what is known of the stream's state, and
// begin, with mu held, how to begin.
func (p *Pump) attach(s *Stream, known func(), begin func() error) (*Stream, error) {
	fd, o := s.fd, s.o
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("capture output of %s/%d: %w", o.Consumer, o.Slot, err), unix.Close(fd))
	}
	known()
	p.mu.Lock()
	defer p.mu.Unlock()
	err := os.ErrClosed
	if !p.ended {
		p.streams[fd] = s
		err = begin()
	}
	if err != nil {
		delete(p.streams, fd)
		return nil, errors.Join(fmt.Errorf("capture output of %s/%d: %w", o.Consumer, o.Slot, err), unix.Close(fd))
	}
	return s, nil
}

// Reopen closes all log files, each at the end of its current line, and goes on
// with what is then at their paths: for SIGUSR1, after logrotate moved them away.
func (p *Pump) Reopen() {
	p.do(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, s := range p.streams {
			s.file.turn = max(s.file.turn, turnReopen)
		}
	})
}

// finish takes what is in the pipes now, says what was lost, and closes all. A
// line without an end stays so: its consumer may live on and end it later.
func (p *Pump) finish() {
	p.mu.Lock()
	p.ended = true
	calls, streams := p.calls, slices.Collect(maps.Values(p.streams))
	p.calls = nil
	p.mu.Unlock()
	for _, f := range calls {
		f()
	}
	for _, s := range streams {
		s.drainAll()
	}
	p.retry(time.Time{})
	for _, s := range streams {
		s.release()
	}
	p.glass.close()
	p.stdout.close()
	p.gzip.stop()
	_ = p.poll.Close() // nothing is buffered in it
}
