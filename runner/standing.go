package runner

import (
	"slices"
	"time"

	"qsuper/keeper"
	"qsuper/slot"
)

// mayFollow says whether the keeper may start the successor of a slot's process
// by itself: only while this loop would do the same, and nothing has to be
// looked up for it.
func (c *consumer) mayFollow(u *unit) bool {
	s := &u.state
	return u.spec != nil && s.Want == slot.Up && (s.Phase == slot.Spawning || s.Phase == slot.Running) && s.Again.Code == "" && !s.Now &&
		c.policy.Restart == slot.Always && len(c.cfg.EnvFile) == 0 && c.cfg.ForeignLock == nil && !c.r.pass && !c.shutdown && !c.removed &&
		!c.result.Rationed
}

// standing is the order that goes to the keeper with a run; nil: none.
func (c *consumer) standing(u *unit) *keeper.Again {
	if !c.mayFollow(u) || len(c.again) == 0 || !c.r.permits.stand(&u.ticket) {
		return nil
	}
	u.ordered = u.state.Run
	return &keeper.Again{Codes: c.again, MinRan: c.policy.MinUptime}
}

// plainExits are the codes after which a successor starts at once.
func plainExits(p slot.Policy) []int {
	return slices.DeleteFunc(slices.Clone(p.Clean), func(code int) bool {
		return slices.Contains(p.Permanent, code) || slices.Contains(p.EmptyCodes, code)
	})
}

// withdraw takes back an order that this loop would no longer carry out.
func (c *consumer) withdraw(u *unit) {
	if u.ordered == 0 || u.ordered == u.state.Run && c.mayFollow(u) {
		return
	}
	if u.ordered == u.state.Run && u.state.Phase.Alive() {
		c.send(c.r.keeper.Again(keeper.AgainRequest{Slot: u.key, Run: u.ordered}))
	}
	c.unorder(u)
}

// unorder forgets the order of a run, which is over, or which the keeper was told to
// stop: with that the order has gone. A word for each would come between stops that
// travel as one.
func (c *consumer) unorder(u *unit) {
	u.ordered = 0
	c.r.permits.unstand(&u.ticket)
}

// succeed takes over the run that the keeper is starting in place of one that
// has just ended. If the order came to be carried out though it was no longer
// wanted, the new run ends the way the old one would have had to.
func (c *consumer) succeed(u *unit, next uint64, finish slot.Reason, now time.Time) {
	c.r.permits.charge(&u.ticket, c.cfg.Footprint(), now)
	u.usage = usage{}
	for _, r := range c.rolls {
		if _, ok := r.asked[u]; ok {
			r.asked[u] = next
		}
	}
	c.step(u, now, slot.Succeeded{Run: next})
	if finish.Code == "" && (u.finger != c.finger() || !c.plan.holds(c.r.launcher(), c.cfg) && c.drifted(u)) {
		finish = slot.Reason{Code: slot.Changed}
	}
	if finish.Code != "" {
		c.step(u, now, slot.Finish{Reason: finish})
	}
}

// drifted says whether a start would be another one today: a user has changed.
func (c *consumer) drifted(u *unit) bool {
	spec, base, err := c.r.launcher().spec(c.cfg, u.n, nil)
	spec.Tag = u.finger
	if err != nil || u.spec == nil || !u.spec.Equal(&spec) {
		return true
	}
	c.plan, u.plan = base, base
	return false
}
