package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStopAndStart(t *testing.T) {
	q := newQueue(t)
	d := startDaemon(t, q.file("instances: 2", "spawn: always"))
	first := d.UntilRunning("orders", 2).PIDs()

	// One instance, then the consumer.
	d.Must("stop", "orders/1")
	if c := d.Consumer("orders"); c.Running != 1 || c.Slots[1].PID != 0 || c.Slots[0].PID != first[0] {
		t.Errorf("after stop orders/1: %+v", c)
	}
	d.Must("stop", "orders")
	gone(t, first)
	if r := d.Run("status"); r.Code != 0 {
		t.Errorf("stopped on purpose is healthy, but status exits with %d", r.Code)
	}

	// Stopped by a person means stopped, also for the next daemon.
	d.StopAll()
	d.Start()
	if c := d.Consumer("orders"); c.State != "stopped" || c.Running != 0 {
		t.Errorf("after a restart of the daemon: %+v", c)
	}
	d.Must("start", "orders")
	d.UntilRunning("orders", 2)
	d.StopAll()
	q.processes().runs(t)
}

func TestPauseResumeScale(t *testing.T) {
	q := newQueue(t)
	d := startDaemon(t, q.file("instances: {min: 1, max: 4}", "spawn: always"))
	first := d.UntilRunning("orders", 1).PIDs()
	d.Must("scale", "orders=3")
	c := d.UntilRunning("orders", 3)
	if !slices.Contains(c.PIDs(), first[0]) {
		t.Errorf("scale touched pid %d: %v", first[0], c.PIDs())
	}
	d.Must("pause", "orders")
	d.UntilRunning("orders", 0)
	gone(t, c.PIDs())
	d.Must("resume", "orders")
	d.UntilRunning("orders", 3)
	const back = ": no longer scaled to 3 by hand, the file's number holds again\n"
	if r := d.Must("plan"); !strings.HasPrefix(r.Stdout, "change  orders"+back) {
		t.Errorf("plan:\n%s", r.Stdout)
	}
	if r := d.Must("reload"); !strings.HasPrefix(r.Stdout, "changed  orders"+back) {
		t.Errorf("reload:\n%s", r.Stdout)
	}
	if r := d.Must("plan"); !strings.HasPrefix(r.Stdout, "nothing to do") {
		t.Errorf("plan after it:\n%s", r.Stdout)
	}
	d.StopAll()
	q.processes().runs(t)
}

func TestNewProcesses(t *testing.T) {
	for _, verb := range [][]string{{"restart", "orders"}, {"stop-workers", "orders", "--wait"}} {
		t.Run(verb[0], func(t *testing.T) {
			q := newQueue(t)
			d := startDaemon(t, q.file("instances: 2", "spawn: always"))
			old := d.UntilRunning("orders", 2).PIDs()
			d.Must(verb...)
			gone(t, old)
			for _, pid := range d.UntilRunning("orders", 2).PIDs() {
				if slices.Contains(old, pid) {
					t.Errorf("pid %d is an old one", pid)
				}
			}
			d.StopAll()
			q.processes().runs(t)
		})
	}
}

func TestCrashLoop(t *testing.T) {
	q := newQueue(t)
	q.kind = "crashing"
	d := startDaemon(t, q.file("spawn: always", "backoff: {initial: 100ms, max: 200ms, jitter: 0%}"))
	eventually(t, patience, "it has crashed five times and is tried again", func() bool {
		c := d.Consumer("orders")
		return c.Name != "" && c.Slots[0].Failures >= 5
	})
	if r := d.Run("status"); r.Code != 3 {
		t.Errorf("status of a crash loop exits with %d, expected 3:\n%s", r.Code, r.Stdout)
	}
	var why explainJSON
	d.JSON(&why, "explain", "orders")
	if len(why.Exits) == 0 || why.Exits[0].Class != "crashed" || why.Exits[0].Code != 7 {
		t.Errorf("exits: %+v", why.Exits)
	}
	if len(why.Slots) != 1 || !strings.Contains(why.Slots[0].Reason, "exit 7") {
		t.Errorf("slots: %+v", why.Slots)
	}
	if r := d.Must("logs", "orders"); !strings.Contains(r.Stdout, "there is no shop here") {
		t.Errorf("logs: %q", r.Stdout)
	}
	// A state in which nothing runs can be left at once.
	d.StopAll()
}

func TestGraceEnds(t *testing.T) {
	q := newQueue(t)
	q.kind = "stubborn"
	d := startDaemon(t, q.file("spawn: always", "stop: {grace: 1s}"))
	pids := d.UntilRunning("orders", 1).PIDs()
	eventually(t, patience, "it ignores TERM", func() bool { return q.processes().len(t) > 0 })
	var reply replyJSON
	r := d.JSON(&reply, "stop", "orders")
	if r.Code != 5 || reply.Killed != 1 {
		t.Errorf("stop: exit %d, killed %d, expected 5 and 1", r.Code, reply.Killed)
	}
	within(t, "stop", r.Took, time.Second, 10*time.Second)
	gone(t, pids)
	if len(reply.Outcomes) != 1 || reply.Outcomes[0].Exit == nil || reply.Outcomes[0].Exit.Step != "kill" || reply.Outcomes[0].Exit.Class != "stopped" {
		t.Errorf("outcomes: %s", r.Stdout)
	}
	d.StopAll()
}

