package runner

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"qsuper/plan"
	"qsuper/slot"
)

// roll replaces processes a few at a time: first one, the canary, and the next
// when enough of the successors have lived long enough. If they do not live, those
// not yet asked go on working: the roll stands still, or is given up.
//
// With surge nothing is taken away before there is a substitute: first so many
// instances are started in slots beyond the last one, of which the first is the
// canary, and of the old ones no more are away than those have lived long enough.
// When all are back, the slots beyond are given up.
type roll struct {
	pending []*unit
	asked   map[*unit]uint64 // by run that was asked to end
	extra   map[*unit]uint64 // surge: slots beyond the last one, by the run that was there before
	limit   int              // how many may be away at once; 0: all
	surge   int              // how many extra instances; 0: none, and limit counts
	gives   bool             // it is given up when a successor crashes
	failed  string           // that it was, and why
	reason  slot.Reason
	stable  time.Duration // age at which a successor counts
}

// roll begins to replace the processes of some slots.
func (c *consumer) roll(units []*unit, limit int, why slot.Reason) *roll {
	r := &roll{
		pending: units, asked: map[*unit]uint64{}, extra: map[*unit]uint64{}, limit: limit, reason: why, stable: c.cfg.Backoff.MinUptime,
	}
	c.rolls = append(c.rolls, r)
	return r
}

// proceed moves every roll on and says when to look again.
func (c *consumer) proceed(now time.Time) time.Time {
	var next time.Time
	surge := 0
	keep := c.rolls[:0]
	for _, r := range c.rolls {
		if r.gives && r.crashed() {
			c.abandon(r, now)
			continue
		}
		away, again := r.away(now)
		room, more, soon := r.room(c, away, now)
		for ; len(r.pending) > 0 && room > 0; room-- {
			u := r.pending[0]
			r.pending = r.pending[1:]
			if !u.state.Phase.Alive() || r.reason.Code == slot.Changed && u.finger == c.finger() {
				room++
				continue
			}
			r.asked[u] = u.state.Run
			c.step(u, now, slot.Finish{Reason: r.reason})
			away++
		}
		if len(r.pending) > 0 || r.surge > 0 && away > 0 {
			next = plan.Sooner(next, plan.Sooner(again, soon))
			keep = append(keep, r)
			surge = max(surge, more)
		}
	}
	c.rolls = keep
	if surge == c.surge {
		return next
	}
	c.surge, c.replan = surge, true
	c.makeRoom()
	for _, r := range c.rolls {
		for _, u := range c.units[min(c.prog.Max, len(c.units)):] {
			if _, known := r.extra[u]; !known {
				r.extra[u] = u.state.Run
			}
		}
	}
	return now
}

// room is how many more may be asked to end, and how many extra instances are to
// be there meanwhile.
func (r *roll) room(c *consumer, away int, now time.Time) (room, surge int, again time.Time) {
	limit := r.limit
	switch {
	case r.surge > 0 && c.result.Target > 0:
		ready, soon := r.ready(c, now)
		if surge = r.surge; ready == 0 {
			surge = 1 // the canary
		}
		if room = ready - away; len(r.asked) == away {
			room = min(room, 1)
		}
		return room, surge, soon
	case r.surge > 0: // nothing is wanted: nobody is missed
		limit = 0
	case len(r.asked) == away: // nobody has shown yet that successors live
		limit = min(limit, 1)
	}
	if limit <= 0 {
		return math.MaxInt32, 0, again
	}
	return limit - away, 0, again
}

// ready counts the extra instances that have lived long enough.
func (r *roll) ready(c *consumer, now time.Time) (n int, again time.Time) {
	for _, u := range c.units[min(c.prog.Max, len(c.units)):] {
		if u.state.Phase != slot.Running {
			continue
		}
		if at := u.state.Started.Add(r.stable); now.Before(at) {
			again = plan.Sooner(again, at)
		} else {
			n++
		}
	}
	return n, again
}

// crashed says whether one of those that were started for this roll has crashed,
// and notes how.
func (r *roll) crashed() bool {
	for _, runs := range []map[*unit]uint64{r.asked, r.extra} {
		for u, before := range runs {
			if last := u.state.Last; last.Run > before && last.Class.Failed() {
				r.failed = fmt.Sprintf("the new instance in slot %d does not live (%s)", u.n, last.Detail())
				return true
			}
		}
	}
	return false
}

// abandon ends a roll whose successors crash, and says so.
func (c *consumer) abandon(r *roll, now time.Time) {
	left := 0
	for _, u := range r.pending {
		if u.state.Phase.Alive() {
			left++
		}
	}
	r.failed += fmt.Sprintf("; %d go on as they were", left)
	r.pending = nil
	c.r.journal.add(Event{At: now, Consumer: c.name, Slot: -1, Reason: slot.Reason{Code: slot.Recycle, Text: "rolling restart given up: " + r.failed}})
	c.r.log.Warn("rolling restart given up", slog.String("consumer", c.name), slog.String("reason", r.failed))
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

// single is why a consumer may not have an instance more than the file says; "" = it may.
func (c *consumer) single() string {
	switch cfg := c.shared.Load(); {
	case cfg.Shared():
		return "its slots are shared with other hosts (lock: " + cfg.Lock + ")"
	case cfg.ForeignLock != nil:
		return "its application has a lock of its own (foreign_lock)"
	case cfg.Instances.Max <= 1:
		return "one instance is all it may have (instances: 1)"
	}
	return ""
}

// mayGrow refuses extra instances where a consumer may not have any.
func mayGrow(cmd Command, targets []target) error {
	if cmd.Surge == nil {
		return nil
	}
	var single []string
	for _, t := range targets {
		if why := t.c.single(); why != "" && t.c.job == nil {
			single = append(single, t.c.name+": "+why)
		}
	}
	if len(single) == 0 {
		return nil
	}
	return &UsageError{"no extra instance may be started of " + strings.Join(single, "; "), "restart it by itself, without --surge"}
}
