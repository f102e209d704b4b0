package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"qsuper/test/rig"
)

var stopFaults = []fault{
	{name: "F007_FinishesAtFourFifthsOfTheGrace", score: 20, run: finishesInTime},
	{name: "F136_IgnoresEverySignal", score: 20, run: ignoresEverything},
	{name: "F008_TerminatedWithBusyConsumers", score: 20, run: terminated},
	{name: "F009_StopWorkersWhileStartingAndBackingOff", score: 20, run: stopWorkersWhileStarting},
	{name: "F009_StopWhileStartingAndBackingOff", score: 20, run: stopWhileStarting},
	{name: "F010_GrandchildrenOfTheGroup", score: 20, run: grandchildren("group")},
	{name: "F010_GrandchildrenInTheirOwnSession", score: 20, run: grandchildren("session")},
	{name: "F011_DoubleForkAndClosedDescriptors", score: 20, run: orphans},
	{name: "F028_ForkBomb", score: 16, run: forkBomb},
	{name: "F031_HelperKeepsTheLock", score: 15, run: helperKeepsLock},
	{name: "F094_ConsumerStopped", score: 9, run: stoppedConsumer},
	{name: "F094_ConsumerFrozen", score: 9, kind: slow, run: frozenConsumer},
}

func finishesInTime(t *testing.T) {
	f := startFleet(t, crew("busy", "lines 20 finish 2400ms parting 3", "instances: 3", "stop: {grace: 30s}"),
		crew("quick", "lines 20 finish 100ms", "instances: 3", "stop: {grace: 30s}"))
	f.begun(6)
	f.UntilRunning("busy", 3)
	var reply rig.Reply
	if r := f.JSON(&reply, "stop", "busy", "quick"); r.Code != 0 || reply.Killed != 0 {
		t.Errorf("stop: exit %d, killed %d\n%s", r.Code, reply.Killed, r.Stdout)
	}
	for _, o := range reply.Outcomes {
		if o.Exit == nil || o.Exit.Class != "stopped" || o.Exit.Step != "signal" || o.Exit.Code != 0 {
			t.Errorf("%s/%d: %+v", o.Consumer, o.Slot, o.Exit)
		}
	}
	if n := len(f.journal.of(t, "end")); n != 6 || len(f.journal.of(t, "signal")) != 6 {
		t.Errorf("%d ended by themselves, %d were asked, expected 6 each", n, len(f.journal.of(t, "signal")))
	}
	f.quiesce(0)
	f.linesWhole(false)
}

// The whole tree is killed when the grace has ended, and not before.
func ignoresEverything(t *testing.T) {
	const grace = 2 * time.Second
	f := startFleet(t, crew("deaf", "ignore child group ignore end child group ignore lines 5 end", "instances: 2", "stop: {grace: 2s}"))
	eventually(t, rig.Patience, "all have begun", func() bool { return len(f.journal.of(t, "begin")) == 6 })
	f.UntilRunning("deaf", 2)
	var deaths []*death
	for _, r := range f.journal.of(t, "begin") {
		deaths = append(deaths, watch(t, r.PID))
	}
	var reply rig.Reply
	asked := now()
	if r := f.JSON(&reply, "stop", "deaf"); r.Code != 5 || reply.Killed != 2 {
		t.Errorf("stop: exit %d, killed %d, expected 5 and 2\n%s", r.Code, reply.Killed, r.Stdout)
	}
	for _, o := range reply.Outcomes {
		if o.Exit == nil || o.Exit.Step != "kill" {
			t.Errorf("%s/%d: %+v", o.Consumer, o.Slot, o.Exit)
		}
	}
	f.noLeftovers() // stop returns when it is true
	for _, d := range deaths {
		f.notBefore(d, asked, grace)
	}
	if r := f.Must("explain", "deaf"); !strings.Contains(r.Stdout, "killed after 2") {
		t.Errorf("explain does not tell of the kill:\n%s", r.Stdout)
	}
	f.quiesce(0)
	f.linesWhole(false)
}

// SIGTERM to the daemon is a stop with the grace of each consumer.
func terminated(t *testing.T) {
	f := startFleet(t, crew("busy", "lines 20 finish 3s", "instances: 4", "stop: {grace: 60s}"))
	f.begun(4)
	f.UntilRunning("busy", 4)
	if err := f.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, rig.Patience, "the keeper ends", f.Over)
	if code := f.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit %d", code)
	}
	if n := len(f.journal.of(t, "end")); n != 4 {
		t.Errorf("%d ended by themselves, expected 4", n)
	}
	f.noLeftovers()
	f.linesWhole(false)
}

// churn is a fleet in which at any moment some start, some end and some wait.
func churn(t *testing.T) *fleet {
	t.Helper()
	f := startFleet(t, crew("brief", "lines 10 life 150ms", "instances: 4", "backoff: {min_uptime: 0s}"),
		crew("crash", "lines 10 life 100ms code 3", "instances: 4", "backoff: {initial: 100ms, max: 300ms}"),
		talkers(4))
	f.begun(40)
	return f
}

func stopWorkersWhileStarting(t *testing.T) {
	f := churn(t)
	for range 3 {
		before := f.processes()
		f.Must("stop-workers", "--wait")
		for _, p := range f.processes() {
			for _, old := range before {
				if p.pid == old.pid && p.run == old.run {
					t.Errorf("%s pid %d of before is still there", p.slot, p.pid)
				}
			}
		}
	}
	f.quiesce(0)
	f.linesWhole(false)
}

