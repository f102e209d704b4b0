package runner

import (
	"time"

	"qsuper/config"
	"qsuper/health"
	"qsuper/keeper"
	"qsuper/plan"
	"qsuper/slot"
)

// Times of looking for a safe point.
const (
	firstPause  = 10 * time.Millisecond // between two looks, while all go on; a quarter longer each time up to
	longPause   = 200 * time.Millisecond
	glanceLimit = 5 * time.Second // a look that takes longer is given up

	// confirmPause lies between the two answers that have to say "nothing": a
	// process may stand still while the server is about to hand it a message.
	confirmPause = 50 * time.Millisecond
)

// safePoint is the search for a moment at which a consumer's processes hold no
// message (stop.wait_for: idle). All of them stand still while the queue is asked:
// rows in progress do not say whose they are, so that only none at all proves
// that nobody holds one. What was to stop ends then as it stands; otherwise all
// go on, until the keeper ends it when the grace is over.
type safePoint struct {
	next    time.Time // of the next look; zero while one is under way
	pause   time.Duration
	began   time.Time        // of the look under way; zero: none is
	waiting map[*unit]uint64 // runs that do not stand still yet
	still   map[*unit]uint64 // runs that do
	limit   time.Duration    // for the look
	number  int              // of the look, so that late answers are told apart
	confirm time.Time        // when to ask again; zero: not now
	sure    bool             // it has been asked again

	scouting bool            // the broker is asked before any stands still, see holder.go
	pids     map[*unit][]int // of those that stand still
	went     time.Time       // since when nobody has stood still for long
	why      string          // why nothing could be seen, as was logged last
}

// glance is the answer to a look.
type glance struct {
	number int
	look   *look
}

// stop begins the stop of a slot's process: by its signal, or by waiting for a
// moment at which it holds no message.
func (c *consumer) stop(u *unit, now time.Time) {
	ladder := c.ladder(u)
	if c.searches() && (c.tells() || c.sees()) {
		ladder.Hold = true
		if c.safe.began.IsZero() {
			c.safe.next, c.safe.pause, c.safe.went = now, firstPause, now
		}
	}
	c.send(c.r.keeper.Stop(keeper.StopRequest{Slot: u.key, Run: u.state.Run, Stop: ladder}))
}

// sees says whether the queue can tell what is in progress. Where it cannot,
// waiting would only end in a kill.
func (c *consumer) sees() bool {
	q := c.cfg.Queue
	r, ok := c.r.board.latest(q.Connection).readings[q.Queue]
	return !ok || r.State != health.OK || r.InFlight != health.NotKnown
}

// lookAround goes on with the search and says when to look again.
func (c *consumer) lookAround(now time.Time) time.Time {
	s := &c.safe
	switch {
	case !c.searches():
		c.giveUp(now)
	case !s.began.IsZero() && now.Sub(s.began) >= s.limit:
		c.goOn(now)
	case !s.confirm.IsZero() && !now.Before(s.confirm):
		s.confirm, s.sure = time.Time{}, true
		if c.tells() {
			c.askHeld(s.pids)
		} else {
			c.glanceAt()
		}
		return s.began.Add(s.limit)
	case !s.began.IsZero():
		return plan.Sooner(s.confirm, s.began.Add(s.limit))
	case s.next.IsZero() || now.Before(s.next):
		return s.next
	case !c.held():
		s.next = time.Time{}
		return s.next
	case c.tells():
		s.limit, s.pids = glanceLimit+askLimit+c.lag(), map[*unit][]int{}
		c.scout(now)
		return s.began.Add(s.limit)
	default:
		s.limit = glanceLimit
		c.standStill(now)
		return s.began.Add(s.limit)
	}
	return s.next
}

// searches says whether the file still asks for safe points.
func (c *consumer) searches() bool {
	return c.cfg.Stop.WaitFor == config.WaitIdle && c.cfg.Queue != nil
}

// giveUp ends a search that a reload has taken the ground from: what waits gets
// its signal after all, and the rest of its grace.
func (c *consumer) giveUp(now time.Time) {
	s := &c.safe
	if s.began.IsZero() && s.next.IsZero() {
		return
	}
	c.goOn(now)
	s.next = time.Time{}
	for _, u := range c.units {
		if u.state.Phase == slot.Draining {
			c.send(c.r.keeper.Stop(keeper.StopRequest{Slot: u.key, Run: u.state.Run, Stop: c.ladder(u)}))
		}
	}
}

