package fleet

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"qsuper/test/rig"
)

const exclusive = "    exclusive: true\n    stop: {grace: 5s, fence_grace: 100ms}"

// engine is the pid of a daemon's engine.
func engine(t *testing.T, d *rig.Daemon) int {
	t.Helper()
	st, ok := d.Status()
	if !ok {
		t.Fatal("the daemon does not answer")
	}
	return st.Daemon.EnginePID
}

// The engine stands still: the keeper ends the process in time by itself, and
// another host takes over.
func TestAStoppedEngineLosesTheSlotInTime(t *testing.T) {
	head, j := mysqlHead(t, "7s"), newJournal(t)
	a := rig.StartDaemon(t, file("a", j, head, exclusive))
	rig.Eventually(t, rig.Patience, "a runs it", func() bool { return j.count(t, "a") == 1 })
	b := rig.StartDaemon(t, file("b", j, head, exclusive))
	pid := engine(t, a)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := boottime()
	rig.Eventually(t, rig.Patience, "b runs it", func() bool { return j.count(t, "b") == 1 })
	took := boottime() - stopped
	t.Logf("taken over after %s", took)
	if took > 3*14*time.Second {
		t.Errorf("only after %s", took)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, rig.Patience, "a knows that b has it", func() bool {
		out := a.Run("explain", "work").Stdout
		return strings.Contains(out, "other hosts run it") && strings.Contains(out, "fenced")
	})
	j.judge(t)
	a.StopAll()
	b.StopAll()
}
