// Package proc is one process and what belongs to it: starting it, signalling
// it, learning how it ended, and finding what it left behind.
//
// Every process is held by a pidfd before it can be reaped, so that no signal
// can reach a stranger that inherited its number. It leads its own session and
// so its own process group. Nothing here waits: an exit is an event on the
// pidfd, which one epoll instance can watch for thousands of children without
// a thread or a goroutine for any of them.
//
// What belongs to a run is what is in its Cgroup, which nothing leaves, or where
// there are no cgroups its process group, which any process may leave.
package proc

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// extraFD is the number of Spec.Extra, or of the exec helper's status pipe.
const extraFD = 3

// lowestLock is where numbers begin that no convention and no shell script uses
// for something else, as some do 3 (LISTEN_FDS_START) to 9.
const lowestLock = 10

// Spec is all it takes to start one process.
type Spec struct {
	Path   string   // executable: absolute, or relative to Dir; no $PATH
	Argv   []string // Argv[0] included
	Env    []string // complete
	Dir    string   // "" = the caller's
	Cred   *Cred    // nil = the caller's
	Stdin  int      // descriptors of the caller
	Stdout int
	Stderr int
	Output int  // in place of Stdout and Stderr, and also through a Spawner that was made before it; 0 = none
	Extra  int  // becomes descriptor 3; 0 = none
	Lock   int  // stays open in the process, under some number from 10 on; 0 = none
	Cgroup int  // the process begins its life in it, see Cgroup.FD; 0 = the caller's
	OOM    *OOM // nil = the process inherits the caller's oom_score_adj

	// Go's fork cannot set these. Where package vfork cannot be used the process is
	// started through the exec helper when one of them is set, which costs about a
	// millisecond; Extra cannot be used then.
	Umask  *uint32
	NoFile *uint64 // soft RLIMIT_NOFILE, cut to the hard limit
	Nice   *int    // -20..19
	// NoNewPrivs keeps the process and all that it starts from gaining privileges
	// by exec, for ever: set-user-ID bits and file capabilities have no effect.
	NoNewPrivs bool

	loose bool // without a pidfd: it would be in the wrong table, see Spawner
}

// Cred is who a process runs as; the three are set exactly, nothing is added.
type Cred struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups"`
}

// Process is a child that has not been reaped. It is not safe for concurrent use.
type Process struct {
	PID     int
	Began   time.Duration // CLOCK_BOOTTIME just before the fork and
	Started time.Duration // just after it: what /proc says of its start lies between

	pidfd   int
	status  int // read end of the exec helper's error pipe, -1 = none
	reaped  bool
	adopted bool // not the caller's child
}

// Exit is how a process ended.
type Exit struct {
	Code   int            // -1 if a signal ended it
	Signal syscall.Signal // 0 = none
	Core   bool
	CPU    time.Duration // user + system, waited-for children included
	// MaxRSS is in bytes, waited-for children included. A child shares the
	// caller's memory until exec, so this is never less than the caller's own.
	MaxRSS int64
	// ExecError tells why the exec helper could not become the program.
	ExecError string
}

