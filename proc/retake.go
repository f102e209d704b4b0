package proc

import (
	"time"

	"golang.org/x/sys/unix"
)

// Kept is what another program needs to go on with a child of this process,
// after it has been executed in its place.
type Kept struct {
	PID     int           `json:"pid"`
	Began   time.Duration `json:"began"`
	Started time.Duration `json:"started"`
	Status  int           `json:"status,omitempty"` // descriptor of the exec helper's error pipe; 0 = none
}

// Keep says what Retake needs. With through the descriptor that is part of it
// survives the next exec, which must come before anything else is started; reaping
// is left to whoever comes then.
func (p *Process) Keep(through bool) Kept {
	k := Kept{PID: p.PID, Began: p.Began, Started: p.Started}
	if through && p.status >= 0 {
		if _, err := unix.FcntlInt(uintptr(p.status), unix.F_SETFD, 0); err == nil {
			k.Status = p.status
		}
	}
	return k
}

// Retake is the child that the program before this one, in this same process, has
// kept. Unlike Adopt it takes one that has exited as well, as nobody else can have
// reaped it: its status is exact. The error is one of pidfd_open(2); ESRCH means
// that it is no child of ours.
func Retake(k Kept) (*Process, error) {
	p := &Process{PID: k.PID, Began: k.Began, Started: k.Started, pidfd: -1, status: -1}
	if k.Status > 0 {
		unix.CloseOnExec(k.Status)
		p.status = k.Status
	}
	var err error
	if p.pidfd, err = unix.PidfdOpen(k.PID, 0); err == nil {
		_, _, _, err = waitid(unix.P_PIDFD, p.pidfd, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	}
	if err != nil {
		p.Close()
		if err == unix.ECHILD {
			err = unix.ESRCH
		}
		return nil, err
	}
	return p, nil
}
