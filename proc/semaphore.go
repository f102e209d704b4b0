package proc

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// semaphore is for threads that sleep in the kernel: who posts wakes just as many of
// them as there is something for, where eventfd(2) wakes all.
type semaphore struct{ tokens atomic.Uint32 }

// From linux/futex.h.
const (
	futexWait = 0 | futexPrivate
	futexWake = 1 | futexPrivate

	futexPrivate = 128
)

// wait takes a token, as soon as there is one.
func (s *semaphore) wait() {
	for {
		n := s.tokens.Load()
		if n > 0 && s.tokens.CompareAndSwap(n, n-1) {
			return
		}
		if n == 0 { // and if it still is; whatever ends the sleep, look again
			_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&s.tokens)), futexWait, 0, 0, 0, 0)
		}
	}
}

// post adds n tokens.
func (s *semaphore) post(n uint32) {
	s.tokens.Add(n)
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&s.tokens)), futexWake, uintptr(n), 0, 0, 0)
}
