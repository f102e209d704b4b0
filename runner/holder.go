package runner

import (
	"context"
	"errors"
	"time"

	"qsuper/health"
	"qsuper/keeper"
	"qsuper/plan"
	"qsuper/proc"
	"qsuper/slot"
)

// Times of asking a broker what a process holds.
const (
	firstPause = 10 * time.Millisecond
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

// heldSearch is the search for a safe point with a broker that tells of clients.
type heldSearch struct {
	next     time.Time // of the next look; zero: now
	began    time.Time // of the look under way; zero: none is
	number   int       // of the look, so that late answers are told apart
	limit    time.Duration
	scouting bool             // the broker is asked before any stands still
	waiting  map[*unit]uint64 // runs that do not stand still yet
	still    map[*unit]uint64 // runs that do
	pids     map[*unit][]int  // of those
	went     time.Time        // since when nobody has stood still for long
	confirm  time.Time        // when to ask what they hold; zero: not now
}

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

// askAround goes on with the search and says when to look again.
func (c *consumer) askAround(now time.Time) time.Time {
	s := &c.safe.held
	if s.went.IsZero() {
		s.went = now
	}
	switch {
	case s.began.IsZero() && now.Before(s.next):
		return s.next
	case s.began.IsZero():
		s.limit, s.pids = glanceLimit+askLimit+c.lag(), map[*unit][]int{}
		c.scout(now)
	case now.Sub(s.began) >= s.limit:
		c.goOn(now)
		return s.next
	case !s.confirm.IsZero() && !now.Before(s.confirm):
		s.confirm = time.Time{}
		c.askHeld(s.pids)
	}
	return plan.Sooner(s.confirm, s.began.Add(s.limit))
}

// standsFor notes that a process stands still, or that it does not.
func (c *consumer) standsFor(u *unit, m keeper.Frozen, now time.Time) {
	s := &c.safe.held
	switch {
	case m.Err != "" && (s.waiting[u] == m.Run || s.still[u] == m.Run):
		c.goOn(now)
	case s.waiting[u] == m.Run && m.Err == "":
		delete(s.waiting, u)
		s.still[u], s.pids[u] = m.Run, m.PIDs
		c.letSettle(now)
	}
}

// leaves is told of every exit: who is gone need not stand still.
func (c *consumer) leaves(u *unit, now time.Time) {
	s := &c.safe.held
	_, waits := s.waiting[u]
	delete(s.waiting, u)
	delete(s.still, u)
	delete(s.pids, u)
	if waits {
		c.letSettle(now)
	}
}

// letGo ends the search, and lets everybody go on.
func (c *consumer) letGo(now time.Time) {
	if s := &c.safe.held; !s.began.IsZero() || !s.went.IsZero() {
		c.goOn(now)
		*s = heldSearch{number: s.number + 1}
	}
}

// goOn ends a look and lets everybody go on. Who stood still for long is to go on for as
// long, or its message takes twice its time.
func (c *consumer) goOn(now time.Time) {
	s := &c.safe.held
	for _, runs := range []map[*unit]uint64{s.waiting, s.still} {
		for u, run := range runs {
			c.send(c.r.keeper.Freeze(keeper.FreezeRequest{Slot: u.key, Run: run}))
		}
	}
	s.next = now.Add(scoutPause)
	if len(s.still)+len(s.waiting) > 0 {
		s.went = now
		s.next = now.Add(c.lag()*time.Duration(6+s.number%5)/10 + firstPause)
	}
	s.waiting, s.still, s.pids = nil, nil, nil
	s.began, s.confirm, s.scouting = time.Time{}, time.Time{}, false
}

// scout begins a look: it asks what those that are to stop have held lately.
func (c *consumer) scout(now time.Time) {
	s := &c.safe.held
	s.number++
	s.began, s.confirm = now, time.Time{}
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
	number, runs, mains := c.safe.held.number, map[*unit]uint64{}, map[*unit]int{}
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

func redacted(conn health.Conn, err error) string {
	if s, ok := conn.(health.Secretive); ok {
		return health.Redact(s.Secrets(), err.Error())
	}
	return health.Redact(nil, err.Error())
}

// told goes on with a look after an answer of the broker.
func (c *consumer) told(a heard, now time.Time) {
	s := &c.safe.held
	if a.number != s.number || s.began.IsZero() || !c.searches() {
		return
	}
	c.cannot(a.err)
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
			c.safe.held.waiting[u] = run
			c.send(c.r.keeper.Freeze(keeper.FreezeRequest{Slot: u.key, Run: run, On: true}))
		}
	}
}

// letSettle waits, once all that are looked at stand still, until the broker knows.
func (c *consumer) letSettle(now time.Time) {
	s := &c.safe.held
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
