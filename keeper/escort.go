package keeper

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/proc"
)

// A program that was just executed has no handlers yet: a TERM would end it, and
// blocking signals is no help, as the Go runtime lets these through before it has
// installed a handler. So for the few milliseconds another process traces the
// keeper: it keeps TERM, INT and HUP away from it, and when the new keeper says that
// it listens the escort ends and its exit status says what came.
const (
	escortWord = "upgrade-escort"
	escortOver = syscall.Signal(60) // the new keeper listens; a real-time signal that nobody else sends
	escortTime = 2 * time.Second    // for either side to do its part

	escortTerms = 3      // bits of the exit status: how many TERM and INT, two at most
	escortHup   = 1 << 2 // there was a HUP

	prSetPtracer = 0x59616d61 // PR_SET_PTRACER: where Yama is, only parents may trace unless this allows it
)

// EscortMain is called first thing by main, as proc.HelperMain. In a process that was
// started as an escort it does not return.
func EscortMain() {
	if len(os.Args) != 3 || os.Args[1] != escortWord {
		return
	}
	leader, err := strconv.Atoi(os.Args[2])
	if err != nil {
		os.Exit(1)
	}
	os.Exit(accompany(leader))
}

// accompany traces until the keeper listens or is gone.
func accompany(leader int) (code int) {
	runtime.LockOSThread() // only the thread that traces may ask for anything
	var word [1]byte
	if n, err := unix.Read(EngineFD, word[:]); n != 1 || err != nil {
		return 0
	}
	if !seize(leader) {
		return 0
	}
	_, _ = unix.Write(EngineFD, word[:]) // a keeper that is gone is seen below
	terms, hup := 0, 0
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || pid == leader && !ws.Stopped():
			return min(terms, 2) | hup
		case !ws.Stopped():
			continue
		}
		sig, pass := ws.StopSignal(), syscall.Signal(0)
		switch {
		case uint32(ws)>>16 != 0: // not a signal, but an event such as the exec
		case sig == syscall.SIGTERM || sig == syscall.SIGINT:
			terms++
		case sig == syscall.SIGHUP:
			hup = escortHup
		case sig == escortOver:
			return min(terms, 2) | hup // what is traced goes on when the tracer ends
		default:
			pass = sig
		}
		_ = ptrace(unix.PTRACE_CONT, pid, int(pass)) // a thread that is gone is no loss
	}
}

// seize traces all threads, as any of them may take a signal, and those that are
// started later with them.
func seize(leader int) bool {
	const options = unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_TRACECLONE
	for seized, more := map[int]bool{}, true; more; {
		more = false
		tasks, err := os.ReadDir("/proc/" + strconv.Itoa(leader) + "/task")
		if err != nil {
			return false
		}
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || seized[tid] {
				continue
			}
			seized[tid], more = true, true
			if ptrace(unix.PTRACE_SEIZE, tid, options) != nil && tid == leader {
				return false // any other has ended, or is traced since it was started
			}
		}
	}
	return true
}

func ptrace(request, pid, data int) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, uintptr(request), uintptr(pid), 0, uintptr(data), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// escort starts one for the program that is executed next. An error means that there is none, as in containers that forbid
// tracing: a TERM in these milliseconds would end the keeper then, and the next one
// adopts.
func (k *keeper) escort() (*proc.Process, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fds[0])
	p, err := proc.Start(&proc.Spec{
		Path: "/proc/self/exe", Argv: []string{"qsuper", escortWord, strconv.Itoa(os.Getpid())}, Env: k.opt.EngineEnv,
		Stdin: k.null, Stdout: k.null, Stderr: k.null, Extra: fds[1],
	})
	unix.Close(fds[1])
	if err != nil {
		return nil, err
	}
	_ = unix.Prctl(prSetPtracer, uintptr(p.PID), 0, 0, 0) // EINVAL: there is no Yama
	if err := shakeHands(fds[0]); err != nil {
		k.discard(p)
		return nil, err
	}
	return p, nil
}

// shakeHands lets the escort begin and waits until it traces.
func shakeHands(fd int) error {
	var word [1]byte
	if _, err := unix.Write(fd, word[:]); err != nil {
		return err
	}
	for end := proc.Boottime() + escortTime; ; {
		left := end - proc.Boottime()
		if left <= 0 {
			return errors.New("it does not begin")
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return err
		}
		if n <= 0 {
			continue
		}
		if n, err := unix.Read(fd, word[:]); n != 1 {
			return fmt.Errorf("it may not trace (%v)", err)
		}
		return nil
	}
}

// escortExit is the keeper as the source of the end of its escort.
type escortExit keeper

// listen tells the escort that signals are heard from now on.
func (k *keeper) listen() {
	h := k.opt.Heir
	if h == nil || h.state.Escort == nil {
		return
	}
	p, err := proc.Retake(*h.state.Escort)
	if err != nil {
		return // it has gone, and held nothing back
	}
	_ = syscall.Kill(os.Getpid(), escortOver) // ourselves: it cannot fail
	if err := k.poll.add(p.PidFD(), unix.EPOLLIN, (*escortExit)(k)); err != nil {
		k.discard(p)
		return
	}
	k.upgrade.escort = p
	k.pids[p.PID] = struct{}{}
	k.upgrade.by = proc.Boottime() + escortTime
	k.poll.at(k.upgrade.by)
}

func (x *escortExit) ready(uint32) {
	k := (*keeper)(x)
	p := k.upgrade.escort
	if p == nil {
		return
	}
	exit, ok, err := p.Reap(true)
	if !ok && err == nil {
		return
	}
	k.poll.remove(p.PidFD())
	delete(k.pids, p.PID)
	p.Close()
	k.upgrade.escort, k.upgrade.by = nil, never
	code := max(exit.Code, 0)
	for range code & escortTerms {
		k.signal(syscall.SIGTERM)
	}
	if code&escortHup != 0 {
		k.signal(syscall.SIGHUP)
	}
}
