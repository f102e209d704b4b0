package keeper

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// source is something that becomes ready: a child that exited, a socket, a timer.
type source interface {
	ready(events uint32)
}

// poller is the loop's own epoll instance with one timer. The loop sleeps in it
// with a thread of its own: the runtime's poller would hand every event from the
// thread that has it to another, and that is a third of what it takes to replace a
// process.
type poller struct {
	epfd   int
	events [128]unix.EpollEvent
	idle   bool // the latest look found nothing
	by     map[int32]source

	timerfd int
	armed   time.Duration // CLOCK_BOOTTIME; never = disarmed

	wakefd int
	mu     sync.Mutex
	posted []func()
}

const never = time.Duration(math.MaxInt64)

func newPoller(onTimer source) (*poller, error) {
	p := &poller{by: map[int32]source{}, armed: never, timerfd: -1, wakefd: -1}
	var err error
	if p.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	p.timerfd, err = unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err == nil {
		err = p.add(p.timerfd, unix.EPOLLIN, onTimer)
	}
	if err == nil {
		p.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err == nil {
		err = p.add(p.wakefd, unix.EPOLLIN, (*wake)(p))
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("prepare event loop: %w", err)
	}
	return p, nil
}

func (p *poller) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fd := range []*int{&p.timerfd, &p.wakefd, &p.epfd} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

func (p *poller) add(fd int, events uint32, s source) error {
	err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	if err == nil {
		p.by[int32(fd)] = s
	}
	return err
}

func (p *poller) change(fd int, events uint32) error {
	return unix.EpollCtl(p.epfd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// forget is remove for a descriptor that is closed next and of which there is no
// copy: closing takes it out of epoll as well, without a system call for it.
func (p *poller) forget(fd int) { delete(p.by, int32(fd)) }

// remove must come before fd is closed.
func (p *poller) remove(fd int) {
	if _, ok := p.by[int32(fd)]; ok {
		delete(p.by, int32(fd))
		_ = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, nil) // it is there: by says so
	}
}

// poll hands out what is ready, and waits for something up to timeout ms if there
// is nothing; -1: as long as it takes. An event that was removed by an earlier one of the same batch is lost
// on purpose; one that now means a newer descriptor of the same number is
// harmless, as every source looks before it believes.
func (p *poller) poll(timeout int) error {
	n, err := unix.EpollWait(p.epfd, p.events[:], timeout)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("wait for events: %w", err)
	}
	p.idle = n <= 0
	for _, ev := range p.events[:max(n, 0)] {
		if s, ok := p.by[ev.Fd]; ok {
			s.ready(ev.Events)
		}
	}
	return nil
}

// at makes the timer fire at t or earlier. Whoever asked looks at the time
// itself, so a wake-up that nobody needs any more does no harm.
func (p *poller) at(t time.Duration) {
	if t >= p.armed {
		return
	}
	p.armed = t
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(t, 1)))} // 0 would disarm it
	// It can only fail for a bad descriptor or a bad time, and both are ours.
	_ = unix.TimerfdSettime(p.timerfd, unix.TFD_TIMER_ABSTIME, &spec, nil)
}

// fired empties the timer.
func (p *poller) fired() {
	var b [8]byte
	_, _ = unix.Read(p.timerfd, b[:])
	p.armed = never
}

// post has the loop call f; from any goroutine.
func (p *poller) post(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.posted = append(p.posted, f)
	if len(p.posted) == 1 && p.wakefd >= 0 {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		_, _ = unix.Write(p.wakefd, one[:]) // full means that it is awake
	}
}

type wake poller

func (w *wake) ready(uint32) {
	var b [8]byte
	_, _ = unix.Read(w.wakefd, b[:])
	w.mu.Lock()
	calls := w.posted
	w.posted = nil
	w.mu.Unlock()
	for _, f := range calls {
		f()
	}
}
