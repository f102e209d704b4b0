package faults

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"qsuper/test/rig"
)

// lastWords kills keeper and engine under talkers that all end before there are others.
// The service manager holds their pipes: every line is in its log, those of a run
// before those of the next, and also where nothing of the consumer is left in the
// file, or its program is gone.
func lastWords(t *testing.T) {
	const n, shrunk = 20, 12
	f := newFleet(t)
	talkers := func(name string, n int) string {
		return crew(name, "lines 200 pad 60 until "+f.Path("over")+" 0", fmt.Sprintf("instances: %d", n))
	}
	f.Serve(100)
	f.Write(f.file("", talkers("talk", n), talkers("removed", 3), crew("silent", "life 1h", "instances: 2", "logs: {to: none}")))
	f.Start()
	list := f.begun(n + 3 + 2)
	eventually(t, rig.Patience, "their pipes are held", func() bool { return len(f.Service.Held()) == n+3 })
	eventually(t, rig.Patience, "they talk", func() bool { return len(f.journal.of(t, "tick")) > 5*n })
	f.killKeeper(true)
	ticks := len(f.journal.of(t, "tick"))
	eventually(t, rig.Patience, "they go on", func() bool { return len(f.journal.of(t, "tick")) > ticks+5*n })
	if err := os.WriteFile(f.Path("over"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	talked := slices.DeleteFunc(slices.Clone(list), func(r record) bool { return strings.HasPrefix(r.Slot, "silent/") })
	eventually(t, rig.Patience, "the talkers have ended", func() bool {
		return !slices.ContainsFunc(talked, func(r record) bool { s := statField(r.PID, 3); return s != "" && s != "Z" })
	})
	if err := os.Remove(f.Path("over")); err != nil {
		t.Fatal(err)
	}
	f.Write(f.file("", talkers("talk", shrunk), crew("silent", "life 1h", "instances: 2", "logs: {to: none}")))
	f.Start()
	f.UntilRunning("talk", shrunk)
	f.begun(n + 3 + 2 + shrunk)
	eventually(t, rig.Patience, "only those that are needed are held", func() bool { return len(f.Service.Held()) == shrunk })
	f.oneAfterTheOther()
	f.quiesce(0)
	if lines := f.linesWhole(false); lines < (n+3)*20 {
		t.Errorf("%d lines", lines)
	}
	f.oneAfterTheOther()
}

// oneAfterTheOther checks that no line of a run follows one of the next.
func (f *fleet) oneAfterTheOther() {
	f.T.Helper()
	for _, slot := range f.slots() {
		var runs []string
		for _, line := range f.logLines(slot) {
			if l, _, _ := parseLine(line); l.n > 0 && (len(runs) == 0 || runs[len(runs)-1] != l.run) {
				if slices.Contains(runs, l.run) {
					f.T.Errorf("O3 lines: %s: %s goes on after %s", slot, l.run, runs[len(runs)-1])
				}
				runs = append(runs, l.run)
			}
		}
	}
}
