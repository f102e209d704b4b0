package runner

import (
	"time"

	"qsuper/plan"
	"qsuper/slot"
)

// roll replaces processes a few at a time: first one, the canary, and the next
// when enough of the successors have lived long enough. If they do not live, the
// roll stands still, and the processes not yet asked go on working.
type roll struct {
	pending []*unit
	asked   map[*unit]uint64 // by run that was asked to end
	limit   int              // how many may be away at once; 0: all
	reason  slot.Reason
	stable  time.Duration // age at which a successor counts
}

// roll begins to replace the processes of some slots.
func (c *consumer) roll(units []*unit, limit int, why slot.Reason) {
	c.rolls = append(c.rolls, &roll{
		pending: units, asked: map[*unit]uint64{}, limit: limit, reason: why, stable: c.cfg.Backoff.MinUptime,
	})
}

// proceed moves every roll on and says when to look again.
func (c *consumer) proceed(now time.Time) time.Time {
	var next time.Time
	keep := c.rolls[:0]
	for _, r := range c.rolls {
		away, again := r.away(now)
		limit := r.limit
		if len(r.asked) == away { // nobody has shown yet that successors live
			limit = min(limit, 1)
		}
		for len(r.pending) > 0 && (limit <= 0 || away < limit) {
			u := r.pending[0]
			r.pending = r.pending[1:]
			if !u.state.Phase.Alive() || r.reason.Code == slot.Changed && u.finger == c.finger() {
				continue
			}
			r.asked[u] = u.state.Run
			c.step(u, now, slot.Finish{Reason: r.reason})
			away++
		}
		if len(r.pending) > 0 {
			next = plan.Sooner(next, again)
			keep = append(keep, r)
		}
	}
	c.rolls = keep
	return next
}

// away counts the slots that were asked and are not back, and says when the
// youngest successor will be old enough.
func (r *roll) away(now time.Time) (n int, again time.Time) {
	for u, run := range r.asked {
		s := u.state
		if s.Want == slot.Down || s.Want == slot.Hold && (s.Wish.Code == slot.Surplus || s.Wish.Code == slot.Empty) {
			continue // nobody waits for it to come back
		}
		if s.Phase != slot.Running || s.Run <= run {
			n++
			continue
		}
		if at := s.Started.Add(r.stable); now.Before(at) {
			n++
			again = plan.Sooner(again, at)
		}
	}
	return n, again
}
