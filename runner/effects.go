package runner

import (
	"context"
	"errors"
	"strings"
	"time"

	"qsuper/keeper"
	"qsuper/slot"
)

// spawn asks the keeper for a process. What was looked up for the last start of
// the slot serves again until the file, a user or the program changes.
func (c *consumer) spawn(u *unit, now time.Time) {
	l := c.r.launcher()
	if u.spec == nil || u.plan != c.plan || !c.plan.holds(l, c.cfg) {
		spec, base, err := l.spec(c.cfg, u.n, c.plan)
		if err != nil {
			c.step(u, now, slot.SpawnFailed{Run: u.state.Run, Kind: slot.FailExec, Reason: err.Error()})
			return
		}
		if u.finger = c.finger(); c.job != nil {
			u.finger = onceMark + u.finger
		}
		spec.Tag = u.finger
		c.plan, u.plan, u.spec = base, base, &spec
	}
	u.usage, u.unacked, u.launched = usage{}, 0, now
	if c.job != nil {
		c.job.spawn(u)
		return
	}
	spec, lease, err := c.underLease(u)
	if err != nil {
		c.step(u, now, slot.SpawnFailed{Run: u.state.Run, Kind: slot.FailLocked, Reason: err.Error()})
		return
	}
	err = c.r.keeper.Start(keeper.StartRequest{Slot: u.key, Run: u.state.Run, Spec: spec, Memo: c.memo(u), Again: c.standing(u), Lease: lease})
	c.catchUp(u, lease)
	if err != nil && !errors.Is(err, keeper.ErrGone) { // too long for a frame: it was never asked
		u.spec = nil
		c.step(u, now, slot.SpawnFailed{Run: u.state.Run, Kind: slot.FailExec, Reason: err.Error()})
		return
	}
	c.send(err)
}

// ladder is the stop of a slot, with the reason for the next engine should this one
// not be there when it has ended.
func (c *consumer) ladder(u *unit) keeper.Stop {
	s := c.r.launcher().ladder(c.cfg, u.n)
	s.Why = string(u.state.Reason.Code) + " " + clip(u.state.Reason.Text)
	return s
}

// reasonOf reads Stop.Why.
func reasonOf(why string) slot.Reason {
	code, text, _ := strings.Cut(why, " ")
	return slot.Reason{Code: slot.Code(code), Text: text}
}

// send notes that the keeper cannot be reached. Nothing else is to be done:
// without its keeper the engine ends, and with it this loop.
func (c *consumer) send(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		c.r.log.Error("keeper does not take requests", "consumer", c.name, "error", err)
	}
}

func startFailed(m keeper.StartFailed) slot.SpawnFailed {
	f := slot.SpawnFailed{Run: m.Run, Kind: slot.FailExec, Reason: m.Err}
	switch m.Kind {
	case keeper.KindLocked, keeper.KindBusy, keeper.KindLease:
		f.Kind = slot.FailLocked
		if m.By != "" {
			f.Reason = "slot held by " + m.By
		}
	case "host", "terminating":
		f.Kind = slot.FailHost
	}
	return f
}

// exited classifies an exit, tells the keeper that it is dealt with, and
// leaves the slot's memory there.
func (c *consumer) exited(u *unit, e keeper.Exited, now time.Time) {
	if e.Run != u.state.Run || !u.state.Phase.Alive() {
		c.send(c.r.keeper.Ack(keeper.AckRequest{Slot: u.key, Run: e.Run, Memo: c.memo(u)}))
		return
	}
	u.ended = now
	info := slot.ExitInfo{Code: e.Code, Signal: e.Signal, Step: e.Step, At: e.At, Ran: e.Ran, ExecError: e.ExecError, OOM: e.OOM, Fenced: e.Fenced, Held: e.Held}
	info.Unknown = e.Code < 0 && e.Signal == 0 && e.ExecError == ""
	info.Work = c.judge(e.Ran)
	c.absent(u, now)
	finish := u.state.Again
	c.step(u, now, slot.Exited{Run: e.Run, Exit: info})
	if e.Next != 0 {
		u.launched = now.Add(min(0, e.At.Sub(now)))
		c.succeed(u, e.Next, finish, now)
	}
	u.remember(u.state.Last)
	c.tally.ended(u.state.Last)
	u.unacked = e.Run // acknowledged by the next start, or at the end of this batch
	c.ended = append(c.ended, u)
	if c.r.pass || c.cfg.ForeignLock != nil {
		c.decide(now) // --once: it does not come back; or somebody else may have been quicker
	}
	if c.prog.OnMessages && u.state.Want != slot.Up {
		c.replan = true // a place may have become free for a slot that waits
	}
}

func (c *consumer) judge(ran time.Duration) slot.Work {
	quick := ran < c.cfg.Backoff.MinUptime
	if d := c.depth(); d != nil {
		return c.work.judge(&d.Reading, d.At, quick)
	}
	return c.work.judge(nil, time.Time{}, quick)
}

func (c *consumer) killAll(now time.Time) {
	for _, u := range c.units {
		c.step(u, now, slot.KillNow{})
	}
}

// acknowledge tells the keeper which exits it may forget. Where a start has
// followed it has said so already, and at the end of everything nobody asks.
func (c *consumer) acknowledge() {
	for _, u := range c.ended {
		if u.unacked != 0 && !c.shutdown {
			c.send(c.r.keeper.Ack(keeper.AckRequest{Slot: u.key, Run: u.unacked, Memo: c.memo(u)}))
		}
		u.unacked = 0
		if u.ordered != u.state.Run { // the keeper has started it by itself: may it again?
			if again := c.standing(u); again != nil {
				c.send(c.r.keeper.Again(keeper.AgainRequest{Slot: u.key, Run: u.state.Run, Again: again}))
			}
		}
	}
	c.ended = c.ended[:0]
	c.remind()
}
