//go:build amd64 && !novfork

package vfork_test

import (
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"qsuper/internal/vfork"
)

// What steps use must not move, as what is on a stack does.
var (
	missing = []byte("/no/such\x00")
	seen    [2]uint64
)

// program is a child that takes the steps and then exits with what they have left as
// its status.
func program(steps ...vfork.Step) *vfork.Program {
	p := &vfork.Program{Steps: append(steps, vfork.Any(unix.SYS_EXIT_GROUP, 0))}
	p.Args.Flags = unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_CLEAR_SIGHAND
	p.Args.ExitSignal = uint64(unix.SIGCHLD)
	return p
}

func status(t *testing.T, pid int) int {
	t.Helper()
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			if err != nil {
				t.Fatal(err)
			}
			return ws.ExitStatus()
		}
	}
}

func TestSteps(t *testing.T) {
	chdir := func() vfork.Step { return vfork.Any(unix.SYS_CHDIR, uintptr(unsafe.Pointer(&missing[0]))) }
	uid := uintptr(unix.Getuid())
	for name, c := range map[string]struct {
		steps []vfork.Step
		at    int
		errno unix.Errno
	}{
		"all go well":            {[]vfork.Step{vfork.Any(unix.SYS_SETSID), vfork.Exactly(uid, unix.SYS_GETUID), vfork.Failure(unix.SYS_CLOSE, ^uintptr(0))}, -1, 0},
		"the first fails":        {[]vfork.Step{chdir(), vfork.Any(unix.SYS_SETSID)}, 0, unix.ENOENT},
		"the last fails":         {[]vfork.Step{vfork.Any(unix.SYS_SETSID), vfork.Any(unix.SYS_SETSID)}, 1, unix.EPERM},
		"another result":         {[]vfork.Step{vfork.Exactly(uid+1, unix.SYS_GETUID)}, 0, 0},
		"a failure that is none": {[]vfork.Step{vfork.Failure(unix.SYS_GETUID)}, 0, 0},
		"more than 32 bits":      {[]vfork.Step{vfork.Exactly(1<<40, unix.SYS_GETUID)}, 0, 0},
	} {
		p := program(c.steps...)
		pid, at, errno := p.Start()
		if pid <= 0 || at != c.at || unix.Errno(errno) != c.errno {
			t.Errorf("%s: process %d, step %d, %v; not step %d, %v", name, pid, at, unix.Errno(errno), c.at, c.errno)
		}
		want := 0
		if c.at >= 0 {
			want = 127
		}
		if got := status(t, pid); got != want {
			t.Errorf("%s: status %d, not %d", name, got, want)
		}
	}
}

func TestNoProcess(t *testing.T) {
	p := program()
	p.Args.Flags |= unix.CLONE_INTO_CGROUP
	p.Args.Cgroup = 1 << 20
	if pid, at, errno := p.Start(); pid != 0 || at != -1 || unix.Errno(errno) != unix.EBADF {
		t.Errorf("%d, %d, %v", pid, at, unix.Errno(errno))
	}
}

// Signals are blocked in the child only until it gives them back, and as before in
// the parent.
func TestMask(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	mask := func() (m uint64) {
		var set unix.Sigset_t
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, nil, &set); err != nil {
			t.Fatal(err)
		}
		return set.Val[0]
	}
	var usr2, before unix.Sigset_t
	usr2.Val[0] = 1 << (unix.SIGUSR2 - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &usr2, &before); err != nil {
		t.Fatal(err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	was := mask()
	ask := func(to *uint64) vfork.Step {
		return vfork.Any(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(to)), 8)
	}
	p := program()
	p.Steps = append([]vfork.Step{
		ask(&seen[0]),
		vfork.Any(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.Mask)), 0, 8),
		ask(&seen[1]),
	}, p.Steps...)
	pid, at, errno := p.Start()
	if at != -1 {
		t.Fatal(at, unix.Errno(errno))
	}
	status(t, pid)
	const never = 1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1)
	if seen[0] != ^uint64(never) || seen[1] != was || mask() != was {
		t.Errorf("in the child %#x, then %#x; in the parent %#x, before %#x", seen[0], seen[1], mask(), was)
	}
}

// The parent's memory is its own again whatever the children did, while threads fork
// at the same time, stacks grow and garbage is collected.
func TestTogether(t *testing.T) {
	const threads, each = 4, 200
	stop := make(chan struct{})
	var collect, fork sync.WaitGroup
	collect.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	})
	for range threads {
		fork.Go(func() {
			for i := range each {
				if n := deep(i%50, func() int { p := program(vfork.Any(unix.SYS_SETSID)); pid, at, _ := p.Start(); return pid * -at }); n <= 0 {
					t.Errorf("start %d: %d", i, n)
				} else {
					status(t, n)
				}
			}
		})
	}
	fork.Wait()
	close(stop)
	collect.Wait()
}

// deep calls f n frames down.
func deep(n int, f func() int) int {
	var room [512]byte
	if n == 0 {
		return f()
	}
	got := deep(n-1, f)
	runtime.KeepAlive(&room)
	return got
}

// Package syscall must not have been there before us.
func TestNoFile(t *testing.T) {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		t.Fatal(err)
	}
	if soft, hard := vfork.NoFile[0], vfork.NoFile[1]; hard != now.Max || soft > hard || soft == 0 {
		t.Errorf("%d of %d; now %+v", soft, hard, now)
	}
}
