package runner

import (
	"context"
	"errors"
	"time"

	"qsuper/health"
	"qsuper/keeper"
	"qsuper/proc"
	"qsuper/slot"
)

// Times of asking a broker what a process holds.
const (
	scoutPause = time.Second     // between two questions while all go on
	askLimit   = 5 * time.Second // for the answers to one round of questions
)

// A broker that tells of clients knows what each process holds, but knows it late.
// So what is to stop has to stand still for as long as that takes, and nothing else
// has. As that is long, the broker is asked before, while all go on: who held a
// message a moment ago is let go on with it, and whoever cannot be told of, or would
// lose its connection, is not made to stand still at all. But the broker looks at a
// consumer in step with that: one that works evenly is always seen in the same
// moment of it. So now and then it has to stand still all the same.

// heard is what a broker said of processes that are to stop.
type heard struct {
	number int              // of the look
	free   map[*unit]uint64 // held nothing
	busy   map[*unit]uint64 // held something
	err    error            // of the last that it could say nothing of
}

// tells says whether the consumer's broker tells of clients.
func (c *consumer) tells() bool {
	k, _ := health.Lookup(c.r.board.kind(c.cfg.Queue.Connection))
	return k.Holder && !k.InFlightNow
}

// scout begins a look: it asks what those that are to stop have held lately.
func (c *consumer) scout(now time.Time) {
	s := &c.safe
	s.number++
	s.began, s.next, s.confirm, s.sure = now, time.Time{}, time.Time{}, false
	s.waiting, s.still = map[*unit]uint64{}, map[*unit]uint64{}
	s.scouting = true
	pids := map[*unit][]int{}
	for _, u := range c.units {
		if u.state.Phase == slot.Draining && u.state.PID != 0 {
			pids[u] = nil
		}
	}
	c.askHeld(pids)
}

// askHeld has the broker asked, and the answer put into the mailbox. A unit without
// pids is looked up.
func (c *consumer) askHeld(pids map[*unit][]int) {
	number, runs, mains := c.safe.number, map[*unit]uint64{}, map[*unit]int{}
	for u := range pids {
		runs[u], mains[u] = u.state.Run, u.state.PID
	}
	conn := c.cfg.Queue.Connection
	go func() {
		ctx, cancel := context.WithTimeout(c.r.ctx, askLimit)
		defer cancel()
		a := heard{number: number, free: map[*unit]uint64{}, busy: map[*unit]uint64{}}
		h, err := c.r.board.holder(conn)
		if err != nil {
			a.err = err
			c.box.put(a)
			return
		}
		defer h.Close()
		for u, list := range pids {
			if list == nil {
				list = proc.Tree(mains[u])
			}
			n, err := h.Held(ctx, proc.LocalEnds(list))
			switch {
			case err != nil:
				a.err = errors.New(redacted(h, err))
			case n == 0:
				a.free[u] = runs[u]
			default:
				a.busy[u] = runs[u]
			}
		}
		c.box.put(a)
	}()
}

func redacted(h health.Holder, err error) string {
	if s, ok := h.(health.Secretive); ok {
		return health.Redact(s.Secrets(), err.Error())
	}
	return health.Redact(nil, err.Error())
}

// told goes on with a look after an answer of the broker.
func (c *consumer) told(a heard, now time.Time) {
	s := &c.safe
	if a.number != s.number || s.began.IsZero() || !c.searches() {
		return
	}
	if a.err != nil && a.err.Error() != s.why {
		s.why = a.err.Error()
		c.r.log.Warn("no safe point can be seen", "consumer", c.name, "reason", s.why)
	}
	if s.scouting {
		s.scouting = false
		c.stopStill(a.free)
		if now.Sub(s.went) >= 2*c.lag() {
			c.stopStill(a.busy)
		}
		if len(s.waiting) == 0 {
			c.goOn(now)
		}
		return
	}
	for u, run := range a.free {
		if s.still[u] == run && u.state.Phase == slot.Draining {
			c.send(c.r.keeper.Stop(keeper.StopRequest{Slot: u.key, Run: run, Idle: true}))
			delete(s.still, u)
		}
	}
	c.goOn(now)
}

// stopStill has processes that are to stop stand still.
func (c *consumer) stopStill(runs map[*unit]uint64) {
	for u, run := range runs {
		if u.state.Phase == slot.Draining && u.state.Run == run {
			c.safe.waiting[u] = run
			c.send(c.r.keeper.Freeze(keeper.FreezeRequest{Slot: u.key, Run: run, On: true}))
		}
	}
}

// letSettle waits, once all that are looked at stand still, until the broker knows.
func (c *consumer) letSettle(now time.Time) {
	s := &c.safe
	switch {
	case s.began.IsZero() || s.scouting || len(s.waiting) > 0:
	case len(s.still) == 0:
		c.goOn(now)
	default:
		s.began, s.confirm = now, now.Add(c.lag())
	}
}

// lag is how long the broker's answer may be behind; 0 = it is not.
func (c *consumer) lag() time.Duration {
	if c.cfg.Queue == nil || !c.tells() {
		return 0
	}
	h, err := c.r.board.holder(c.cfg.Queue.Connection)
	if err != nil {
		return 0
	}
	defer h.Close()
	return h.Lag()
}
