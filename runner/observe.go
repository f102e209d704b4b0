package runner

import (
	"slices"
	"time"

	"qsuper/config"
	"qsuper/plan"
)

// observe gathers the facts of this moment.
func (c *consumer) observe() plan.Observed {
	c.looking.Store(false)
	o := plan.Observed{Shutdown: c.shutdown, Stopped: c.human.Stopped, Paused: c.human.Paused, Surge: c.surge}
	for _, name := range c.cfg.Requires {
		o.Conns = append(o.Conns, c.remembered(c.r.board.conn(name, c)))
	}
	if q := c.cfg.Queue; q != nil && !slices.Contains(c.cfg.Requires, q.Connection) {
		o.Conns = append(o.Conns, c.remembered(c.r.board.conn(q.Connection, c)))
	}
	o.Queue = c.depth()
	o.Budget = c.r.budget()
	o.Budget.Shared, o.Budget.Share = c.observed.Budget.Shared && o.Budget.Limits.Bounded(), c.observed.Budget.Share
	o.Fleet = c.observeFleet(time.Now())
	o.Signals, o.Sifted = c.r.signals.of(c.watched), c.sifted
	return o
}

// depth is the latest reading of the consumer's queue; nil: there is none.
func (c *consumer) depth() *plan.Depth {
	if c.cfg.Queue == nil {
		return nil
	}
	return c.r.Depth(c.cfg.Queue)
}

// Depth is the latest reading of a queue of the file; nil: there is none yet.
func (r *Runner) Depth(q *config.Queue) *plan.Depth {
	l := r.board.latest(q.Connection)
	reading, ok := l.readings[q.Queue]
	if !ok {
		return nil
	}
	return &plan.Depth{Reading: reading, At: l.conn.At}
}
