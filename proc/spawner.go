package proc

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Spawner starts processes from a thread that has a table of descriptors of its
// own. A fork copies the table and exec closes it again, so that a parent with
// descriptors for a thousand children pays for all of them at each start: three
// thousand make a start four times as expensive. The Spawner's table stays
// small, and while it forks the caller goes on.
//
// The thread is locked to the goroutine in Run, which touches no descriptor but
// its own. The table is a copy of what was open when Run began: the runtime's
// own descriptors must be among it, as any thread may use them.
type Spawner struct {
	post  func(func())  // has the caller's goroutine call something
	self  int           // pidfd of this process, to reach into its other table by
	ready chan struct{} // closed once the tables are separate, or cannot be
	err   error         // why they cannot be

	results []result      // not yet reported; Run's own
	since   time.Duration // CLOCK_BOOTTIME of the first

	mu   sync.Mutex
	jobs []job
	wake int // eventfd that Run sleeps on, in both tables; a channel would wake two threads for one
}

type job struct {
	spec *Spec
	done func(*Process, error)
}

// result is what became of a job.
type result struct {
	done func(*Process, error)
	p    *Process
	err  error
}

// What a Spawner with more to do keeps back of what it has done: a caller that is
// woken for each process takes the processor from the next.
const (
	batchSize = 32
	batchTime = 3 * time.Millisecond
)

// NewSpawner starts nothing. post has one goroutine, always the same, call a
// function soon, without waiting for it. NewSpawner fails where the kernel or a
// container's filter does not allow what it needs; then use Start.
func NewSpawner(post func(func())) (*Spawner, error) {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("prepare to start processes from a thread: %w", err)
	}
	copied, err := unix.PidfdGetfd(self, self, 0)
	if err != nil {
		unix.Close(self)
		return nil, fmt.Errorf("prepare to start processes from a thread: %w", err)
	}
	unix.Close(copied)
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(self)
		return nil, fmt.Errorf("prepare to start processes from a thread: %w", err)
	}
	return &Spawner{post: post, self: self, ready: make(chan struct{}), wake: wake}, nil
}

// Run starts what is asked for until ctx is done; what has not been started then
// ends with ctx's error.
func (s *Spawner) Run(ctx context.Context) error {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread's table is the one that others reach into as the
		// process's own. While this goroutine keeps it, the next gets another.
		defer runtime.UnlockOSThread()
		end := make(chan error)
		go func() { end <- s.Run(ctx) }()
		return <-end
	}
	// Never unlocked: the thread ends with this goroutine.

	// Closes nothing; the flag is what counts. unshare(2) does the same on older
	// kernels (before 5.9), but is forbidden in many containers.
	err := unix.CloseRange(math.MaxInt32, math.MaxInt32, unix.CLOSE_RANGE_UNSHARE)
	if err != nil {
		err = unix.Unshare(unix.CLONE_FILES)
	}
	if err != nil {
		s.err = fmt.Errorf("separate the descriptors of a thread: %w", err)
	}
	close(s.ready)
	if s.err != nil {
		return s.err
	}
	stop := context.AfterFunc(ctx, s.rouse)
	defer stop()
	var token [8]byte
	for {
		if s.work(ctx) {
			continue
		}
		if ctx.Err() != nil {
			unix.Close(s.self) // the copies of this thread
			unix.Close(s.wake)
			return nil
		}
		_, _ = unix.Read(s.wake, token[:]) // sleeps; EINTR is as good as a token
	}
}

// work does what has been asked for and says whether there was anything.
func (s *Spawner) work(ctx context.Context) bool {
	s.mu.Lock()
	jobs := s.jobs
	s.jobs = nil
	s.mu.Unlock()
	for _, j := range jobs {
		r := result{done: j.done}
		if err := ctx.Err(); err != nil {
			r.err = &StartError{Kind: Host, Op: "start " + j.spec.Path, Err: err}
		} else {
			r.p, r.err = s.start(j.spec)
		}
		now := Boottime()
		if len(s.results) == 0 {
			s.since = now
		}
		s.results = append(s.results, r)
		if len(s.results) == batchSize || now-s.since > batchTime {
			s.report()
		}
	}
	if len(jobs) == 0 && len(s.results) > 0 {
		s.report()
		return true
	}
	return len(jobs) > 0
}

// report has the caller told of the results.
func (s *Spawner) report() {
	results := s.results
	s.results = nil
	s.post(func() {
		for _, r := range results {
			if r.err == nil {
				r.err = r.p.hold()
			}
			r.done(r.p, r.err)
		}
	})
}

// rouse wakes Run.
func (s *Spawner) rouse() {
	one := [8]byte{}
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(s.wake, one[:]) // it cannot be full
}

// Ready waits until the tables are separate. Until then nothing may be opened
// that is to end when it is closed: a copy would stay open in the thread. An
// error means that Run has ended and Start must not be called.
func (s *Spawner) Ready() error {
	<-s.ready
	return s.err
}

// Start queues a process. done is posted, up to batchTime after the start when
// there are more of them; only the goroutine that it is posted to may reap
// children. Settings that need the exec helper are not possible here.
func (s *Spawner) Start(spec *Spec, done func(*Process, error)) {
	s.mu.Lock()
	s.jobs = append(s.jobs, job{spec, done})
	first := len(s.jobs) == 1
	s.mu.Unlock()
	if first {
		s.rouse()
	}
}

func (s *Spawner) start(spec *Spec) (*Process, error) {
	own := *spec
	for _, fd := range []*int{&own.Lock, &own.Output, &own.Cgroup} {
		if *fd <= 0 {
			continue
		}
		here, err := unix.PidfdGetfd(s.self, *fd, 0)
		if err != nil {
			return nil, &StartError{Kind: Host, Op: "take over lock, output and cgroup of the slot", Err: err}
		}
		defer unix.Close(here)
		*fd = here
	}
	own.loose = true
	return Start(&own)
}

// hold opens the pidfd of a process that comes from a Spawner, or kills it. Only
// the caller may reap it, so its number still means it.
func (p *Process) hold() error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		_ = unix.Kill(p.PID, unix.SIGKILL) // gone already is as good
		return &StartError{Kind: Host, Op: "hold the process by pidfd", Err: err}
	}
	p.pidfd = fd
	return nil
}
