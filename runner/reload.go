package runner

import (
	"slices"
	"time"

	"qsuper/config"
	"qsuper/keeper"
	"qsuper/plan"
	"qsuper/slot"
)

// adopt takes over what the keeper says of a slot at the start of an engine.
func (c *consumer) adopt(m keeper.SlotInfo, now time.Time) {
	defer c.r.permits.arrived(m.Slot)
	n, ok := slotNumber(m.Slot)
	if !ok {
		return
	}
	for len(c.units) <= n {
		c.grow()
	}
	u := c.units[n]
	c.recall(u, m, now)
	if c.job != nil {
		u.state.Run = max(u.state.Run, c.job.rec.Runs[n])
		c.job.adopt(u, m)
	}
	if m.Adopted {
		c.retake(u, m)
	}
	c.output(u, m.Log, now)
	if m.Missed != "" {
		c.missed = m.Missed // an engine before this one has told
	}
	c.note(u)
	c.replan = true
	if e := m.Exit; e != nil { // it ended while no engine was there to see it
		c.r.permits.adopt(&u.ticket, c.cfg.Footprint())
		c.step(u, now, slot.Adopt{Run: e.Run, Step: e.Step, Why: reasonOf(e.Why)})
		seen := *e
		seen.Next = 0 // what became of that is in m
		c.exited(u, seen, now)
	}
	if m.PID == 0 {
		return
	}
	c.r.permits.adopt(&u.ticket, c.cfg.Footprint())
	c.resume(u, m)
	c.drift = c.drift || c.job == nil && u.finger != c.finger()
	// The keeper's moments are of the wall clock; deadlines count on the other.
	u.launched = now.Add(m.StartedAt.Sub(now))
	c.step(u, now, slot.Adopt{Run: m.Run, PID: m.PID, Started: u.launched, Step: m.Stopping, Why: reasonOf(m.Why)})
	if u.state.Phase == slot.Draining {
		c.safe.on = c.safe.on || c.searches()   // whether it was held or not
		u.state.Deadline = now.Add(m.Remaining) // for display: the keeper goes on counting
	}
}

// recall takes what an earlier engine has remembered of a slot, and of the consumer
// with it. What failed with another configuration may be repaired: of that only the
// exits count, for people.
func (c *consumer) recall(u *unit, m keeper.SlotInfo, now time.Time) {
	fresh := u.state
	of := u.recall(m.Memo, 2*max(c.cfg.Backoff.Max, time.Minute), now)
	if m.PID == 0 && u.finger != "" && u.finger != c.finger() {
		fresh.Last, fresh.Run = u.state.Last, max(u.state.Run, fresh.Run)
		u.state = fresh
		return
	}
	c.recollect(of, now)
	if e := u.state.Last; e.Run != 0 {
		c.memory.Breaker.Recall(u.n, e, now)
	}
}

// retake tells a new keeper what a process of the one before it is. Where that
// could not keep what was remembered of the slot, the tag tells what the process was
// made from.
func (c *consumer) retake(u *unit, m keeper.SlotInfo) {
	if u.finger == "" {
		u.finger = m.Tag
	}
	spec, base, err := c.r.launcher().spec(c.cfg, u.n, c.plan)
	if err != nil {
		c.r.log.Error("adopt a process whose consumer cannot be started any more", "consumer", c.name, "slot", u.n, "pid", m.PID, "error", err)
		base = c.plan
		spec = keeper.Spec{
			FIFO: keeper.FIFOPath(c.r.launcher().stateDir, u.key),
			Log:  c.r.launcher().log(c.cfg, u.n), Stop: c.r.launcher().ladder(c.cfg, u.n),
		}
	}
	c.plan = base
	spec.Tag = u.finger
	c.send(c.r.keeper.Adopt(keeper.AdoptRequest{Slot: u.key, Run: m.Run, Spec: spec, Memo: c.memo(u)}))
}

// renew replaces, a quarter at a time, what was started from another
// configuration than the one in force.
func (c *consumer) renew() {
	var outdated []*unit
	for _, u := range c.units {
		if u.state.Phase.Alive() && u.finger != c.finger() {
			outdated = append(outdated, u)
		}
	}
	c.rolls = slices.DeleteFunc(c.rolls, func(r *roll) bool { return r.reason.Code == slot.Changed })
	if len(outdated) > 0 {
		c.roll(outdated, max(1, len(c.units)/4), slot.Reason{Code: slot.Changed})
	}
}

// reconfigure applies a reload: policies at once, processes only if what makes
// a process has changed, a quarter of them at a time.
func (c *consumer) reconfigure(cfg *config.Consumer, now time.Time) {
	logs, before := c.cfg.Logs != cfg.Logs, c.finger()
	c.removed = false
	c.rest(now) // the connection may be another
	c.configure(cfg)
	finger := c.finger()
	if before != finger {
		c.memory.Breaker, c.memory.Deaths = plan.Breaker{}, nil // what crashed may be repaired
	}
	for _, u := range c.units {
		switch {
		case u.state.Phase.Alive() && u.finger != finger:
		case u.state.Phase.Alive() && logs:
			c.send(c.r.keeper.SetLog(keeper.LogRequest{Slot: u.key, Log: c.r.launcher().log(cfg, u.n)}))
		case !u.state.Phase.Alive() && u.finger != finger:
			c.step(u, now, slot.Retry{}) // what could not start may be repaired
		}
	}
	if c.job == nil { // the next fire of a job takes what has changed
		c.renew()
	}
}

// makeRoom adds the slots that are missing.
func (c *consumer) makeRoom() {
	for n := len(c.units); n < c.prog.Max+c.surge; n++ {
		c.grow()
	}
	c.slots.Store(int64(len(c.units)))
}

// grow adds a slot.
func (c *consumer) grow() {
	n := len(c.units)
	u := &unit{n: n, key: slotKey(c.name, n), state: slot.State{Phase: slot.Halted, Since: time.Now()}}
	if c.job != nil && c.job.rec != nil {
		u.state.Run = c.job.rec.Runs[n]
	}
	c.units = append(c.units, u)
	c.due = append(c.due, never)
}

// shrink lets slots beyond the configured number go once they are empty.
func (c *consumer) shrink() {
	for len(c.units) > c.prog.Max+c.surge {
		u := c.units[len(c.units)-1]
		if u.state.Phase.Alive() || u.state.Phase == slot.Checking {
			return
		}
		c.send(c.r.keeper.Drop(keeper.DropRequest{Slot: u.key}))
		c.units, c.due = c.units[:len(c.units)-1], c.due[:len(c.due)-1]
		c.slots.Store(int64(len(c.units)))
		if len(c.result.Decisions) > len(c.units) {
			c.result.Decisions = c.result.Decisions[:len(c.units)]
		}
	}
}

func (c *consumer) empty() bool {
	for _, u := range c.units {
		if u.state.Phase.Alive() {
			return false
		}
	}
	return true
}

// bury is the end of a consumer that is no longer in the file.
func (c *consumer) bury() {
	c.r.shares.drop(c)
	if c.fleet != nil {
		c.fleet.drop(c.name)
	}
	for _, u := range c.units {
		c.r.permits.give(&u.ticket)
		c.send(c.r.keeper.Drop(keeper.DropRequest{Slot: u.key}))
	}
	c.notify()
}