// Boottime is CLOCK_BOOTTIME: it neither steps nor stands still in suspend.
func Boottime() time.Duration {
	var ts unix.Timespec
	// The clock exists since Linux 2.6.39; the call has no other way to fail.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}

// Start forks and executes. When it returns without an error the program runs,
// or, if the exec helper was needed, will tell through Exit.ExecError why it
// could not. The error is a *StartError.
//
// Where package vfork cannot be used, a Lock is inherited by everything that is
// started during the call from the same table of descriptors, so one goroutine of a
// program may start processes with locks, and no other processes at the same time,
// but through a Spawner.
func Start(s *Spec) (*Process, error) {
	if s.Path == "" || len(s.Argv) == 0 {
		return nil, &StartError{Kind: Exec, Op: "start a process", Err: errNoCommand}
	}
	p := &Process{pidfd: -1, status: -1}
	err := p.vfork(s)
	if err == errNoVfork {
		err = p.forkExec(s)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// forkExec starts the process by package syscall.
func (p *Process) forkExec(s *Spec) error {
	attr := syscall.ProcAttr{Dir: s.Dir, Env: s.Env, Sys: &syscall.SysProcAttr{Setsid: true}}
	if !s.loose {
		attr.Sys.PidFD = &p.pidfd
	}
	path, argv, cred := s.Path, s.Argv, s.Cred
	fds := [extraFD + 1]uintptr{uintptr(s.Stdin), uintptr(s.Stdout), uintptr(s.Stderr), uintptr(s.Extra)}
	attr.Files = fds[:extraFD]
	if s.Extra > 0 {
		attr.Files = fds[:]
	}
	if s.Output > 0 {
		fds[1], fds[2] = uintptr(s.Output), uintptr(s.Output)
	}
	if s.needsHelper() {
		r, w, err := statusPipe()
		if err != nil {
			return &StartError{Kind: Host, Op: "make a pipe for the exec helper", Err: err}
		}
		defer unix.Close(w)
		p.status, fds[extraFD], attr.Files = r, uintptr(w), fds[:]
		path, argv, cred, attr.Dir = "/proc/self/exe", s.helperArgv(), nil, ""
	}
	if cred != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: cred.UID, Gid: cred.GID, Groups: cred.Groups}
	}
	if s.Cgroup > 0 {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, s.Cgroup
	}
	err := p.fork(s, path, argv, &attr)
	if err == syscall.EINVAL && attr.Sys.PidFD != nil {
		err = p.forkThenOpen(s, path, argv, &attr)
	}
	if err != nil {
		return explain(s, err)
	}
	return nil
}

// forkThenOpen is for emulators of other machines (qemu) that know pidfds, but not at
// a fork. Whoever reaps strangers leaves this process's own children alone.
func (p *Process) forkThenOpen(s *Spec, path string, argv []string, attr *syscall.ProcAttr) error {
	attr.Sys.PidFD = nil
	if err := p.fork(s, path, argv, attr); err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		_ = syscall.Kill(p.PID, syscall.SIGKILL)
		_, _ = unix.Wait4(p.PID, nil, 0, nil)
		return err
	}
	p.pidfd = fd
	return nil
}

func (p *Process) fork(s *Spec, path string, argv []string, attr *syscall.ProcAttr) error {
	if s.Lock > 0 {
		lock, err := inheritable(s.Lock)
		if err != nil {
			return err
		}
		defer lock()
	}
	s.OOM.lift()
	defer s.OOM.restore()
	var err error
	p.Began = Boottime()
	p.PID, err = syscall.ForkExec(path, argv, attr)
	p.Started = Boottime()
	return err
}

// inheritable lets a descriptor through exec, until the function it returns is
// called. Naming it in ProcAttr.Files would cost a system call in the child for
// each number below it.
func inheritable(fd int) (undo func(), err error) {
	if fd < lowestLock {
		if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD, lowestLock); err != nil {
			return nil, err
		}
		return func() { unix.Close(fd) }, nil
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
		return nil, err
	}
	return func() { unix.CloseOnExec(fd) }, nil
}

// PidFD is readable once the process has exited. It stays the Process's own.
func (p *Process) PidFD() int { return p.pidfd }

// Signal signals the process itself; syscall.ESRCH if it has been reaped.
func (p *Process) Signal(sig syscall.Signal) error {
	return unix.PidfdSendSignal(p.pidfd, sig, nil, 0)
}

// SignalGroup signals the whole group. A group is named by a number and not by
// a pidfd, and only an unreaped leader keeps that number from being given away:
// after Reap the answer is syscall.ESRCH.
func (p *Process) SignalGroup(sig syscall.Signal) error {
	switch {
	case p.reaped:
		return syscall.ESRCH
	case p.adopted:
		return p.signalAdopted(sig)
	}
	return syscall.Kill(-p.PID, sig)
}

