package faults

import (
	"testing"

	"qsuper/test/rig"
)

var idFaults = []fault{
	{name: "F123_RunIDsAreNeverUsedTwice", score: 8, run: runIDs(false)},
	{name: "F123_RunIDsAfterKilledEngine", score: 8, run: runIDs(true)},
}

// A run's number is what its lines, events and leftovers are told apart by, over
// the engine's death, too.
func runIDs(kill bool) func(*testing.T) {
	return func(t *testing.T) {
		f := startFleet(t, crew("talk", "lines 10", "instances: 4"))
		f.begun(4)
		f.UntilRunning("talk", 4)
		for range 2 {
			n := len(f.journal.begins(t))
			f.Must("scale", "talk=1")
			f.UntilRunning("talk", 1)
			eventually(t, rig.Patience, "surplus ones are gone", func() bool { return len(f.processes()) == 1 })
			if kill {
				f.KillEngine() // the scale is kept
			}
			eventually(t, rig.Patience, "it can be scaled again", func() bool { return f.Run("scale", "talk=4").Code == 0 })
			f.UntilRunning("talk", 4)
			f.begun(n + 3)
		}
		f.uniqueRuns()
		f.quiesce(0)
		f.linesWhole(false)
	}
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
		f.T.Error("no run")
	}
}
