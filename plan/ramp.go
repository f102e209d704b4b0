package plan

import (
	"fmt"
	"math"
	"time"

	"qsuper/slot"
)

// A connection that comes back is not met by everybody at once: of all the slots
// that need it, one may start at once, two after a second, 1,024 after ten. The
// line is fixed: slot after slot, of one consumer after the other. So every
// consumer has its share from the beginning, and no one has to ask another.
const (
	rampGrain = 100 * time.Millisecond // how often it is looked whether more may start
	rampMost  = 30 * time.Second       // by then 2^30 may: the ramp is over
)

// rampOf is how many instances of a consumer may have been started since a
// connection came back, and when it will be more.
func rampOf(c Conn, now time.Time) (own int, next time.Time) {
	age := now.Sub(c.Back)
	if c.Back.IsZero() || age >= rampMost {
		return math.MaxInt, time.Time{}
	}
	of, turn := max(c.Sharers, 1), max(c.Turn, 0)
	all := int(math.Exp2(max(0, age.Seconds())) + 1e-6)
	if all > turn {
		own = (all-turn-1)/of + 1
	}
	at := time.Duration(math.Log2(float64(own*of+turn+1)) * float64(time.Second))
	at = (at + rampGrain - 1).Truncate(rampGrain)
	return own, c.Back.Add(max(at, age.Truncate(rampGrain)+rampGrain))
}

// ramp is the narrowest limit that connections which have come back set to a
// consumer of n slots: how many more may start, and which connection says so.
func ramp(o Observed, slots []Slot, now time.Time) (free int, conn *Conn, next time.Time) {
	free = math.MaxInt
	for i := range o.Conns {
		own, again := rampOf(o.Conns[i], now)
		if own >= len(slots) {
			continue
		}
		next = Sooner(next, again)
		if left := max(0, own-startedSince(slots, o.Conns[i].Back)); left < free {
			free, conn = left, &o.Conns[i]
		}
	}
	return free, conn, next
}

// rampReason is what a slot shows that a ramp holds.
func rampReason(c *Conn) slot.Reason {
	return slot.Reason{Code: slot.Ramp, Text: c.Name + " answers again: starts are spread out, twice as many each second"}
}

// rampGate informs: who may start is decided in ration.
func rampGate(p Program, o Observed, now time.Time) Gate {
	g := Gate{Name: "ramp", State: Open, Evidence: "no connection has just come back"}
	if len(o.Conns) == 0 {
		return Gate{Name: "ramp", State: Skipped, Evidence: "it requires no connection"}
	}
	for _, c := range o.Conns {
		if own, _ := rampOf(c, now); c.State == ConnUp && own < p.Max {
			return Gate{Name: "ramp", State: Closed, Evidence: fmt.Sprintf("%s came back %s ago: %d of %d may have started since", c.Name, ago(now.Sub(c.Back)), own, p.Max)}
		}
	}
	return g
}