// Whoever ends the daemon by a signal has nothing but its exit status and its log to
// learn from that something was killed. `qsuper stop` says so itself: there, 0 is
// what tells a service manager that nobody wants the daemon back.
func TestSignalThatMustKill(t *testing.T) {
	const deaf = "  stubborn: {shell: \"trap '' TERM; echo deaf; while :; do sleep 0.1; done\", instances: 2, stop: {grace: %s}}\n"
	for _, c := range []struct {
		name, grace string
		end         func(d *daemon)
		code        int
	}{
		{"Ctrl-C twice", "1h", func(d *daemon) {
			_ = d.Cmd.Process.Signal(syscall.SIGINT)
			eventually(t, patience, "it is being asked", func() bool { return d.Consumer("stubborn").State == "stopping" })
			_ = d.Cmd.Process.Signal(syscall.SIGINT)
		}, 5},
		{"TERM, and the grace ends", "100ms", func(d *daemon) { _ = d.Cmd.Process.Signal(syscall.SIGTERM) }, 5},
		{"stop --now", "1h", func(d *daemon) {
			if r := d.Run("stop", "--now"); r.Code != 5 {
				t.Errorf("stop --now: exit %d", r.Code)
			}
		}, 0},
	} {
		d := startDaemon(t, "consumers:\n"+fmt.Sprintf(deaf, c.grace))
		d.UntilRunning("stubborn", 2)
		eventually(t, patience, "both are deaf", func() bool { return strings.Count(d.Must("logs", "stubborn").Stdout, "deaf") == 2 })
		c.end(d)
		eventually(t, patience, "the keeper ends", d.Over)
		if code := d.Cmd.ProcessState.ExitCode(); code != c.code {
			t.Errorf("%s: exit %d, expected %d", c.name, code, c.code)
		}
		log, err := os.ReadFile(d.Path("daemon.log"))
		if n := strings.Count(string(log), `msg="had to be killed" consumer=stubborn`); err != nil || n != 2 {
			t.Errorf("%s: %d lines tell of 2 that were killed (%v)", c.name, n, err)
		}
	}
}

func TestSecondDaemon(t *testing.T) {
	q := newQueue(t)
	d := startDaemon(t, q.file("spawn: always"))
	pids := d.UntilRunning("orders", 1).PIDs()
	if r := d.Run("run"); r.Code != 75 {
		t.Errorf("a second daemon exits with %d, expected 75\n%s", r.Code, r.Stderr)
	}
	if now := d.UntilRunning("orders", 1).PIDs(); fmt.Sprint(now) != fmt.Sprint(pids) {
		t.Errorf("pids went from %v to %v", pids, now)
	}
	d.StopAll()
	if r := d.Run("status"); r.Code != 4 {
		t.Errorf("status without a daemon exits with %d, expected 4", r.Code)
	}
}

func TestBadFile(t *testing.T) {
	q := newQueue(t)
	good := q.file("spawn: always")
	d := startDaemon(t, good)
	pids := d.UntilRunning("orders", 1).PIDs()
	for name, bad := range map[string]string{
		"misspelt":     strings.Replace(good, "spawn:", "spwan:", 1),
		"half written": good[:len(good)/2],
		"no program":   strings.Replace(good, "command: [\"/", "command: [\"/nowhere/", 1),
		"empty":        "",
	} {
		d.Write(bad)
		if name == "empty" {
			if err := os.Truncate(d.Path("qsuper.yaml"), 0); err != nil {
				t.Fatal(err)
			}
		}
		if r := d.Run("check"); name != "half written" && r.Code != 78 {
			t.Errorf("%s: check exits with %d, expected 78\n%s%s", name, r.Code, r.Stdout, r.Stderr)
		}
		// The socket's place is in the file, which may be empty now.
		if r := d.Run("plan", "--socket", d.Path("q.sock")); name != "half written" && r.Code != 78 {
			t.Errorf("%s: plan exits with %d, expected 78\n%s%s", name, r.Code, r.Stdout, r.Stderr)
		}
		if r := d.Run("reload", "--socket", d.Path("q.sock")); name != "half written" && r.Code != 78 {
			t.Errorf("%s: reload exits with %d, expected 78\n%s%s", name, r.Code, r.Stdout, r.Stderr)
		}
	}
	d.Write(good)
	if c := d.UntilRunning("orders", 1); fmt.Sprint(c.PIDs()) != fmt.Sprint(pids) {
		t.Errorf("pids went from %v to %v", pids, c.PIDs())
	}
	if r := d.Must("plan"); r.Stdout != "nothing to do, 1 consumer or job unchanged\n" {
		t.Errorf("the plan for the same file:\n%s", r.Stdout)
	}
	d.Must("reload")
	if c := d.UntilRunning("orders", 1); fmt.Sprint(c.PIDs()) != fmt.Sprint(pids) {
		t.Errorf("a reload of the same file: pids went from %v to %v", pids, c.PIDs())
	}
	d.StopAll()
}

func TestDemo(t *testing.T) {
	d := newDaemon(t, "") // only for its folder
	r := d.Must("demo")
	within(t, "the demo", r.Took, 0, time.Minute)
	if !strings.Contains(r.Stdout, "1,000") {
		t.Errorf("the summary is:\n%s", r.Stdout)
	}
}
