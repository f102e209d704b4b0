package runner

import (
	"fmt"
	"sync"
	"time"

	"qsuper/plan"
	"qsuper/slot"
)

// permits hands out what starting a process costs the host: a turn in the
// start rate and a place in the process budget.
type permits struct {
	mu    sync.Mutex
	rate  int // starts per second; 0 = no limit
	max   plan.Limits
	held  int
	bytes int64            // that those who hold a place may take
	soon  map[string]int64 // slots that run, whose owners have not got there yet, with what they may take
	given int              // standing orders: starts that may come at any moment
	next  time.Time        // when the next free turn is
	retry time.Duration
}

// ticket is one slot's place in the line and in the budget.
type ticket struct {
	turn   time.Time // reserved turn; zero: none
	held   bool
	bytes  int64 // that it may take
	stands bool  // the keeper may start a successor by itself
}

func (p *permits) configure(rate int, max plan.Limits, retry time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rate != p.rate {
		p.next = time.Time{}
	}
	p.rate, p.max, p.retry = rate, max, retry
}

// take asks for a permit. If there is none now it says why, and when to ask
// again; the turn in the line is kept until then. A second's worth of starts
// may go at once, so that a small fleet does not notice the limit.
func (p *permits) take(t *ticket, bytes int64, now time.Time) (why slot.Reason, again time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held, promised := p.inAll()
	switch {
	case p.max.Processes > 0 && held >= p.max.Processes:
		return slot.Reason{Code: slot.Budget, Text: fmt.Sprintf("%d of %d processes run", held, p.max.Processes)}, now.Add(p.retry), false
	case p.max.Memory > 0 && promised+bytes > p.max.Memory:
		text := fmt.Sprintf("%d of %d MiB are promised to what runs, it needs %d", promised>>20, p.max.Memory>>20, bytes>>20)
		return slot.Reason{Code: slot.Budget, Text: text}, now.Add(p.retry), false
	}
	if p.rate > 0 {
		if now.Sub(t.turn) > time.Second {
			// A turn that was not taken is gone: they must not pile up.
			p.catchUp(now)
			turn := p.next.Add(time.Second / time.Duration(p.rate))
			why := slot.Reason{Code: slot.StartRate, Text: fmt.Sprintf("starts are limited to %d per second", p.rate)}
			if turn.Sub(now) > time.Second {
				// Turns are given for the next second only; whoever comes later asks
				// again, so that those who went away hold up nobody for long.
				return why, now.Add(turn.Sub(now) / 2), false
			}
			p.next, t.turn = turn, turn
		}
		if now.Before(t.turn) {
			return slot.Reason{Code: slot.StartRate, Text: fmt.Sprintf("starts are limited to %d per second", p.rate)}, t.turn, false
		}
	}
	p.hold(t, bytes)
	t.turn = time.Time{}
	return slot.Reason{}, time.Time{}, true
}

// inAll is called with mu held.
func (p *permits) inAll() (held int, bytes int64) {
	held, bytes = p.held+len(p.soon), p.bytes
	for _, b := range p.soon {
		bytes += b
	}
	return held, bytes
}

// expect counts a process that an earlier engine has left, until its owner has
// adopted it: nobody else may have its place.
func (p *permits) expect(key string, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.soon == nil {
		p.soon = map[string]int64{}
	}
	p.soon[key] = bytes
}

// arrived ends expect.
func (p *permits) arrived(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.soon, key)
}

// hold is called with mu held.
func (p *permits) hold(t *ticket, bytes int64) {
	if !t.held {
		p.held++
		p.bytes += bytes
		t.held, t.bytes = true, bytes
	}
}

// catchUp forgets turns that nobody took for more than a second: that many starts
// may go at once, less those which the keeper may make by itself.
func (p *permits) catchUp(now time.Time) {
	given := time.Duration(min(p.given, p.rate)) * time.Second / time.Duration(p.rate)
	earliest := now.Add(given - time.Second)
	if p.next.Before(earliest) {
		p.next = earliest
	}
}

// stand asks for leave to have the keeper start a successor by itself. No more
// of them are given than a second's worth of starts, and none over the budget.
func (p *permits) stand(t *ticket) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.stands || p.rate > 0 && p.given >= p.rate || p.max.Processes > 0 && p.held > p.max.Processes || p.max.Memory > 0 && p.bytes > p.max.Memory {
		return t.stands
	}
	p.given++
	t.stands = true
	return true
}

func (p *permits) unstand(t *ticket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.stands {
		p.given--
		t.stands = false
	}
}

// charge takes a place, and the next turn, for a start that has been made.
func (p *permits) charge(t *ticket, bytes int64, now time.Time) {
	p.adopt(t, bytes)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate > 0 {
		p.catchUp(now)
		p.next = p.next.Add(time.Second / time.Duration(p.rate))
	}
}

// adopt takes a place for a process that runs already, over the limit if need be.
func (p *permits) adopt(t *ticket, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold(t, bytes)
}

func (p *permits) give(t *ticket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.held {
		p.held--
		p.bytes -= t.bytes
	}
	if t.stands {
		p.given--
	}
	*t = ticket{}
}

func (p *permits) inUse() (held int, bytes int64, max plan.Limits) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held, bytes = p.inAll()
	return held, bytes, p.max
}

// bounded says whether there is a budget of processes or memory.
func (p *permits) bounded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.max.Bounded()
}

func (p *permits) limit() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate
}
