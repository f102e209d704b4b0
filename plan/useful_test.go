package plan

import (
	"strings"
	"testing"

	"qsuper/slot"
)

// A topic with three partitions has work for three: more are not started, those
// that run too many are not interrupted, and the reason is told.
func TestNoMoreInstancesThanAreOfUse(t *testing.T) {
	partitions := func(n int64) Observed {
		d := depth(1000, 0)
		d.Useful = n
		return Observed{Conns: []Conn{{Name: "broker", State: ConnUp, At: now}}, Queue: d}
	}
	for name, p := range map[string]Program{
		"fixed":  {Name: "a", Min: 8, Max: 8, OnMessages: true, Queue: "a on broker"},
		"always": {Name: "a", Min: 8, Max: 8, Queue: "a on broker"},
		"scaled": {Name: "a", Min: 1, Max: 8, PerInstance: 10, Queue: "a on broker"},
		"min":    {Name: "a", Min: 6, Max: 8, PerInstance: 1000, Queue: "a on broker"},
	} {
		for limit, want := range map[int64]int{3: 3, 0: 8, -1: 8, 100: 8} {
			if name == "min" && limit != 3 {
				want = 6
			}
			r := Decide(p, partitions(limit), Memory{}, slots(8, nil), now)
			if up, _, down := wants(r); up != want || down != 0 || r.Target != want {
				t.Errorf("%s, useful %d: %d up, %d down, target %d; want %d", name, limit, up, down, r.Target, want)
			}
			if limit != 3 {
				continue
			}
			rest := r.Decisions[7].Reason
			if rest.Code != slot.Surplus || !strings.Contains(rest.Text, "more than 3 instances") {
				t.Errorf("%s: the reason is %+v", name, rest)
			}
		}
	}
	unknown := partitions(3)
	unknown.Queue.State = "unknown"
	r := Decide(Program{Name: "a", Min: 8, Max: 8, Queue: "a on broker"}, unknown, Memory{}, slots(8, run(0)), now)
	if _, _, down := wants(r); down != 0 {
		t.Errorf("a blind moment stops %d", down)
	}
}
