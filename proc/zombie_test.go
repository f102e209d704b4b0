package proc

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// unreaped is a process that ends with a status as soon as its input is closed,
// and whose parent does not look at it.
func unreaped(t *testing.T, status string, owner *syscall.Credential) *Process {
	t.Helper()
	parent := exec.Command("/bin/sh", "-c", `exec 3<&0; sh -c 'echo $$; read x; exit `+status+`' <&3 & exec sleep 1000 </dev/null 3<&-`)
	parent.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	in, err := parent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := Boottime()
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = parent.Process.Kill()
		_ = parent.Wait()
	})
	line, _ := bufio.NewReader(out).ReadString('\n')
	pid, _ := strconv.Atoi(strings.TrimSpace(line))
	p, err := Adopt(pid, began, Boottime())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if _, known := p.zombieStatus(); known {
		t.Error("the status of one that lives is known")
	}
	in.Close()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.PidFD()), Events: unix.POLLIN}}, 60000); n != 1 {
		t.Fatal(err)
	}
	return p
}

// TestUnreaped: how a process ended is known at once, on every kernel, where the
// parent takes its time.
func TestUnreaped(t *testing.T) {
	for status, want := range map[string]Exit{"0": {}, "7": {Code: 7}, "$(kill -9 $$)": {Code: -1, Signal: syscall.SIGKILL}} {
		p := unreaped(t, status, nil)
		if e, ok, err := p.Reap(false); !ok || err != nil || e != want {
			t.Errorf("exit %s: %+v, %v, %v; want %+v", status, e, ok, err, want)
		}
	}
	p := unreaped(t, "7", nil)
	p.Started = p.Began - time.Second // another process with its number
	if status, known := p.zombieStatus(); known {
		t.Errorf("the status of a stranger is taken for its own: %d", status)
	}
}

// TestUnreapedByOthers: the 0 that the kernel shows to those that may not see the
// status is none.
func TestUnreapedByOthers(t *testing.T) {
	var owner *syscall.Credential
	if os.Geteuid() == 0 {
		owner = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	p := unreaped(t, "7", owner)
	done := make(chan error)
	go func() { // on a thread of its own, which ends with its rights
		runtime.LockOSThread()
		if owner == nil {
			done <- nil
			return
		}
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		err := unix.Capset(&header, &none[0])
		if status, known := p.zombieStatus(); known {
			t.Errorf("without the right to see it, its status is %d", status)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if status, known := p.zombieStatus(); !known || syscall.WaitStatus(status).ExitStatus() != 7 {
		t.Errorf("with it, its status is %d, %v", status, known)
	}
}
