package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStopAndStart(t *testing.T) {
	q := newQueue(t)
	d := startDaemon(t, q.file("instances: 2", "spawn: always"))
	first := d.untilRunning("orders", 2).pids()

	// One instance, then the consumer.
	d.must("stop", "orders/1")
	if c := d.consumer("orders"); c.Running != 1 || c.Slots[1].PID != 0 || c.Slots[0].PID != first[0] {
		t.Errorf("after stop orders/1: %+v", c)
	}
	d.must("stop", "orders")
	gone(t, first)
	if r := d.run("status"); r.code != 0 {
		t.Errorf("stopped on purpose is healthy, but status exits with %d", r.code)
	}

	// Stopped by a person means stopped, also for the next daemon.
	d.stopAll()
	d.start()
	if c := d.consumer("orders"); c.State != "stopped" || c.Running != 0 {
		t.Errorf("after a restart of the daemon: %+v", c)
	}
	d.must("start", "orders")
	d.untilRunning("orders", 2)
	d.stopAll()
	q.processes().runs(t)
}

func TestPauseResumeScale(t *testing.T) {
	q := newQueue(t)
	d := startDaemon(t, q.file("instances: {min: 1, max: 4}", "spawn: always"))
	first := d.untilRunning("orders", 1).pids()
	d.must("scale", "orders=3")
	c := d.untilRunning("orders", 3)
	if !slices.Contains(c.pids(), first[0]) {
		t.Errorf("scale touched pid %d: %v", first[0], c.pids())
	}
	d.must("pause", "orders")
	d.untilRunning("orders", 0)
	gone(t, c.pids())
	d.must("resume", "orders")
	d.untilRunning("orders", 3)
	d.stopAll()
	q.processes().runs(t)
}

func TestNewProcesses(t *testing.T) {
	for _, verb := range [][]string{{"restart", "orders"}, {"stop-workers", "orders", "--wait"}} {
		t.Run(verb[0], func(t *testing.T) {
			q := newQueue(t)
			d := startDaemon(t, q.file("instances: 2", "spawn: always"))
			old := d.untilRunning("orders", 2).pids()
			d.must(verb...)
			gone(t, old)
			for _, pid := range d.untilRunning("orders", 2).pids() {
				if slices.Contains(old, pid) {
					t.Errorf("pid %d is an old one", pid)
				}
			}
			d.stopAll()
			q.processes().runs(t)
		})
	}
}

func TestCrashLoop(t *testing.T) {
	q := newQueue(t)
	q.kind = "crashing"
	d := startDaemon(t, q.file("spawn: always", "backoff: {initial: 100ms, max: 200ms, jitter: 0%}"))
	eventually(t, patience, "it has crashed five times and is tried again", func() bool {
		c := d.consumer("orders")
		return c.Name != "" && c.Slots[0].Failures >= 5
	})
	if r := d.run("status"); r.code != 3 {
		t.Errorf("status of a crash loop exits with %d, expected 3:\n%s", r.code, r.stdout)
	}
	var why explainJSON
	d.json(&why, "explain", "orders")
	if len(why.Exits) == 0 || why.Exits[0].Class != "crashed" || why.Exits[0].Code != 7 {
		t.Errorf("exits: %+v", why.Exits)
	}
	if len(why.Slots) != 1 || !strings.Contains(why.Slots[0].Reason, "exit 7") {
		t.Errorf("slots: %+v", why.Slots)
	}
	if r := d.must("logs", "orders"); !strings.Contains(r.stdout, "there is no shop here") {
		t.Errorf("logs: %q", r.stdout)
	}
	// A state in which nothing runs can be left at once.
	d.stopAll()
}

func TestGraceEnds(t *testing.T) {
	q := newQueue(t)
	q.kind = "stubborn"
	d := startDaemon(t, q.file("spawn: always", "stop: {grace: 1s}"))
	pids := d.untilRunning("orders", 1).pids()
	eventually(t, patience, "it ignores TERM", func() bool { return q.processes().len(t) > 0 })
	var reply replyJSON
	r := d.json(&reply, "stop", "orders")
	if r.code != 5 || reply.Killed != 1 {
		t.Errorf("stop: exit %d, killed %d, expected 5 and 1", r.code, reply.Killed)
	}
	within(t, "stop", r.took, time.Second, 10*time.Second)
	gone(t, pids)
	if len(reply.Outcomes) != 1 || reply.Outcomes[0].Exit == nil || reply.Outcomes[0].Exit.Step != "kill" || reply.Outcomes[0].Exit.Class != "stopped" {
		t.Errorf("outcomes: %s", r.stdout)
	}
	d.stopAll()
}

func TestSecondDaemon(t *testing.T) {
	q := newQueue(t)
	d := startDaemon(t, q.file("spawn: always"))
	pids := d.untilRunning("orders", 1).pids()
	if r := d.run("run"); r.code != 75 {
		t.Errorf("a second daemon exits with %d, expected 75\n%s", r.code, r.stderr)
	}
	if now := d.untilRunning("orders", 1).pids(); fmt.Sprint(now) != fmt.Sprint(pids) {
		t.Errorf("pids went from %v to %v", pids, now)
	}
	d.stopAll()
	if r := d.run("status"); r.code != 4 {
		t.Errorf("status without a daemon exits with %d, expected 4", r.code)
	}
}

func TestBadFile(t *testing.T) {
	q := newQueue(t)
	good := q.file("spawn: always")
	d := startDaemon(t, good)
	pids := d.untilRunning("orders", 1).pids()
	for name, bad := range map[string]string{
		"misspelt":     strings.Replace(good, "spawn:", "spwan:", 1),
		"half written": good[:len(good)/2],
		"no program":   strings.Replace(good, "command: [\"/", "command: [\"/nowhere/", 1),
		"empty":        "",
	} {
		d.write(bad)
		if name == "empty" {
			if err := os.Truncate(d.path("qsuper.yaml"), 0); err != nil {
				t.Fatal(err)
			}
		}
		if r := d.run("check"); name != "half written" && r.code != 78 {
			t.Errorf("%s: check exits with %d, expected 78\n%s%s", name, r.code, r.stdout, r.stderr)
		}
		// The socket's place is in the file, which may be empty now.
		if r := d.run("reload", "--socket", d.path("q.sock")); name != "half written" && r.code != 78 {
			t.Errorf("%s: reload exits with %d, expected 78\n%s%s", name, r.code, r.stdout, r.stderr)
		}
	}
	d.write(good)
	if c := d.untilRunning("orders", 1); fmt.Sprint(c.pids()) != fmt.Sprint(pids) {
		t.Errorf("pids went from %v to %v", pids, c.pids())
	}
	d.must("reload")
	if c := d.untilRunning("orders", 1); fmt.Sprint(c.pids()) != fmt.Sprint(pids) {
		t.Errorf("a reload of the same file: pids went from %v to %v", pids, c.pids())
	}
	d.stopAll()
}

func TestDemo(t *testing.T) {
	d := newDaemon(t, "") // only for its folder
	r := d.must("demo")
	within(t, "the demo", r.took, 0, time.Minute)
	if !strings.Contains(r.stdout, "1,000") {
		t.Errorf("the summary is:\n%s", r.stdout)
	}
}
