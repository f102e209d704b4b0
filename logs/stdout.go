package logs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxStdoutLine is the length at which a line without prefix is cut, for
	// until its end is known it is held in memory.
	maxStdoutLine = 64 << 10

	// With stdoutQueue bytes waiting for a slow reader, pipes whose output goes to
	// stdout are left alone, and so their consumers wait, as they would without
	// us. When the reader has taken nothing for stdoutPatience it is stuck: pipes
	// are read again, and what does not fit is dropped.
	stdoutQueue    = 1 << 20
	stdoutPatience = time.Second

	stdoutMost = 8 << 20  // bytes that wait at most; only the ends of runs go past stdoutQueue
	stdoutKeep = 64 << 10 // bytes of memory kept while nothing waits

	// stdoutWrite is PIPE_BUF: so much is written to a pipe in one piece, even
	// where others (the daemon's own log) write to it, and so much finds room
	// when poll(2) says that there is room.
	stdoutWrite = 4096

	stdoutLinger = time.Second // how long the end waits for a slow reader
)

var errStuck = errors.New("nobody reads stdout")

// stdout is the daemon's own standard output, shared by all streams in whole
// lines. Writing never blocks and leaves its flags alone, which are shared with
// others: RWF_NOWAIT does that where the kernel can (pipes: Linux 6.4), else
// poll(2) and small writes do.
type stdout struct {
	p       *Pump
	fd      int  // a duplicate; -1: none
	file    bool // a regular file is always ready
	nowait  bool
	blocked bool // waiting for epoll to say that there is room

	queue   []byte // whole lines, those before head are written
	head    int
	moved   time.Time // when something was taken from queue, or it was empty
	full    bool      // dropping, until half of queue is free again, so that gaps are few
	lost    []*Stream
	err     error // why the last write failed
	retryAt time.Time
	backoff time.Duration
}

func (o *stdout) open(p *Pump, f *os.File) error {
	o.p, o.fd, o.nowait = p, -1, true
	if f == nil {
		return nil
	}
	raw, err := f.SyscallConn() // unlike Fd, this leaves the flags alone
	if err != nil {
		return err
	}
	var dupErr error
	if err := raw.Control(func(fd uintptr) {
		o.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
	}); err != nil {
		return err
	}
	if dupErr != nil {
		o.fd = -1
		return fmt.Errorf("duplicate stdout: %w", dupErr)
	}
	err = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, o.fd, &unix.EpollEvent{Events: unix.EPOLLONESHOT, Fd: int32(o.fd)})
	o.file = err == unix.EPERM // the kernel's word for what is always ready
	if err != nil && !o.file {
		return errors.Join(err, unix.Close(o.fd))
	}
	return nil
}

// say holds back what has no end yet and queues the lines before.
func (s *Stream) say(b []byte) {
	out := &s.p.stdout
	end := bytes.LastIndexByte(b, '\n') + 1
	if end > 0 {
		if len(s.hold) > 0 {
			first := bytes.IndexByte(b[:end], '\n') + 1
			out.put(s, append(s.hold, b[:first]...))
			b, end = b[first:], end-first
			s.hold = nil
		}
		out.put(s, b[:end])
		b = b[end:]
	}
	for len(b) > 0 {
		n := min(len(b), maxStdoutLine-1-len(s.hold))
		s.hold = append(s.hold, b[:n]...)
		b = b[n:]
		if len(s.hold) == maxStdoutLine-1 {
			out.put(s, append(s.hold, '\n'))
			s.hold = nil
		}
	}
}

// put queues whole lines of s, or counts them when there is no room.
func (o *stdout) put(s *Stream, lines []byte) {
	if len(lines) == 0 {
		return
	}
	if o.head == len(o.queue) {
		o.moved = time.Now()
	}
	if o.full || len(o.queue)-o.head+len(lines) > stdoutMost {
		o.full = true
		why := errStuck
		if o.err != nil {
			why = o.err
		}
		if s.gap.why == "" {
			o.lost = append(o.lost, s)
		}
		s.gap.begin(plainError(why))
		s.miss(&s.gap, lines)
		s.degrade(why)
		return
	}
	o.add(lines)
	if len(o.queue)-o.head >= stdoutKeep {
		o.flush()
	}
}

