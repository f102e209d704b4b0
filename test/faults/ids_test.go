package faults

import (
	"fmt"
	"testing"

	"qsuper/test/rig"
)

// runIDsReused: where fewer instances are wanted, runner and keeper forget the
// slots that are not needed, and with them the number of the last run
// (shrink in runner/reload.go, drop in keeper/request.go): the next run of such a slot has
// QSUPER_RUN_ID, events and exits with a number that was used before.
const runIDsReused = "the numbers of runs begin again after a scale down and up"

var idFaults = []fault{
	{name: "F123_RunIDsAreNeverUsedTwice", score: 12, run: runIDs, defect: runIDsReused},
	{name: "F123_RunIDsAfterKilledEngine", score: 12, run: runIDsEngine, defect: runIDsReused},
}

// A run's number is what its lines, events and leftovers are told apart by.
func runIDs(t *testing.T) {
	f := startFleet(t, crew("talk", "lines 10", "instances: 4"))
	f.begun(4)
	f.UntilRunning("talk", 4)
	for range 2 {
		n := len(f.journal.begins(t))
		f.Must("scale", "talk=1")
		f.UntilRunning("talk", 1)
		eventually(t, rig.Patience, "surplus ones are gone", func() bool { return len(f.processes()) == 1 })
		f.Must("scale", "talk=4")
		f.UntilRunning("talk", 4)
		f.begun(n + 3)
	}
	f.uniqueRuns()
	f.quiesce(0)
	f.linesWhole(false)
}

func runIDsEngine(t *testing.T) {
	f := startFleet(t, crew("talk", "lines 10", "instances: 4"))
	f.begun(4)
	f.UntilRunning("talk", 4)
	for range 2 {
		n := len(f.journal.begins(t))
		f.Must("scale", "talk=1")
		f.UntilRunning("talk", 1)
		eventually(t, rig.Patience, "surplus ones are gone", func() bool { return len(f.processes()) == 1 })
		f.KillEngine() // the scale is kept
		eventually(t, rig.Patience, "it can be scaled again", func() bool { return f.Run("scale", "talk=4").Code == 0 })
		f.UntilRunning("talk", 4)
		f.begun(n + 3)
	}
	f.uniqueRuns()
	f.quiesce(0)
	f.linesWhole(false)
}

func (f *fleet) uniqueRuns() {
	f.T.Helper()
	used := map[string]int{}
	for _, r := range f.journal.begins(f.T) {
		if used[r.Run] != 0 && used[r.Run] != r.PID {
			f.T.Errorf("run %s was pid %d and is pid %d", r.Run, used[r.Run], r.PID)
		}
		used[r.Run] = r.PID
	}
	if len(used) == 0 {
		f.T.Error(fmt.Errorf("no run"))
	}
}
