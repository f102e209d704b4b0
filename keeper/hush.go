package keeper

import (
	"os/signal"
	"syscall"
	"unsafe"
)

// barrier is heard after TERM, INT and HUP by whoever listens to all of them: the
// runtime hands signals that came together out by their numbers.
const barrier = syscall.SIGWINCH

// heard takes all signals that have come until now. What comes later is lost with
// the handlers that exec takes away, unless there is an escort.
//
// USR1 would end a program that has no handler yet, and has nothing to say to one
// that opens its files anew: it is ignored from here on, until that has handlers.
func (k *keeper) heard() {
	ignore := sigaction{sigIgn}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGUSR1), uintptr(unsafe.Pointer(&ignore)), 0, 8, 0, 0)
	signal.Notify(k.sigs.ch, barrier)
	_ = syscall.Kill(syscall.Getpid(), barrier) // ourselves: it cannot fail
	<-k.sigs.through
	(*wake)(k.poll).ready(0)
}

// sigIgn is SIG_IGN.
const sigIgn = 1