// crowded tells whether pipes have to wait.
func (o *stdout) crowded() bool {
	if o.full || o.room() > 0 {
		return false
	}
	o.full = o.err != nil || time.Since(o.moved) > stdoutPatience
	return !o.full
}

func (o *stdout) room() int { return stdoutQueue - len(o.queue) + o.head }

func (o *stdout) add(lines []byte) {
	if o.head > 0 && len(o.queue)+len(lines) > cap(o.queue) {
		o.queue = slices.Delete(o.queue, 0, o.head)
		o.head = 0
	}
	o.queue = append(o.queue, lines...)
}

// flush writes what can be written without waiting, and when there is room
// again says what was lost.
func (o *stdout) flush() {
	for o.ready() && (o.head < len(o.queue) || o.full) {
		o.drain()
		if o.full && o.room() >= stdoutQueue/2 {
			o.sayGaps()
		}
	}
}

// ready is false while there is no use in trying.
func (o *stdout) ready() bool {
	if !o.retryAt.IsZero() && !time.Now().Before(o.retryAt) {
		o.retryAt = time.Time{}
	}
	return !o.blocked && o.retryAt.IsZero()
}

// drain writes until the queue is empty or stdout is not ready.
func (o *stdout) drain() {
	for o.head < len(o.queue) {
		n, err := o.write(piece(o.queue[o.head:]))
		if n > 0 {
			o.head += n
			o.moved = time.Now()
			o.err, o.backoff = nil, 0
		}
		switch {
		case err == nil || err == unix.EINTR:
		case err == unix.EAGAIN:
			o.wait()
			return
		default:
			o.err = fmt.Errorf("write stdout: %w", err)
			o.backoff = min(max(2*o.backoff, retryFirst), retryMax)
			o.retryAt = time.Now().Add(o.backoff)
			return
		}
	}
	o.queue, o.head = o.queue[:0], 0
	if cap(o.queue) > stdoutKeep {
		o.queue = nil
	}
}

// piece is as many whole lines as go into one write, or a part of a longer one.
func piece(b []byte) []byte {
	if len(b) <= stdoutWrite {
		return b
	}
	b = b[:stdoutWrite]
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		return b[:i+1]
	}
	return b
}

func (o *stdout) write(b []byte) (int, error) {
	if o.file {
		return unix.Write(o.fd, b)
	}
	if o.nowait {
		n, err := unix.Pwritev2(o.fd, [][]byte{b}, -1, unix.RWF_NOWAIT)
		if err != unix.EOPNOTSUPP && err != unix.ENOSYS && err != unix.EINVAL {
			return n, err
		}
		o.nowait = false
	}
	poll := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(poll, 0); err != nil || n == 0 {
		return 0, unix.EAGAIN
	}
	return unix.Write(o.fd, b)
}

func (o *stdout) wait() {
	ev := &unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLONESHOT, Fd: int32(o.fd)}
	if err := unix.EpollCtl(o.p.epfd, unix.EPOLL_CTL_MOD, o.fd, ev); err != nil {
		o.retryAt = time.Now().Add(retryFirst)
		return
	}
	o.blocked = true
}

// sayGaps queues a line for each stream that lost something, in the half of the
// queue that is free.
func (o *stdout) sayGaps() {
	left := o.lost[:0]
	for _, s := range o.lost {
		line := s.gapLine(&s.gap)
		if o.room() < len(line) {
			left = append(left, s)
			continue
		}
		o.add(line)
		s.gap = gap{}
		s.recovered()
	}
	clear(o.lost[len(left):])
	o.lost = left
	o.full = len(left) > 0
}

// close gives a slow reader a last moment, and lets go of stdout.
func (o *stdout) close() {
	if o.fd < 0 {
		return
	}
	end := time.Now().Add(stdoutLinger)
	for {
		o.blocked, o.retryAt = false, time.Time{}
		o.flush()
		left := time.Until(end)
		if o.head == len(o.queue) || left <= 0 || o.err != nil {
			break
		}
		poll := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLOUT}}
		_, _ = unix.Poll(poll, int(left.Milliseconds())+1) // EINTR: tried again
	}
	_ = unix.Close(o.fd)
	o.fd = -1
}
