package proc

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Adopt holds a process that the caller need not be the parent of: one that
// another started and left. began and started are the moments around its fork, on
// CLOCK_BOOTTIME; syscall.ESRCH means that it is gone, whoever has its number
// now. What it leaves behind in its group is found as usual.
//
// The exit status of one that is not the caller's child is known on Linux 6.15 and newer; on older ones only as long
// as its new parent has not reaped it; see Process.Reap.
func Adopt(pid int, began, started time.Duration) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	p := &Process{PID: pid, Began: began, Started: started, pidfd: fd, status: -1, adopted: true}
	// Only now does the number stay what it is.
	s, ok := readStat(pid, make([]byte, 1024))
	same := ok && s.started+time.Second/userHZ >= began && s.started <= started
	if !same || p.gone() {
		p.Close()
		return nil, syscall.ESRCH
	}
	return p, nil
}

// Gone is a Process that has ended unseen: what it left behind can be found.
func Gone(pid int, began, started time.Duration) *Process {
	return &Process{PID: pid, Began: began, Started: started, pidfd: -1, status: -1, adopted: true, reaped: true}
}

// Sessions returns the sessions that have living members now, by the number of their
// leader. Zombies are their parent's affair, which may take its time.
func Sessions() map[int]bool {
	sessions := map[int]bool{}
	buf := make([]byte, 1024)
	for _, pid := range pids() {
		if s, ok := readStat(pid, buf); ok && s.state != 'Z' {
			sessions[s.session] = true
		}
	}
	return sessions
}

// gone says whether the process has exited, reaped or not.
func (p *Process) gone() bool {
	fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, 0)
	return n > 0
}

// reapAdopted is Reap for a process that somebody else has to reap. As long as
// the status cannot be seen, ok is false with the error EAGAIN; whoever is tired
// of waiting calls it with last.
func (p *Process) reapAdopted(last bool) (Exit, bool, error) {
	if !p.gone() {
		return Exit{Code: -1}, false, nil
	}
	status, known := exitInfo(p.pidfd)
	if !known {
		status, known = p.zombieStatus()
	}
	if !known && !last {
		return Exit{Code: -1}, false, syscall.EAGAIN
	}
	p.reaped = true
	e := Exit{Code: -1}
	switch ws := syscall.WaitStatus(status); {
	case !known:
	case ws.Exited():
		e.Code = ws.ExitStatus()
	case ws.Signaled():
		e.Signal, e.Core = ws.Signal(), ws.CoreDump()
	}
	return e, true, nil
}

// pidfdInfo is struct pidfd_info of linux/pidfd.h, as it was first published.
type pidfdInfo struct {
	mask, cgroup uint64
	ids          [11]uint32
	exitCode     int32
}

const (
	pidfdGetInfo  = 0xc040ff0b // _IOWR(0xff, 11, struct pidfd_info)
	pidfdInfoExit = 1 << 3
	pidfdGroup    = 1 << 2 // PIDFD_SIGNAL_PROCESS_GROUP
)

// exitInfo asks the kernel for the wait status of a process that has been
// reaped by whomever: possible since Linux 6.15.
func exitInfo(pidfd int) (status int32, ok bool) {
	info := pidfdInfo{mask: pidfdInfoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	return info.exitCode, errno == 0 && info.mask&pidfdInfoExit != 0
}

// signalAdopted signals the group of a process whose leader anybody may reap at
// any moment: by its pidfd, or, on kernels before 6.9, as long as it is there.
func (p *Process) signalAdopted(sig syscall.Signal) error {
	err := unix.PidfdSendSignal(p.pidfd, sig, nil, pidfdGroup)
	if err != unix.EINVAL {
		return err
	}
	if p.gone() {
		return syscall.ESRCH
	}
	return syscall.Kill(-p.PID, sig)
}
