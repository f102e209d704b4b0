package runner

import (
	"time"

	"qsuper/config"
	"qsuper/health"
	"qsuper/keeper"
	"qsuper/plan"
	"qsuper/slot"
)

// glanceLimit is when a look for a safe point is given up.
const glanceLimit = 5 * time.Second

// safePoint is the search for a moment at which processes that are to stop hold no
// message (stop.wait_for: idle). They stand still while it is asked what is in progress:
// the queue, which says what but not whose (progress.go), or a broker that tells of clients,
// but late (holder.go). Who holds nothing then ends as it stands; the others go on,
// until the keeper ends them when the grace is over. What is not known is no reason to end
// anybody.
type safePoint struct {
	on    bool // something is to stop so
	queue inProgress
	held  heldSearch
	why   string // why nothing could be seen, as was logged last
}

// stop begins the stop of a slot's process: by its signal, or by waiting for a
// moment at which it holds no message.
func (c *consumer) stop(u *unit, now time.Time) {
	ladder := c.ladder(u)
	if c.searches() && (c.tells() || c.sees()) {
		ladder.Hold = true
		c.safe.on = true
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

// searches says whether the file still asks for safe points.
func (c *consumer) searches() bool {
	return c.cfg.Stop.WaitFor == config.WaitIdle && c.cfg.Queue != nil
}

// lookAround goes on with the search and says when to look again.
func (c *consumer) lookAround(now time.Time) time.Time {
	s := &c.safe
	switch {
	case !s.on:
		return time.Time{}
	case !c.searches():
		c.giveUp(now)
	case !c.awaited():
		c.rest(now)
		s.on, s.queue.point = false, plan.SafePoint{}
	case c.tells():
		c.endSearch(now)
		return c.askAround(now)
	default:
		c.letGo(now)
		return c.search(now)
	}
	return time.Time{}
}

// awaited says whether a process waits for a safe point.
func (c *consumer) awaited() bool {
	for _, u := range c.units {
		if u.state.Phase == slot.Draining {
			return true
		}
	}
	return false
}

// giveUp ends a search that a reload has taken the ground from: what waits gets
// its signal after all, and the rest of its grace.
func (c *consumer) giveUp(now time.Time) {
	c.rest(now)
	c.safe.on = false
	for _, u := range c.units {
		if u.state.Phase == slot.Draining {
			c.send(c.r.keeper.Stop(keeper.StopRequest{Slot: u.key, Run: u.state.Run, Stop: c.ladder(u)}))
		}
	}
}

// rest ends whatever is under way, and lets everybody go on.
func (c *consumer) rest(now time.Time) {
	c.endSearch(now)
	c.letGo(now)
}

// frozen notes that a process stands still, or that it does not.
func (c *consumer) frozen(u *unit, m keeper.Frozen, now time.Time) {
	if m.Err != "" {
		c.r.log.Warn("no safe point can be seen", "consumer", c.name, "slot", u.n, "reason", m.Err)
	}
	if c.safe.held.began.IsZero() {
		c.stands(u, m, now)
	} else {
		c.standsFor(u, m, now)
	}
}

// absent is told of every exit: who is gone need not stand still.
func (c *consumer) absent(u *unit, now time.Time) {
	if c.safe.on {
		c.safe.queue.point.Gone(u.n, now)
		c.leaves(u, now)
	}
}

// seen goes on with a look after an answer.
func (c *consumer) seen(m any, now time.Time) {
	switch m := m.(type) {
	case listed:
		c.looked(m, now)
	case heard:
		c.told(m, now)
	}
}

// cannot logs why nothing can be seen, once.
func (c *consumer) cannot(err error) {
	if err != nil && err.Error() != c.safe.why {
		c.safe.why = err.Error()
		c.r.log.Warn("no safe point can be seen", "consumer", c.name, "reason", c.safe.why)
	}
}
