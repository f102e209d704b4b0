package logs

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	smallPipe = 64 << 10 // bytes a pipe holds unless told otherwise, pipe(7)
	bigPipe   = 1 << 20  // bytes; the most a process without privileges may ask for by default
)

// bigPipes counts how many pipes may still be enlarged. Only pipes seen half
// full are: all pipes of a user without privileges share one limit, beyond which
// new ones shrink to 8 KiB, also those of the consumers.
type bigPipes struct{ left int }

// pipeBudget leaves half of /proc/sys/fs/pipe-user-pages-soft to others. Root
// is not counted.
func pipeBudget() bigPipes {
	if os.Geteuid() == 0 {
		return bigPipes{left: 1 << 30}
	}
	b, _ := os.ReadFile("/proc/sys/fs/pipe-user-pages-soft")
	pages, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		pages = 16384 // the kernel's default
	}
	return bigPipes{left: pages / 2 / (bigPipe / os.Getpagesize())}
}

// enlarge makes fd hold 1 MiB where that is allowed. Where it is not, the stream
// is only slower.
func (b *bigPipes) enlarge(fd int) bool {
	if b.left <= 0 {
		return false
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, bigPipe); err != nil {
		return false
	}
	b.left--
	return true
}

// pending is how many bytes are in a pipe.
func pending(fd int) (int, error) {
	return unix.IoctlGetInt(fd, unix.TIOCINQ) // FIONREAD
}
