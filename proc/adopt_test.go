package proc

import (
	"bufio"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAdopt: a process with another parent, which reaps it, is held, signalled and seen to end.
func TestAdopt(t *testing.T) {
	parent := exec.Command("/bin/sh", "-c", `setsid sh -c 'trap "exit 5" TERM; echo $$; while :; do sleep 0.01; done' & wait $!; wait`)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := Boottime()
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	defer parent.Wait()
	line, _ := bufio.NewReader(out).ReadString('\n')
	started := Boottime()
	pid, _ := strconv.Atoi(strings.TrimSpace(line))
	defer syscall.Kill(pid, syscall.SIGKILL)
	for name, at := range map[string][2]time.Duration{"another, long before": {0, began - time.Second}, "another, later": {started + time.Second, started + time.Minute}} {
		if p, err := Adopt(pid, at[0], at[1]); err != syscall.ESRCH {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	p, err := Adopt(pid, began, started)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, ok, err := p.Reap(false); ok || err != nil {
		t.Errorf("it lives: %v, %v", ok, err)
	}
	if err := p.SignalGroup(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.PidFD()), Events: unix.POLLIN}}, 60000); n != 1 {
		t.Fatal(err)
	}
	var e Exit
	if knowsExits() {
		eventually(t, "its status is seen", func() bool {
			var ok bool
			e, ok, err = p.Reap(false)
			return ok && err == nil
		})
		if e.Code != 5 {
			t.Errorf("%+v", e)
		}
	} else if e, ok, err := p.Reap(true); !ok || err != nil || e.Code != -1 || e.Signal != 0 {
		t.Errorf("%+v, %v, %v", e, ok, err)
	}
	if err := p.SignalGroup(syscall.SIGTERM); err != syscall.ESRCH {
		t.Errorf("signalled after its end: %v", err)
	}
	if _, err := Adopt(pid, began, started); err == nil {
		t.Error("a process that is gone was adopted")
	}
}

// knowsExits says whether the kernel is 6.15 or newer.
func knowsExits() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	v := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	major, _ := strconv.Atoi(v[0])
	minor, _ := strconv.Atoi(v[1])
	return major > 6 || major == 6 && minor >= 15
}