// Reap takes the exit status if there is one and says so; it never waits.
// syscall.ECHILD means that somebody else took it. Of an adopted process
// syscall.EAGAIN says that it has exited and its status may be seen a moment
// later; with last it is given up: Code is -1 and Signal 0 then.
func (p *Process) Reap(last bool) (Exit, bool, error) {
	var ru unix.Rusage
	code, status, ok, err := waitid(unix.P_PIDFD, p.pidfd, unix.WEXITED|unix.WNOHANG, &ru)
	if p.adopted && err == unix.ECHILD {
		return p.reapAdopted(last)
	}
	if err != nil || !ok {
		return Exit{Code: -1}, false, err
	}
	p.reaped = true
	e := Exit{
		Code:   -1,
		CPU:    time.Duration(ru.Utime.Nano() + ru.Stime.Nano()),
		MaxRSS: ru.Maxrss * 1024,
	}
	const cldExited, cldDumped = 1, 3 // from asm-generic/siginfo.h
	if code == cldExited {
		e.Code = status
	} else {
		e.Signal, e.Core = syscall.Signal(status), code == cldDumped
	}
	if p.status >= 0 {
		e.ExecError = helperError(p.status)
	}
	return e, true, nil
}

// Alone says whether nothing is left in the group of a reaped process. It is
// one system call. False may also mean that the number belongs to somebody new
// by now; Group can tell.
func (p *Process) Alone() bool {
	return syscall.Kill(-p.PID, 0) == syscall.ESRCH
}

// Close gives the descriptors back; the process goes on.
func (p *Process) Close() {
	for _, fd := range []*int{&p.pidfd, &p.status} {
		if *fd >= 0 {
			syscall.Close(*fd)
			*fd = -1
		}
	}
}

// waitid returns si_code and si_status of a child that has exited. It is the
// raw call because only it fills in the usage as well.
func waitid(idtype, id, options int, ru *unix.Rusage) (code, status int, ok bool, err error) {
	_, code, status, err = waitidPID(idtype, id, options, ru)
	return code, status, code != 0, err
}

func waitidPID(idtype, id, options int, ru *unix.Rusage) (pid, code, status int, err error) {
	var si [128 / 4]int32
	for {
		_, _, e := unix.Syscall6(unix.SYS_WAITID, uintptr(idtype), uintptr(id),
			uintptr(unsafe.Pointer(&si)), uintptr(options), uintptr(unsafe.Pointer(ru)), 0)
		if e == 0 {
			break
		}
		if e != unix.EINTR {
			return 0, 0, 0, e
		}
	}
	// struct siginfo: signo, errno, code, then a union aligned to a pointer
	// that begins with pid, uid, status.
	u := 3
	if unsafe.Sizeof(uintptr(0)) == 8 {
		u = 4
	}
	if si[0] == 0 { // WNOHANG and nobody has exited
		return 0, 0, 0, nil
	}
	return int(si[u]), int(si[2]), int(si[u+2]), nil
}

// ReapStrangers reaps zombies that became the caller's by re-parenting, as it
// is a subreaper or PID 1. It stops at the first zombie that mine claims, as the
// kernel does not show what is behind it, and says so.
func ReapStrangers(mine func(pid int) bool) (n int, again bool) {
	for {
		pid, _, _, err := waitidPID(unix.P_ALL, 0, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err != nil || pid == 0 {
			return n, false
		}
		if mine(pid) {
			return n, true
		}
		// Only the caller reaps, so the number still means the same zombie.
		if _, _, _, err := waitidPID(unix.P_PID, pid, unix.WEXITED|unix.WNOHANG, nil); err != nil {
			return n, false
		}
		n++
	}
}

// Wait waits for a process that is about to exit because it was killed.
func (p *Process) Wait() {
	_, _, ok, err := waitid(unix.P_PIDFD, p.pidfd, unix.WEXITED, nil)
	p.reaped = ok || err != nil
}

// Supported says whether the kernel has what this package is built on.
func Supported() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return fmt.Errorf("hold processes by pidfd (Linux 5.4 or newer is needed): %w", err)
	}
	defer unix.Close(fd)
	if _, _, _, err := waitid(unix.P_PIDFD, fd, unix.WEXITED|unix.WNOHANG, nil); err != unix.ECHILD {
		return fmt.Errorf("wait for processes by pidfd (Linux 5.4 or newer is needed): %w", err)
	}
	return nil
}
