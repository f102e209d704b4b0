package runner

import (
	"time"

	"qsuper/slot"
)

// learn keeps what the ends of runs tell about the consumer.
func (c *consumer) learn(old, now slot.State, n int, at time.Time) {
	if c.result.Rationed && (now.Phase == slot.Running || old.Phase.Alive() && !now.Phase.Alive()) {
		c.replan = true // how long it lives counts from now on, or its place is free
	}
	if !old.Phase.Alive() || now.Phase.Alive() {
		return
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
		c.memory.Breaker.Ended(started)
		if now.Last.Class == slot.ClassClean && now.Last.Ran >= c.policy.MinUptime {
			c.memory.Deaths = nil // others get their work done
		}
	}
}
