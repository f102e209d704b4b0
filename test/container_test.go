package test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A container in which qsuper is PID 1: it reaps whoever loses its parent there, also
// those that it has not started, and ends as `docker stop` expects.
func TestFirstProcessOfAContainer(t *testing.T) {
	q := newQueue(t)
	d := newDaemon(t, q.file("instances: 2", "spawn: always"))
	d.StartWith("unshare", "--pid", "--fork", "--mount-proc")
	first := childOf(t, d.Cmd.Process.Pid)
	if s, _ := d.Status(); s.Daemon.KeeperPID != 1 {
		t.Fatalf("the keeper is %d", s.Daemon.KeeperPID)
	}
	d.UntilRunning("orders", 2)

	// Somebody enters the container, and leaves processes behind that end later.
	const strangers = 40
	enter := exec.Command("nsenter", "-t", strconv.Itoa(first), "-p", "-m", "sh", "-c",
		fmt.Sprintf("for i in $(seq %d); do setsid sh -c 'echo >>%s; while [ ! -e %s ]; do sleep 0.05; done' </dev/null >/dev/null 2>&1 & done", strangers, d.Path("came"), d.Path("go")))
	if out, err := enter.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	eventually(t, patience, "they are there, and nobody's", func() bool {
		came, _ := os.ReadFile(d.Path("came"))
		return strings.Count(string(came), "\n") == strangers && len(children(first)) >= strangers
	})
	running := d.Consumer("orders").PIDs()
	if err := os.WriteFile(d.Path("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "they are reaped", func() bool { return len(children(first)) < strangers })
	eventually(t, patience, "no zombie is left", func() bool {
		for _, state := range children(first) {
			if state == "Z" {
				return false
			}
		}
		return len(children(first)) <= 1+2+1 // engine, consumers, and a helper at most
	})
	if now := d.Consumer("orders").PIDs(); fmt.Sprint(now) != fmt.Sprint(running) {
		t.Errorf("the consumers were %v and are %v", running, now)
	}

	// docker stop: TERM to PID 1, which says by its exit code how it went.
	if err := syscall.Kill(first, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the container ends", d.Over)
	if code := d.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d after TERM", code)
	}
	q.processes().runs(t)

	// A file that is wrong is an exit code as well.
	d.Write("consumers: {x: {comand: [y]}}\n")
	d.Launch("unshare", "--pid", "--fork", "--mount-proc")
	eventually(t, patience, "it ends", d.Over)
	if code := d.Cmd.ProcessState.ExitCode(); code != 78 {
		t.Errorf("exit code %d for a bad file", code)
	}
}

// children are the children of a process, with their states.
func children(parent int) map[int]string {
	list := map[int]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			list[pid] = f[0]
		}
	}
	return list
}

// childOf is the one child of a process.
func childOf(t *testing.T, parent int) int {
	t.Helper()
	for pid := range children(parent) {
		return pid
	}
	t.Fatalf("%d has no child", parent)
	return 0
}
