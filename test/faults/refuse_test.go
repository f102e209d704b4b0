package faults

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refuseEnv makes the test binary a launcher: it has its system calls asked about
// by whoever listens at this socket, and becomes the program in its arguments.
const refuseEnv = "QFAULT_REFUSE"

// refusable are the system calls that can be made to fail.
var refusable = []int{
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_ACCEPT4, unix.SYS_SOCKET, unix.SYS_PIPE2, unix.SYS_PIDFD_OPEN,
	unix.SYS_CLONE, unix.SYS_CLONE3, unix.SYS_SETUID, unix.SYS_SETRESUID, unix.SYS_SETGROUPS,
}

// refuser is the kernel's bad mood for one daemon: what ENFILE and ENOMEM look
// like without a host that has run out of anything. The kernel asks it about each
// refusable call of the daemon and of all that it starts (seccomp_unotify(2)).
type refuser struct {
	listener *net.UnixListener

	mu      sync.Mutex
	errno   syscall.Errno
	calls   map[int32]bool
	pids    []int // whose calls are refused; empty: everybody's
	refused int
}

// newRefuser must come before the fleet: it is there until the last of its
// processes has gone.
func newRefuser(t *testing.T) *refuser {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("@qfault-%d-%d", os.Getpid(), now()), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	r := &refuser{listener: l}
	over := make(chan struct{})
	go func() { defer close(over); r.serve(t) }()
	t.Cleanup(func() { l.Close(); <-over })
	return r
}

// launcher is what a daemon is to be started through.
func (r *refuser) launcher(f *fleet) []string {
	return []string{"env", refuseEnv + "=" + r.listener.Addr().String(), f.self}
}

// refuse has these calls of these processes fail from now on; none: allows all.
func (r *refuser) refuse(errno syscall.Errno, pids []int, calls ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errno, r.pids, r.calls, r.refused = errno, pids, map[int32]bool{}, 0
	for _, nr := range calls {
		r.calls[int32(nr)] = true
	}
}

// count is how often it has refused since it was told to.
func (r *refuser) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}

// The kernel's struct seccomp_notif and seccomp_notif_resp.
type question struct {
	id    uint64
	pid   uint32 // a thread's
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type reply struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// serve answers the kernel until no process is left that it would ask about.
func (r *refuser) serve(t *testing.T) {
	fd, err := r.receive()
	if err != nil {
		t.Errorf("no daemon has come to be refused anything: %v", err)
		return
	}
	defer unix.Close(fd)
	for {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, -1); err == unix.EINTR {
			continue
		} else if err != nil || p[0].Revents&unix.POLLIN == 0 {
			return
		}
		var q question
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&q))); e != 0 {
			continue // who asked is gone, or was interrupted and asks again
		}
		a := reply{id: q.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if errno := r.judge(q); errno != 0 {
			a.flags, a.errno = 0, -int32(errno)
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a)))
	}
}

func (r *refuser) judge(q question) syscall.Errno {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.calls[q.nr] || q.nr == unix.SYS_CLONE && q.args[0]&unix.CLONE_THREAD != 0 {
		return 0 // a Go program cannot live on without a thread that it needs
	}
	for _, pid := range r.pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", pid, q.pid)); err == nil {
			r.refused++
			return r.errno
		}
	}
	if len(r.pids) > 0 {
		return 0
	}
	r.refused++
	return r.errno
}

// receive takes the descriptor that the launcher sends.
func (r *refuser) receive() (int, error) {
	_ = r.listener.SetDeadline(time.Now().Add(time.Minute))
	c, err := r.listener.AcceptUnix()
	if err != nil {
		return -1, err
	}
	defer c.Close()
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("%d messages, %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// launch is the launcher. Only this thread has the filter, and exec ends the
// others.
func launch(socket string, argv []string) error {
	runtime.LockOSThread()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // the call's number
	for i, nr := range refusable {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(refusable) - i), K: uint32(nr)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(sock uintptr) {
		fd, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
		if e != 0 {
			failed = fmt.Errorf("install a filter: %w", e)
			return
		}
		failed = unix.Sendmsg(int(sock), []byte{0}, unix.UnixRights(int(fd)), nil, 0)
	})
	if err != nil || failed != nil {
		return fmt.Errorf("%w%w", err, failed)
	}
	if err := os.Unsetenv(refuseEnv); err != nil {
		return err
	}
	return syscall.Exec(argv[0], argv, os.Environ())
}
