package proc

import (
	"golang.org/x/sys/unix"
)

// ReserveDescriptors makes room for n descriptors, or as many as the limit allows, in
// the table that the threads of this process share. The kernel enlarges a full table
// by itself, but then whoever opens the next descriptor stands still until every
// processor has been seen outside the kernel, about 10 ms each time: a thread that
// starts children should not be the one. It is only a matter of speed, so that there is no error.
func ReserveDescriptors(n int) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	last := min(uint64(n), limit.Cur) - 1
	if fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, int(last)); err == nil {
		unix.Close(fd)
	}
}