func stopWhileStarting(t *testing.T) {
	f := churn(t)
	f.Must("stop", "brief", "crash", "talk")
	if left := f.processes(); len(left) > 0 {
		t.Errorf("stop has returned, and there are %+v", left)
	}
	n := len(f.journal.begins(t))
	// Nothing appears for longer than every backoff.
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); <-time.After(100 * time.Millisecond) {
		if left := f.processes(); len(left) > 0 {
			t.Fatalf("after a stop there are %+v", left)
		}
	}
	if again := len(f.journal.begins(t)); again != n {
		t.Errorf("%d starts after a stop", again-n)
	}
	f.quiesce(0)
	f.linesWhole(false)
}

// What a consumer leaves behind is stopped with grace, and only then is the slot
// free.
func grandchildren(kind string) func(t *testing.T) {
	return func(t *testing.T) {
		f := startFleet(t, crew("parent", "lines 10 life 1s child "+kind+" ignore lines 10 end", "instances: 2", "stop: {grace: 1s}"))
		f.begun(6) // two more rounds
		f.noOverlap()
		f.Run("stop", "parent") // that it had to kill is as it should be
		f.noLeftovers()
		f.quiesce(0)
		f.linesWhole(false)
	}
}

func orphans(t *testing.T) {
	f := startFleet(t, crew("parent", "life 1s child orphan close-fds ignore end", "instances: 1", "stop: {grace: 1s}"))
	f.begun(3)
	f.noOverlap()
	f.Run("stop", "parent")
	f.noLeftovers()
	f.quiesce(0)
}

func forkBomb(t *testing.T) {
	f := startFleet(t, talkers(4), crew("bomb", "forks 300 ignore", "stop: {grace: 1s}"))
	f.begun(5)
	f.UntilRunning("talk", 4)
	eventually(t, rig.Patience, "it has forked", func() bool { return len(f.processes()) >= 300 })
	f.alive()
	f.Run("stop", "bomb")
	for _, p := range f.processes() {
		if strings.HasPrefix(p.slot, "bomb") {
			t.Errorf("left: %+v", p)
		}
	}
	f.quiesce(0)
	f.linesWhole(false)
}

// A helper like ssh-agent keeps every descriptor, the slot's lock among them.
// The slot is not given to anybody while it lives, and a stop ends it.
func helperKeepsLock(t *testing.T) {
	f := startFleet(t, crew("agent", "lines 10 life 1s child session end", "stop: {grace: 1s}"))
	f.begun(2)
	f.noOverlap()
	f.Run("stop", "agent")
	f.noLeftovers()
	f.quiesce(0)
	f.linesWhole(false)
}

// A stopped process takes no TERM: it is woken, and finishes.
func stoppedConsumer(t *testing.T) {
	f := startFleet(t, crew("stopped", "lines 20 finish 200ms", "instances: 2", "stop: {grace: 60s}"))
	list := f.begun(2)
	f.UntilRunning("stopped", 2)
	for _, r := range list {
		if err := syscall.Kill(r.PID, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	var reply rig.Reply
	if r := f.JSON(&reply, "stop", "stopped"); r.Code != 0 || reply.Killed != 0 {
		t.Errorf("stop: exit %d, killed %d\n%s", r.Code, reply.Killed, r.Stdout)
	}
	f.quiesce(0)
	f.linesWhole(false)
}

// A process that not even SIGKILL ends keeps its slot, and status says so. It is
// frozen with the first version of control groups, whose freezer is as deaf as a
// dead NFS server; the second version lets SIGKILL through.
func frozenConsumer(t *testing.T) {
	group := "/sys/fs/cgroup/freezer/" + rig.Root()
	if err := os.Mkdir(group, 0o700); err != nil {
		t.Fatalf("make a control group: %v (this case needs the v1 freezer)", err)
	}
	f := startFleet(t, crew("frozen", "lines 20", "stop: {grace: 1s}"))
	pid := f.begun(1)[0].PID
	f.UntilRunning("frozen", 1)
	set := func(file, text string) {
		if err := os.WriteFile(filepath.Join(group, file), []byte(text), 0o600); err != nil {
			t.Errorf("freezer: %v", err)
		}
	}
	t.Cleanup(func() {
		set("freezer.state", "THAWED")
		eventually(t, rig.Patience, "the control group is empty", func() bool { return os.Remove(group) == nil })
	})
	set("cgroup.procs", fmt.Sprint(pid))
	set("freezer.state", "FROZEN")
	if r := f.Run("restart", "frozen", "--timeout", "4s"); r.Code == 0 {
		t.Errorf("restart says that it is done:\n%s", r.Stdout)
	}
	eventually(t, rig.Patience, "status says that it does not die", func() bool {
		c := f.Consumer("frozen")
		return len(c.Slots) == 1 && c.Slots[0].PID == pid && c.Slots[0].Phase == "killing"
	})
	if n := len(f.journal.begins(t)); n != 1 {
		t.Errorf("%d starts while the first lives", n)
	}
	set("freezer.state", "THAWED")
	f.begun(2)
	f.quiesce(0)
}
