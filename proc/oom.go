package proc

import (
	"bytes"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// OOM lets children start with oom_score_adj 0 although their parent is protected
// from the OOM killer: a consumer that leaks must not be. The parent gives its
// protection up for the moment of the fork, since what is changed in the child
// afterwards comes too late for what it may have started by then.
type OOM struct {
	fd  int
	own []byte

	mu    sync.Mutex
	forks int // under way: several threads may fork
}

// OpenOOM returns nil when the caller has the score 0 itself.
func OpenOOM() *OOM {
	const path = "/proc/self/oom_score_adj"
	own, err := os.ReadFile(path)
	own = bytes.TrimSpace(own)
	if err != nil || string(own) == "0" {
		return nil
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return &OOM{fd: fd, own: own}
}

// lift and restore may be refused where the kernel lets the score go one way
// only; then it stays as it is.
func (o *OOM) lift() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.forks++; o.forks == 1 {
		_, _ = unix.Pwrite(o.fd, []byte("0"), 0)
	}
}

func (o *OOM) restore() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.forks--; o.forks == 0 {
		_, _ = unix.Pwrite(o.fd, o.own, 0)
	}
}

// Close ends the use of o.
func (o *OOM) Close() {
	if o != nil {
		unix.Close(o.fd)
	}
}
