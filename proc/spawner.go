package proc

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Spawner starts processes from threads that have tables of descriptors of their
// own. A fork copies the table and exec closes it again, so that a parent with
// descriptors for a thousand children pays for all of them at each start: three
// thousand make a start four times as expensive. The Spawner's tables stay
// small, and while it forks the caller goes on.
//
// There are several threads, as most of a start is waiting: for the child to get a
// processor, to become its program, and to wake whoever has forked it. The Go
// runtime is not told of this wait, so that each thread is given a place to run at
// (GOMAXPROCS) beside the caller's. Where package vfork cannot be used they fork one after
// the other.
//
// A child in one table for all threads, with only the low numbers copied (close_range(2)
// can do that), was tried: until it executes it holds what another thread hands on, so that a
// lock outlived a short process for that moment, and no start was faster.
//
// A thread is locked to its goroutine in Run, which touches no descriptor but
// its own. The table is a copy of what was open when Run began: the runtime's
// own descriptors must be among it, as any thread may use them.
type Spawner struct {
	post  func(func()) // has the caller's goroutine call something
	self  int          // pidfd of this process, to reach into its other table by
	wakes semaphore    // that threads sleep on; a channel would wake two threads for one
	late  *time.Timer  // collects what has been kept back for batchTime
	ready sync.WaitGroup
	fault atomic.Pointer[error] // why the tables cannot be separate

	mu      sync.Mutex
	jobs    []job
	asleep  int      // threads that wait for a job and have not been woken
	results []result // not yet collected
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

const (
	spawnThreads = 3

	// What is kept back while there is more to do: a caller that is woken for each
	// process takes the processor from the next.
	batchSize = 32
	batchTime = 5 * time.Millisecond
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
	s := &Spawner{post: post, self: self}
	s.late = time.AfterFunc(time.Hour, func() { post(s.collect) })
	s.late.Stop() // until there is something to collect
	s.ready.Add(spawnThreads)
	return s, nil
}

// Run starts what is asked for until ctx is done; what has not been started then
// ends with ctx's error.
func (s *Spawner) Run(ctx context.Context) error {
	defer s.late.Stop()
	stop := context.AfterFunc(ctx, func() { s.wakes.post(spawnThreads) })
	defer stop()
	addProcessors(spawnThreads)
	defer addProcessors(-spawnThreads)
	var threads sync.WaitGroup
	for range spawnThreads {
		threads.Go(func() { s.thread(ctx) })
	}
	threads.Wait()
	if err := s.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// addProcessors lets so many more goroutines run at the same time.
func addProcessors(n int) { runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n) }

// thread is the life of one thread.
func (s *Spawner) thread(ctx context.Context) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread's table is the one that others reach into as the
		// process's own. While this goroutine keeps it, the next gets another.
		defer runtime.UnlockOSThread()
		var next sync.WaitGroup
		next.Go(func() { s.thread(ctx) })
		next.Wait()
		return
	}
	// Never unlocked: the thread ends with this goroutine.

	// Closes nothing; the flag is what counts. unshare(2) does the same on older
	// kernels (before 5.9), but is forbidden in many containers.
	err := unix.CloseRange(math.MaxInt32, math.MaxInt32, unix.CLOSE_RANGE_UNSHARE)
	if err != nil {
		err = unix.Unshare(unix.CLONE_FILES)
	}
	if err != nil {
		err = fmt.Errorf("separate the descriptors of a thread: %w", err)
		s.fault.Store(&err)
		s.ready.Done()
		return
	}
	s.ready.Done()
	s.ready.Wait()
	for s.fault.Load() == nil {
		if j, ok := s.next(); ok {
			s.work(ctx, j)
		} else if ctx.Err() != nil {
			break
		} else {
			s.wakes.wait()
		}
	}
	unix.Close(s.self) // the copy of this thread
}

// next takes a job; without one, the thread is to sleep.
func (s *Spawner) next() (job, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.jobs) == 0 {
		s.asleep++
		return job{}, false
	}
	j := s.jobs[0]
	s.jobs[0] = job{}
	s.jobs = s.jobs[1:]
	if len(s.jobs) == 0 {
		s.jobs = nil // a burst should not be paid for for ever
	}
	return j, true
}

// work does a job and has the caller told, at once if it was the last.
func (s *Spawner) work(ctx context.Context, j job) {
	r := result{done: j.done}
	if err := ctx.Err(); err != nil {
		r.err = &StartError{Kind: Host, Op: "start " + j.spec.Path, Err: err}
	} else {
		r.p, r.err = s.start(j.spec)
	}
	s.mu.Lock()
	s.results = append(s.results, r)
	n, last := len(s.results), len(s.jobs) == 0
	s.mu.Unlock()
	switch {
	case last || n == batchSize:
		s.post(s.collect)
	case n == 1: // the next may hang, in a program on a file system that does not answer
		s.late.Reset(batchTime)
	}
}

// collect hands out the results. The caller's goroutine calls it.
func (s *Spawner) collect() {
	s.mu.Lock()
	results := s.results
	s.results = nil
	s.mu.Unlock()
	for _, r := range results {
		if r.err == nil {
			r.err = r.p.hold()
		}
		r.done(r.p, r.err)
	}
}

// Ready waits until the tables are separate. Until then nothing may be opened
// that is to end when it is closed: a copy would stay open in a thread. An
// error means that Run has ended and Start must not be called.
func (s *Spawner) Ready() error {
	s.ready.Wait()
	if err := s.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// Start queues a process. done is posted, up to batchTime after the start when
// there are more of them; only the goroutine that it is posted to may reap
// children. Settings that need the exec helper (Spec.NeedsHelper) are not possible here.
func (s *Spawner) Start(spec *Spec, done func(*Process, error)) {
	s.mu.Lock()
	s.jobs = append(s.jobs, job{spec, done})
	sleeper := s.asleep > 0
	if sleeper {
		s.asleep--
	}
	s.mu.Unlock()
	if sleeper {
		s.wakes.post(1)
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
