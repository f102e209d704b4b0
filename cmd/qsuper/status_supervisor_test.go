package main

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"qsuper/control"
)

// TestUptimeIsPythons: scripts that take the third column apart know Python's
// way of writing it.
func TestUptimeIsPythons(t *testing.T) {
	for _, d := range []time.Duration{0, time.Second, 62 * time.Second, time.Hour, 24*time.Hour + 5*time.Second, 50*time.Hour + 61*time.Second, -time.Second} {
		want, err := exec.Command("/usr/bin/python3", "-c", "import datetime,sys; print(datetime.timedelta(seconds=max(0,int(sys.argv[1]))))", strconv.Itoa(int(d/time.Second))).Output()
		if err != nil {
			t.Fatalf("%v: apt-get install python3", err)
		}
		if got := uptime(d); got != strings.TrimSpace(string(want)) {
			t.Errorf("uptime(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestSupervisorState(t *testing.T) {
	now := time.Date(2026, 3, 4, 17, 7, 0, 0, time.Local)
	exited := &control.ExitStatus{At: now}
	for _, c := range []struct {
		slot control.SlotStatus
		want string
		down bool
	}{
		{control.SlotStatus{Phase: "running", PID: 42, Since: now.Add(-62 * time.Second)}, "RUNNING pid 42, uptime 0:01:02", false},
		{control.SlotStatus{Phase: "spawning"}, "STARTING ", false},
		{control.SlotStatus{Phase: "killing"}, "STOPPING ", false},
		{control.SlotStatus{Phase: "waiting", Code: "backoff", Reason: "exit 255"}, "BACKOFF exit 255", false},
		{control.SlotStatus{Phase: "waiting", Code: "empty", Reason: "no messages wait"}, "STOPPED no messages wait", false},
		{control.SlotStatus{Phase: "waiting", Code: "stopped"}, "STOPPED Not started", true},
		{control.SlotStatus{Phase: "halted", Code: "ended", LastExit: exited}, "EXITED Mar 04 05:07 PM", true},
		{control.SlotStatus{Phase: "halted", Code: "permanent", Reason: "exit 78"}, "FATAL exit 78", true},
		{control.SlotStatus{Phase: "dreaming"}, "UNKNOWN dreaming", true},
	} {
		state, text, down := supervisorState(c.slot, now)
		if got := state + " " + text; got != c.want || down != c.down {
			t.Errorf("%+v: %q, %v; want %q, %v", c.slot, got, down, c.want, c.down)
		}
	}
}
