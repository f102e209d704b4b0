package runner

import (
	"context"
	"errors"
	"sync"
	"time"

	"qsuper/health"
	"qsuper/keeper"
	"qsuper/plan"
	"qsuper/slot"
)

// inProgress looks for safe points on a queue that shows what is in progress.
// plan.SafePoint decides; here are the questions, and what comes of the answers.
type inProgress struct {
	point  plan.SafePoint
	ask    *progressAsker // nil: nobody has asked yet
	number int            // of the search, so that late answers are told apart
	asked  time.Time      // of the question under way; zero: none is
}

// listed is the answer to one question.
type listed struct {
	number int
	began  time.Time
	taken  []health.Taken
	err    error
}

// search asks the queue when it is time, and says when that will be.
func (c *consumer) search(now time.Time) time.Time {
	s := &c.safe.queue
	if !s.asked.IsZero() {
		if now.Sub(s.asked) < glanceLimit {
			return s.asked.Add(glanceLimit)
		}
		c.cannot(errors.New("the queue does not answer"))
		c.endSearch(now)
	}
	if next := s.point.Next(); now.Before(next) {
		return next
	}
	if s.ask == nil {
		q := c.cfg.Queue
		s.ask = &progressAsker{spec: c.r.board.spec(q.Connection), queue: q.Queue}
	}
	s.asked = now
	ask, number := s.ask, s.number
	c.r.loops.Go(func() { ask.once(c.r.ctx, number, func(l listed) { c.box.put(l) }) })
	return now.Add(glanceLimit)
}

// looked carries out what follows from an answer.
func (c *consumer) looked(a listed, now time.Time) {
	s := &c.safe.queue
	if a.number != s.number || s.asked.IsZero() || !c.searches() {
		return
	}
	s.asked = time.Time{}
	c.cannot(a.err)
	look := plan.SafeLook{Began: a.began, Taken: a.taken, Failed: a.err != nil}
	for _, u := range c.units {
		switch u.state.Phase {
		case slot.Draining:
			look.Stop = append(look.Stop, plan.SafeSlot{N: u.n, Born: u.launched})
		case slot.Running:
			look.Others++
		}
	}
	m := s.point.Look(now, look)
	c.freeze(m.Freeze, true)
	c.freeze(m.Thaw, false)
	for _, n := range m.End {
		u := c.units[n]
		c.send(c.r.keeper.Stop(keeper.StopRequest{Slot: u.key, Run: u.state.Run, Idle: true}))
	}
}

// freeze lets the processes of slots stand still, or go on.
func (c *consumer) freeze(slots []int, still bool) {
	for _, n := range slots {
		if n < len(c.units) {
			u := c.units[n]
			c.send(c.r.keeper.Freeze(keeper.FreezeRequest{Slot: u.key, Run: u.state.Run, On: still}))
		}
	}
}

// stands notes that a process stands still, or that it does not.
func (c *consumer) stands(u *unit, m keeper.Frozen, now time.Time) {
	s := &c.safe.queue
	switch {
	case m.Run != u.state.Run:
	case m.Err == "":
		s.point.Still(u.n, now)
	default:
		s.point.Gone(u.n, now)
		c.freeze(s.point.Abandon(now), false)
	}
}

// endSearch lets everybody go on, and the connection go.
func (c *consumer) endSearch(now time.Time) {
	s := &c.safe.queue
	if s.ask == nil {
		return
	}
	c.freeze(s.point.Abandon(now), false)
	s.ask.leave()
	*s = inProgress{point: s.point, number: s.number + 1}
}

// progressAsker asks a queue over a connection of its own, one question at a time.
type progressAsker struct {
	spec  health.Spec
	queue health.Queue

	mu   sync.Mutex
	conn health.Conn // nil: it is not open
	left bool
}

// once asks, within glanceLimit.
func (p *progressAsker) once(ctx context.Context, number int, answer func(listed)) {
	ctx, cancel := context.WithTimeout(ctx, glanceLimit)
	defer cancel()
	a := listed{number: number, began: time.Now()}
	conn, err := p.open()
	if err == nil {
		a.taken, err = takenFrom(ctx, conn, p.queue)
	}
	if err != nil {
		a.err = errors.New(redacted(conn, err))
		p.drop()
	}
	answer(a)
}

func (p *progressAsker) open() (health.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left || p.spec == nil {
		return nil, errGone
	}
	var err error
	if p.conn == nil {
		p.conn, err = p.spec.Open() // which does not dial
	}
	return p.conn, err
}

func (p *progressAsker) drop() {
	p.mu.Lock()
	conn := p.conn
	p.conn = nil
	p.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

// leave closes the connection under a question that may be under way.
func (p *progressAsker) leave() {
	p.mu.Lock()
	p.left = true
	p.mu.Unlock()
	go p.drop()
}

// takenFrom lists what is in progress. Where messages have no names, all of them are one:
// it goes when nothing is in progress at all.
func takenFrom(ctx context.Context, conn health.Conn, q health.Queue) ([]health.Taken, error) {
	if l, ok := conn.(health.Lister); ok {
		taken, err := l.InProgress(ctx, q)
		if !errors.Is(err, health.ErrUnlisted) {
			return taken, err
		}
	}
	m, ok := conn.(health.Meter)
	if !ok {
		return nil, errors.New("the connection has no queues")
	}
	readings, err := m.Measure(ctx, []health.Queue{q})
	switch {
	case err != nil:
		return nil, err
	case len(readings) != 1 || readings[0].State != health.OK || readings[0].InFlight == health.NotKnown:
		return nil, errors.New("what is in progress is not known")
	case readings[0].InFlight == 0:
		return nil, nil
	}
	return []health.Taken{{ID: "some", Age: health.NotKnown}}, nil
}
