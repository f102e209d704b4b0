package test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"qsuper/test/rig"
)

const fortyTalkers = `
consumers:
  talk: {shell: "ulimit -Sn; exec sleep 1000", instances: 40}
`

// What cannot fit is refused with both numbers before anything starts.
func TestTooFewDescriptorsAreRefused(t *testing.T) {
	d := newDaemon(t, fortyTalkers)
	for _, command := range []string{"run", "check"} {
		cmd := exec.Command("/bin/sh", "-c", "ulimit -n 100; exec \"$0\" \"$@\"", rig.Binary, command, "-c", d.Path("qsuper.yaml"))
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 78 || !strings.Contains(string(out), "need 184 open files, and this process may have 100") {
			t.Errorf("%s: exit %d, %s", command, code, out)
		}
	}
}

// A low soft limit is no obstacle: the daemon raises its own to the hard one, and
// consumers keep the low one, as some programs close descriptors up to it. (Go
// leaves one out, to tell its own limit from one that was set.)
func TestSoftLimitIsRaised(t *testing.T) {
	d := newDaemon(t, fortyTalkers)
	d.StartWith("/bin/sh", "-c", "ulimit -Sn 100; ulimit -Hn 1000; exec \"$0\" \"$@\"")
	eventually(t, patience, "all run", func() bool {
		for slot := range 40 {
			raw, _ := os.ReadFile(d.Path(fmt.Sprintf("logs/talk.%d.log", slot)))
			if string(raw) != "100\n" {
				return false
			}
		}
		return true
	})
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", d.Cmd.Process.Pid))
	if err != nil || !regexp.MustCompile(`Max open files +(999|1000) +1000`).Match(raw) {
		t.Errorf("%v\n%s", err, raw)
	}
	d.StopAll()
}

// A daemon that has no descriptor left for another connection waits for one and
// takes no processor time for it; its consumers go on, and it comes back.
func TestNoDescriptorForAConnection(t *testing.T) {
	d := startDaemon(t, `
consumers:
  one: {shell: "exec sleep 1000"}
`)
	st, _ := d.Status()
	engine := st.Daemon.EnginePID
	limit := func(soft string) {
		t.Helper()
		if out, err := exec.Command("prlimit", "--pid", fmt.Sprint(engine), "--nofile="+soft+":").CombinedOutput(); err != nil {
			t.Fatalf("prlimit (of util-linux, as root): %v %s", err, out)
		}
	}
	limit("4")
	conn, err := net.Dial("unix", d.Path("q.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := cpuOf(t, engine)
	if err := conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("GET /v1/status HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("answered %d, %v", n, err)
	}
	if used := cpuOf(t, engine) - before; used > 200*time.Millisecond {
		t.Errorf("%s of processor time in 2 s", used)
	}
	limit("1000")
	eventually(t, patience, "it answers again", func() bool { _, ok := d.Status(); return ok })
	if again, _ := d.Status(); again.Daemon.EnginePID != engine || again.Consumers[0].Running != 1 {
		t.Errorf("%+v", again)
	}
	d.StopAll()
}

// cpuOf is the processor time of a process so far; see proc(5), fields 14 and 15,
// which count 1/100 s.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+2:]))
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
