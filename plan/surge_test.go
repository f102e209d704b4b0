package plan

import (
	"testing"
	"time"

	"qsuper/slot"
)

// Slots beyond the last one are up as long as anything is wanted at all, and count
// where the budget is shared out, but not among those wanted.
func TestSurge(t *testing.T) {
	fixed := Program{Name: "a", Min: 4, Max: 4}
	scaled := Program{Name: "a", Min: 0, Max: 4, PerInstance: 10, OnMessages: true, Queue: "a on broker"}
	for _, c := range []struct {
		name   string
		p      Program
		o      Observed
		slots  int
		target int
		wish   int
		up     int
		down   int
	}{
		{"none", fixed, Observed{}, 4, 4, 4, 4, 0},
		{"two", fixed, Observed{Surge: 2}, 6, 4, 6, 6, 0},
		{"one of two slots that are there", fixed, Observed{Surge: 1}, 6, 4, 5, 5, 1},
		{"not there yet", fixed, Observed{Surge: 2}, 4, 4, 4, 4, 0},
		{"over", fixed, Observed{}, 6, 4, 4, 4, 2},
		{"some are wanted", scaled, Observed{Surge: 1, Queue: depth(15, 0)}, 5, 2, 3, 3, 0},
		{"none is wanted", scaled, Observed{Surge: 1, Queue: depth(0, 0)}, 5, 0, 0, 0, 0},
		{"stopped", fixed, Observed{Surge: 1, Stopped: "by ann"}, 5, 0, 0, 0, 5},
	} {
		r := Decide(c.p, c.o, Memory{}, slots(c.slots, run(time.Hour)), now)
		up, _, down := wants(r)
		if r.Target != c.target || r.Wish != c.wish || up != c.up || down != c.down {
			t.Errorf("%s: %d wanted, wish %d, %d up, %d down: %+v", c.name, r.Target, r.Wish, up, down, r.Decisions)
		}
	}
	five := slots(5, run(time.Hour))
	five[4].State = slot.State{Phase: slot.Waiting}
	o := Observed{Surge: 1, Budget: Budget{Shared: true, Share: 4}}
	if r := Decide(fixed, o, Memory{}, five, now); r.Target != 4 || r.Decisions[4].Want != slot.Hold || r.Decisions[4].Reason.Code != slot.Budget || r.Decisions[0].Want != slot.Up {
		t.Errorf("a share of four: %+v", r.Decisions)
	}
}
