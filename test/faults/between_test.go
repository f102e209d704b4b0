package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"qsuper/internal/failpoint"
	"qsuper/test/rig"
)

// Cases of a death between two steps that belong together. The daemon that dies is
// built with fail points; the next one is as released.
var betweenFaults = []fault{
	{name: "F002_KilledBetweenLockAndSpawn", score: 20, run: lockBeforeSpawn},
	{name: "F002_KilledBetweenForkAndRecord", score: 20, run: forkBeforeRecord},
	{name: "F002_KilledBetweenTermAndTimer", score: 20, run: termBeforeTimer},
	{name: "F084_KilledBetweenRenameAndSync", score: 15, run: renameBeforeSync},
}

// fragile is the binary with fail points.
var fragile = sync.OnceValues(func() (string, error) {
	name := filepath.Join(filepath.Dir(rig.Binary), "qsuper-failpoints")
	build := exec.Command("go", "build", "-tags", "failpoints", "-o", name, "qsuper/cmd/qsuper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return name, nil
})

// launchFragile starts a daemon that dies at a point once arm has been called.
func (f *fleet) launchFragile(point string) (arm func()) {
	f.T.Helper()
	binary, err := fragile()
	if err != nil {
		f.T.Fatal(err)
	}
	trigger := f.Path("trigger")
	f.Binary = binary
	f.Launch("env", "QSUPER_FAILPOINT="+point+" "+trigger)
	f.Binary = rig.Binary
	return func() {
		if err := os.WriteFile(trigger, nil, 0o600); err != nil {
			f.T.Fatal(err)
		}
	}
}

func (f *fleet) answers() bool { _, ok := f.Status(); return ok }

// dies waits until the keeper has died at the point.
func (f *fleet) dies() {
	f.T.Helper()
	eventually(f.T, rig.Patience, "the keeper is killed", f.Over)
	if _, err := os.Stat(f.Path("trigger")); err == nil {
		f.T.Fatalf("it ended by itself: %v", f.Cmd.ProcessState)
	}
}

// What is locked and not started is free again when the keeper is dead.
func lockBeforeSpawn(t *testing.T) {
	const n = 4
	f := newFleet(t)
	f.Write(f.file("", talkers(n)))
	arm := f.launchFragile(failpoint.LockBeforeSpawn)
	eventually(t, rig.Patience, "the daemon answers", f.answers)
	f.UntilRunning("talk", n)
	arm()
	f.Run("stop-workers", "talk") // it may end with the daemon
	f.dies()
	f.Start()
	f.UntilRunning("talk", n)
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}

// What is started and not recorded has its slot's lock: there is no second copy,
// its output is kept, and it is told who has the slot.
func forkBeforeRecord(t *testing.T) {
	const n = 4
	f := newFleet(t)
	f.Write(f.file("", talkers(n)))
	arm := f.launchFragile(failpoint.ForkBeforeRecord)
	arm() // at the first start of all
	f.dies()
	f.begun(1)
	f.Start()
	// Starts that were under way in the same moment are as little on record as the first.
	var held []int
	eventually(t, rig.Patience, "each slot is taken, and it is told by whom", func() bool {
		held = nil
		running := 0
		for _, s := range f.Consumer("talk").Slots {
			var pid int
			if n, _ := fmt.Sscanf(s.Reason, "slot held by pid %d ", &pid); n == 1 && s.PID == 0 {
				held = append(held, pid)
			} else if s.PID != 0 {
				running++
			}
		}
		return len(held) > 0 && len(held)+running == n
	})
	for _, r := range f.begun(n) {
		held = slices.DeleteFunc(held, func(pid int) bool {
			if pid == r.PID {
				kill(t, pid)
			}
			return pid == r.PID
		})
	}
	f.noOverlap()
	if len(held) > 0 {
		t.Errorf("slots are said to be held by %v, who are none of these", held)
	}
	f.UntilRunning("talk", n)
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}

// Who has been asked to end, by a keeper that died before it noted so, is not
// killed before a whole grace.
func termBeforeTimer(t *testing.T) {
	f := newFleet(t)
	f.Write(f.file("", crew("busy", "lines 20 finish 2s parting 3", "instances: 2", "stop: {grace: 60s}")))
	arm := f.launchFragile(failpoint.TermBeforeTimer)
	eventually(t, rig.Patience, "the daemon answers", f.answers)
	f.begun(2)
	f.UntilRunning("busy", 2)
	arm()
	f.Run("stop", "busy", "--no-wait")
	f.dies()
	f.Start()
	eventually(t, rig.Patience, "both have ended", func() bool { c := f.Consumer("busy"); return c.State == "stopped" && c.Running == 0 })
	if ended := len(f.journal.of(t, "end")); ended != 2 {
		t.Errorf("O4 grace: %d ended by themselves, expected 2", ended)
	}
	f.quiesce(0)
	f.linesWhole(false)
	if again := len(f.journal.begins(t)); again != 2 {
		t.Errorf("%d starts of what somebody has stopped", again)
	}
}

// The engine dies when what a person wants is on the disk, and nobody has been told
// so: the next one does it.
func renameBeforeSync(t *testing.T) {
	const n = 3
	f := newFleet(t)
	f.Write(f.file("", talkers(n)))
	arm := f.launchFragile(failpoint.RenameBeforeSync)
	eventually(t, rig.Patience, "the daemon answers", f.answers)
	f.UntilRunning("talk", n)
	engine := f.alive().Daemon.EnginePID
	born := startTime(engine)
	arm()
	f.Run("stop", "talk") // its daemon dies under it
	eventually(t, rig.Patience, "the engine is killed", func() bool { return startTime(engine) != born })
	eventually(t, rig.Patience, "all are stopped", func() bool { c := f.Consumer("talk"); return c.State == "stopped" && c.Running == 0 })
	<-time.After(time.Second) // nothing comes back
	if again := len(f.journal.begins(t)); again != n {
		t.Errorf("%d starts, expected %d", again, n)
	}
	f.quiesce(0)
	f.linesWhole(false)
}
