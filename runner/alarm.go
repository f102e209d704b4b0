package runner

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/proc"
)

// wallClock is the time of day, which jobs go by, and an alarm on it. Its
// moments have no monotonic part.
type wallClock interface {
	Now() time.Time
	Boot() time.Duration // time that has passed since the host was started, suspend included
	Set(at time.Time)    // the one alarm; zero: none
	Rang() <-chan struct{}
	Run(ctx context.Context) error // rings: at the moment that was set, and when somebody sets the clock
}

// hostClock is the host's own. A timer of the runtime would not do: it counts
// time that passes, and knows nothing of a clock that is set or of suspend.
type hostClock struct {
	file *os.File
	rang chan struct{}
}

func newHostClock() (*hostClock, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create a timer for jobs: %w", err)
	}
	return &hostClock{file: os.NewFile(uintptr(fd), "timerfd"), rang: make(chan struct{}, 1)}, nil
}

func (h *hostClock) Now() time.Time        { return time.Now().Round(0) }
func (h *hostClock) Boot() time.Duration   { return proc.Boottime() }
func (h *hostClock) Rang() <-chan struct{} { return h.rang }

// Set arms the timer. Without an alarm it is armed for the end of time, so that
// setting the clock is noticed all the same.
func (h *hostClock) Set(at time.Time) {
	spec := unix.ItimerSpec{Value: unix.Timespec{Sec: math.MaxInt32}}
	if !at.IsZero() {
		spec.Value = unix.NsecToTimespec(max(at.UnixNano(), 1))
	}
	raw, err := h.file.SyscallConn()
	if err != nil {
		return // it is being closed
	}
	_ = raw.Control(func(fd uintptr) {
		// It fails once, with ECANCELED, when the clock was set and nobody has read
		// that yet; it is armed all the same.
		_ = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil)
	})
}

// Run passes on what the kernel reports.
func (h *hostClock) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { h.file.Close() })
	defer stop()
	var expirations [8]byte
	for {
		_, err := h.file.Read(expirations[:])
		if err != nil && !errors.Is(err, syscall.ECANCELED) {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("wait for the next job: %w", err)
		}
		select {
		case h.rang <- struct{}{}:
		default:
		}
	}
}
