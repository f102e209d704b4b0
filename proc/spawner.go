package proc

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"

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
	self  int           // pidfd of this process, to reach into its other table by
	ready chan struct{} // closed once the tables are separate, or cannot be
	err   error         // why they cannot be

	mu   sync.Mutex
	jobs []job
	more chan struct{} // holds a token while jobs is not empty
}

type job struct {
	spec *Spec
	done func(*Process, error)
}

// NewSpawner starts nothing. It fails where the kernel or a container's filter
// does not allow what it needs; then use Start.
func NewSpawner() (*Spawner, error) {
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
	return &Spawner{self: self, ready: make(chan struct{}), more: make(chan struct{}, 1)}, nil
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
	for {
		s.mu.Lock()
		jobs := s.jobs
		s.jobs = nil
		s.mu.Unlock()
		for _, j := range jobs {
			if err := ctx.Err(); err != nil {
				j.done(nil, &StartError{Kind: Host, Op: "start " + j.spec.Path, Err: err})
				continue
			}
			j.done(s.start(j.spec))
		}
		if len(jobs) > 0 {
			continue
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			unix.Close(s.self) // the copy of this thread
			return nil
		}
	}
}

// Ready waits until the tables are separate. Until then nothing may be opened
// that is to end when it is closed: a copy would stay open in the thread. An
// error means that Run has ended and Start must not be called.
func (s *Spawner) Ready() error {
	<-s.ready
	return s.err
}

// Start queues a process. done is called from the Spawner's thread and must
// hand the process to a goroutine that calls Hold before anything else. Settings
// that need the exec helper are not possible here.
func (s *Spawner) Start(spec *Spec, done func(*Process, error)) {
	s.mu.Lock()
	s.jobs = append(s.jobs, job{spec, done})
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

func (s *Spawner) start(spec *Spec) (*Process, error) {
	if spec.Lock > 0 {
		fd, err := unix.PidfdGetfd(s.self, spec.Lock, 0)
		if err != nil {
			return nil, &StartError{Kind: Host, Op: "take over the slot lock", Err: err}
		}
		defer unix.Close(fd)
		own := *spec
		own.Lock = fd
		spec = &own
	}
	p, err := Start(spec)
	if err == nil {
		p.Close() // the descriptor is in the wrong table
	}
	return p, err
}

// Hold opens the pidfd of a process that comes from a Spawner, or kills it. Only
// the caller may reap it, so its number still means it.
func (p *Process) Hold() error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		_ = unix.Kill(p.PID, unix.SIGKILL) // gone already is as good
		return &StartError{Kind: Host, Op: "hold the process by pidfd", Err: err}
	}
	p.pidfd = fd
	return nil
}
