package plan

import (
	"fmt"
	"slices"
	"time"

	"qsuper/health"
)

const (
	poisonDeaths = 5                      // so many crashes in a row make a pattern
	poisonAge    = 100 * time.Millisecond // who dies younger has hardly taken a message
)

// Death is a crash with what waited then.
type Death struct {
	Ran     time.Duration
	Backlog int64 // waiting and in flight; health.NotKnown
}

// Died remembers the crash of any instance of a consumer; d is the latest
// reading, nil for none.
func (m *Memory) Died(ran time.Duration, d *Depth) {
	kept := m.Deaths[max(0, len(m.Deaths)-poisonDeaths+1):]
	m.Deaths = append(slices.Clone(kept), Death{ran, backlog(d)})
}

// backlog is what waits, with what is in flight where that can be said.
func backlog(d *Depth) int64 {
	if d == nil || d.State != health.OK {
		return health.NotKnown
	}
	return satAdd(d.Ready, max(d.InFlight, 0))
}

// poison says in words that crashes look as if one message made them all: they
// come at the same age while the depth does not fall. It is a hint and nothing
// follows from it. Any progress makes it forget.
func poison(r *Result, p Program, o Observed) {
	list, is := r.Memory.Deaths, backlog(o.Queue)
	if len(list) == 0 || is == health.NotKnown {
		return
	}
	first, slack := list[0].Backlog, int64(0)
	if o.Queue.InFlight == health.NotKnown {
		slack = int64(p.Max) // what instances hold is not counted while they live
	}
	if first == health.NotKnown || is < first-slack {
		r.Memory.Deaths = nil
		return
	}
	youngest, oldest := list[0].Ran, list[0].Ran
	for _, d := range list {
		if d.Backlog == health.NotKnown || d.Backlog < first-slack {
			r.Memory.Deaths = nil
			return
		}
		youngest, oldest = min(youngest, d.Ran), max(oldest, d.Ran)
	}
	if len(list) < poisonDeaths || is == 0 || youngest < poisonAge || oldest-youngest > max(youngest/5, 100*time.Millisecond) {
		return
	}
	r.Hint = fmt.Sprintf("dies after %s each time while %d messages %s: one message may be poison",
		span(list[len(list)-1].Ran.Round(100*time.Millisecond)), is, still(is-first, slack))
}

func still(more, slack int64) string {
	if more > slack {
		return "wait and get no fewer"
	}
	return "stand still"
}