// held says whether a process waits for a safe point.
func (c *consumer) held() bool {
	for _, u := range c.units {
		if u.state.Phase == slot.Draining {
			return true
		}
	}
	return false
}

// standStill begins a look.
func (c *consumer) standStill(now time.Time) {
	s := &c.safe
	s.number++
	s.began, s.next, s.confirm, s.sure = now, time.Time{}, time.Time{}, false
	s.waiting, s.still = map[*unit]uint64{}, map[*unit]uint64{}
	for _, u := range c.units {
		if u.state.Phase == slot.Running || u.state.Phase == slot.Draining {
			s.waiting[u] = u.state.Run
			c.send(c.r.keeper.Freeze(keeper.FreezeRequest{Slot: u.key, Run: u.state.Run, On: true}))
		}
	}
}

// frozen notes that a process stands still, and asks the queue when all do.
func (c *consumer) frozen(u *unit, m keeper.Frozen, now time.Time) {
	s := &c.safe
	if s.waiting[u] != m.Run || m.Run == 0 {
		return
	}
	delete(s.waiting, u)
	if m.Err != "" {
		c.r.log.Warn("no safe point can be seen", "consumer", c.name, "slot", u.n, "reason", m.Err)
		c.goOn(now)
		return
	}
	s.still[u] = m.Run
	c.lookUp(u, m.PIDs, now)
}

// lookUp asks when all stand still, or when the broker has had its time.
func (c *consumer) lookUp(u *unit, pids []int, now time.Time) {
	if c.searches() && c.tells() {
		if c.safe.pids != nil && pids != nil {
			c.safe.pids[u] = pids
		}
		c.letSettle(now)
		return
	}
	c.glanceAt()
}

// absent is told of every exit: who is gone need not stand still.
func (c *consumer) absent(u *unit, now time.Time) {
	s := &c.safe
	_, waits := s.waiting[u]
	delete(s.waiting, u)
	delete(s.still, u)
	delete(s.pids, u)
	if waits {
		c.lookUp(u, nil, now)
	}
}

func (c *consumer) glanceAt() {
	s := &c.safe
	if len(s.waiting) > 0 || s.began.IsZero() || !c.searches() {
		return
	}
	number := s.number
	c.r.board.demand(c.r.ctx, c.cfg.Queue.Connection, func(l *look) { c.box.put(glance{number, l}) })
}

// seen goes on with a look after an answer.
func (c *consumer) seen(m any, now time.Time) {
	switch m := m.(type) {
	case glance:
		c.glanced(m, now)
	case heard:
		c.told(m, now)
	}
}

// glanced ends a look: what was to stop ends, if nothing is in progress.
func (c *consumer) glanced(g glance, now time.Time) {
	s := &c.safe
	if g.number != s.number || s.began.IsZero() || len(s.waiting) > 0 || !c.searches() {
		return
	}
	r, ok := g.look.readings[c.cfg.Queue.Queue]
	idle := ok && r.State == health.OK && r.InFlight == 0
	if idle && !s.sure {
		s.confirm = now.Add(confirmPause)
		return
	}
	if idle {
		for u, run := range s.still {
			if u.state.Phase == slot.Draining && u.state.Run == run {
				c.send(c.r.keeper.Stop(keeper.StopRequest{Slot: u.key, Run: run, Idle: true}))
				delete(s.still, u)
			}
		}
	}
	c.goOn(now)
}

// goOn ends a look and lets everybody go on.
func (c *consumer) goOn(now time.Time) {
	s := &c.safe
	for _, runs := range []map[*unit]uint64{s.waiting, s.still} {
		for u, run := range runs {
			c.send(c.r.keeper.Freeze(keeper.FreezeRequest{Slot: u.key, Run: run}))
		}
	}
	froze := len(s.still)+len(s.waiting) > 0
	s.waiting, s.still, s.began, s.confirm = nil, nil, time.Time{}, time.Time{}
	s.scouting, s.pids = false, nil
	if c.searches() && c.tells() {
		// Who stood still for long is to go on for as long, or its message takes twice
		// its time.
		s.next = now.Add(scoutPause)
		if froze {
			s.went = now
			s.next = now.Add(c.lag()*time.Duration(6+s.number%5)/10 + firstPause)
		}
		return
	}
	// Not in step with anything: work may have a rhythm, too.
	s.next = now.Add(s.pause + s.pause*time.Duration(s.number%7)/10)
	s.pause = min(s.pause*5/4, longPause)
}
