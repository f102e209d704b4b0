package keeper

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"
)

// signals brings signals into the loop.
type signals struct {
	ch      chan os.Signal
	end     chan struct{}
	wg      sync.WaitGroup
	handler sigaction // of SIGCHLD, as the runtime set it
	deaf    bool
	through chan struct{} // told when the barrier has come, see keeper.heard
}

// sigaction is the kernel's struct, which is only taken out and put back. All
// zero is SIG_DFL: no signal is sent for an exit, and the zombie waits.
type sigaction [8]uint64

func newSignals() *signals {
	return &signals{ch: make(chan os.Signal, 8), end: make(chan struct{}), through: make(chan struct{}, 1)}
}

func (s *signals) start(k *keeper) {
	// PIPE only to be deaf to it: a log that nobody reads must not end the keeper, and
	// ignoring it would be inherited.
	signal.Notify(s.ch, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGCHLD, syscall.SIGPIPE)
	s.wg.Go(func() {
		for {
			select {
			case sig := <-s.ch:
				if sig == barrier {
					s.through <- struct{}{}
					continue
				}
				k.poll.post(func() { k.signal(sig) })
			case <-s.end:
				return
			}
		}
	})
}

// child lets SIGCHLD through or not. It is heard only where there are strangers,
// and only until the loop knows that it has to look for them: a fleet would
// otherwise pay for a signal at every exit, of which its pidfd has told already.
// That is done below the runtime, as signal.Stop may wait for long.
func (s *signals) child(on bool) {
	if s.deaf == !on {
		return
	}
	s.deaf = !on
	set, old := s.handler, &s.handler
	if !on {
		set = sigaction{}
	} else {
		old = new(sigaction)
	}
	// It can fail for bad arguments only. The last one is the size of the
	// kernel's signal set.
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGCHLD),
		uintptr(unsafe.Pointer(&set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
}

func (s *signals) stop() {
	s.child(true)
	signal.Stop(s.ch)
	close(s.end)
	s.wg.Wait()
}

// forgetIgnored has signals from 32 on, which the runtime leaves alone, do what they
// do by default: what whoever started the keeper ignores would stay ignored in
// every consumer.
func forgetIgnored() {
	const first, last, ignored = 32, 64, 1
	for sig := uintptr(first); sig <= last; sig++ {
		var now, set sigaction
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&now)), 8, 0, 0); errno == 0 && now[0] == ignored {
			_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&set)), 0, 8, 0, 0)
		}
	}
}
