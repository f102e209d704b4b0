package keeper

import (
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigset is the kernel's set of signals, one bit each from 1.
type sigset uint64

func setOf(signals ...syscall.Signal) (s sigset) {
	for _, n := range signals {
		s |= 1 << (n - 1)
	}
	return s
}

// barrier is heard after TERM, INT and HUP by whoever listens to all of them: the
// runtime hands signals that came together out by their numbers.
const barrier = syscall.SIGWINCH

// hush is called before the next program is executed in this process. What is sent
// from now on waits in the kernel, as exec takes the handlers away and with them
// all that they have taken; what came before is heard, see upgrade.hear.
//
// USR1 and HUP would end a program that has no handler yet. USR1 has nothing to
// say to one that opens its files anew, and a reload can be asked for again.
func (s *signals) hush(k *keeper) {
	set := setOf(syscall.SIGTERM, syscall.SIGINT)
	// On all threads, as any one may take it. Under the race detector that is not
	// supported, and the moment stays open.
	_, _, errno := syscall.AllThreadsSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&set)), 0, unsafe.Sizeof(set), 0, 0)
	if errno != 0 {
		k.log.Debug("upgrade: signals not held back", "error", errno)
	}
	through := make(chan struct{})
	s.through = through
	signal.Notify(s.ch, barrier)
	_ = syscall.Kill(syscall.Getpid(), barrier) // ourselves: it cannot fail
	<-through
	ignore := sigaction{sigIgn}
	for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGHUP, barrier} {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&ignore)), 0, unsafe.Sizeof(set), 0, 0)
	}
	(*wake)(k.poll).ready(0)
	for {
		var none unix.Timespec
		sig, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0, uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(set), 0, 0)
		if errno != 0 {
			return // EAGAIN: there is none
		}
		k.upgrade.hear(syscall.Signal(sig))
	}
}

// sigIgn is SIG_IGN.
const sigIgn = 1
