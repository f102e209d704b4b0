package plan

import (
	"fmt"
	"math"
	"time"

	"qsuper/health"
	"qsuper/slot"
)

// swift is how many instances max_wait asks for, before any cooldown: as many as
// take what waits in the time that is left of it, and no more than help.
func swift(r *Result, p Program, o Observed, slots []Slot, now time.Time) int {
	m, q := &r.Memory, *o.Queue
	c := &m.Pace
	flight := q.InFlight
	if flight == health.NotKnown {
		flight = int64(atWork(&q, c.N, slots))
	}
	most := int(min(int64(p.Max), satAdd(q.Ready, flight)))
	if m.Target == 0 { // what an earlier engine, or a moment without a decision, has left at work
		m.Target = min(c.N, most)
	}
	want := min(c.need(p, q, now), most)
	if want > m.Target || c.Ceiling.N > 0 {
		want = c.grow(p, m.Target, want, now)
	}
	return max(want, p.Min)
}

// need is how many instances take what waits before max_wait is over for the first
// in line, at the rate that is known.
func (c *Pace) need(p Program, q Depth, now time.Time) int {
	rate := c.rate()
	switch {
	case q.Ready < 1:
		return 0
	case rate == 0:
		return 1
	}
	n := math.Ceil(float64(q.Ready)/(rate*c.left(p, q, now).Seconds()) - 1e-9)
	return int(math.Min(math.Max(n, 1), math.MaxInt32))
}

// left is the time that is left of max_wait for the first in line, the start of an
// instance taken off. A tenth is the least: what is late already cannot be hurried
// by any number.
func (c *Pace) left(p Program, q Depth, now time.Time) time.Duration {
	return max(p.MaxWait-c.age(&q, now)-c.Startup, p.MaxWait/10)
}

// paceGate informs: how many run is decided in share.
func paceGate(p Program, o Observed, m *Memory, now time.Time) Gate {
	c := &m.Pace
	g := Gate{Name: "pace", State: Open}
	if o.Queue == nil || o.Queue.State != health.OK {
		return Gate{Name: "pace", State: Unknown, Evidence: "the depth is not known, so the number stays as it is"}
	}
	switch {
	case c.Rate > 0:
		g.Evidence = fmt.Sprintf("an instance does %s messages a second", figure(c.Rate))
	default:
		g.Evidence = "how quick an instance is is not known yet"
	}
	if c.Startup > 0 {
		g.Evidence += fmt.Sprintf(", a start takes %s", span(c.Startup))
	}
	if q := *o.Queue; q.Ready > 0 {
		known := "about "
		if q.Oldest != health.NotKnown {
			known = ""
		}
		g.Evidence += fmt.Sprintf("; the first in line has waited %s%s of %s: %d needed", known, ago(c.age(&q, now)), p.MaxWait, min(c.need(p, q, now), p.Max))
	}
	if c.Ceiling.N > 0 {
		g.State = Closed
		g.code = slot.Surplus
		g.Evidence += fmt.Sprintf("; more than %d did not help (%s), tried again in %s", c.Ceiling.N, c.Ceiling.Why, ago(c.Ceiling.Until.Sub(now)))
	}
	return g
}
