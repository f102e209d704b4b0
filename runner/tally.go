package runner

import (
	"maps"

	"qsuper/slot"
)

// Tally counts what became of a consumer's instances. It begins at zero with each
// engine, as counters may that are read for their increase.
type Tally struct {
	Starts uint64                // processes started, those by standing order included
	Exits  map[slot.Class]uint64 // by class
	Stops  map[string]uint64     // ends within a stop, by the step that brought them: "signal", "idle", "kill" …
}

func newTally() Tally {
	return Tally{Exits: map[slot.Class]uint64{}, Stops: map[string]uint64{}}
}

// ended counts an exit.
func (t *Tally) ended(e slot.ExitRecord) {
	t.Exits[e.Class]++
	if e.Step != "" {
		t.Stops[e.Step]++
	}
}

// clone is for readers: maps are the owner's.
func (t Tally) clone() Tally {
	return Tally{Starts: t.Starts, Exits: maps.Clone(t.Exits), Stops: maps.Clone(t.Stops)}
}

// All counts the exits of all classes, and those among them that are failures.
func (t Tally) All() (all, failed uint64) {
	for class, n := range t.Exits {
		if all += n; class.Failed() {
			failed += n
		}
	}
	return all, failed
}
