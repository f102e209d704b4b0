package runner

import (
	"time"

	"qsuper/plan"
	"qsuper/slot"
)

// announce logs that starts are held, and that they are free again.
func (c *consumer) announce(before plan.Breaker, now time.Time) {
	switch b := &c.memory.Breaker; {
	case b.Trips > before.Trips || b.Trips > 0 && b.Phase == plan.Holding && before.Phase != plan.Holding:
		c.r.log.Warn("starts are held", "consumer", c.name, "code", slot.Breaker, "reason", b.Cause, "seconds", b.Until.Sub(now).Seconds())
	case b.Phase == plan.Watching && before.Phase != plan.Watching:
		c.r.log.Info("starts are free again", "consumer", c.name, "code", slot.Breaker)
	}
}

// learn keeps what the ends of runs tell about the consumer.
func (c *consumer) learn(old, now slot.State, n int, at time.Time) {
	if c.job != nil {
		c.replan = true
		return
	}
	if c.result.Pending {
		c.replan = true // the next may be asked to finish
	}
	if now.Phase == slot.Running && c.memory.Breaker.Phase == plan.Trying {
		c.replan = true // how long it lives counts from now on
	}
	if !old.Phase.Alive() || now.Phase.Alive() {
		return
	}
	if c.result.Rationed {
		c.replan = true // its place is free, and not for itself alone
	}
	started := old.Started
	if started.IsZero() { // it never came to run
		started = old.Since
	}
	switch {
	case now.Reason.Code == slot.Backoff:
		c.memory.Breaker.Failed(n, started, at)
		c.memory.Died(now.Last.Ran, c.depth())
		c.replan = true
	case now.Reason.Code == slot.Locked || now.Reason.Code == slot.Host: // it has not been tried
	case now.Last.Class == slot.ClassClean, now.Last.Class == slot.ClassEmpty, now.Last.Class == slot.ClassRecycled, now.Last.Class == slot.ClassUnknown:
		c.memory.Breaker.Ended(n, len(c.units), started, at)
		if now.Last.Class == slot.ClassClean && now.Last.Ran >= c.policy.MinUptime {
			c.memory.Deaths = nil // others get their work done
		}
	}
}
