package runner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"qsuper/plan"
)

// turnTime is how long the first among equals stays the first, when what is left
// of the budget is too small for all.
const turnTime = 30 * time.Second

// shares divides the budget among consumers and jobs. Each says what it wants; who
// may have more or less because of that is told.
type shares struct {
	on     atomic.Bool
	mu     sync.Mutex
	limits plan.Limits
	claims map[*consumer]plan.Claim
	part   map[*consumer]int
	turn   int
	scarce bool // somebody gets less than it wants
}

func (s *shares) configure(l plan.Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
	if s.claims == nil {
		s.claims, s.part = map[*consumer]plan.Claim{}, map[*consumer]int{}
	}
	s.on.Store(l.Bounded())
	s.divide(s.turn)
}

// claim says what a consumer wants, and returns what it may have.
func (s *shares) claim(c *consumer, want plan.Claim, now time.Time) int {
	s.mu.Lock()
	turn := int(now.Unix() / int64(turnTime/time.Second))
	if s.claims[c] == want && (!s.scarce || turn == s.turn) {
		defer s.mu.Unlock()
		return s.part[c]
	}
	was := s.claims[c]
	s.claims[c] = want
	was.Running = want.Running
	if _, known := s.part[c]; known && was == want && turn == s.turn { // nobody else cares
		defer s.mu.Unlock()
		return s.part[c]
	}
	changed := s.divide(turn)
	mine := s.part[c]
	s.mu.Unlock()
	for _, o := range changed {
		if o != c {
			o.box.put(observed{})
		}
	}
	return mine
}

// drop forgets a consumer that is gone.
func (s *shares) drop(c *consumer) {
	s.mu.Lock()
	delete(s.claims, c)
	delete(s.part, c)
	changed := s.divide(s.turn)
	s.mu.Unlock()
	for _, o := range changed {
		o.box.put(observed{})
	}
}

// divide is called with mu held. It returns who may have more or less than before.
func (s *shares) divide(turn int) []*consumer {
	var changed, all []*consumer
	for c := range s.claims {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *consumer) int { return cmp.Compare(a.name, b.name) })
	claims := make([]plan.Claim, len(all))
	for i, c := range all {
		claims[i] = s.claims[c]
	}
	s.turn, s.scarce = turn, false
	for i, n := range plan.Shares(s.limits, claims, turn) {
		if old, known := s.part[all[i]]; !known || old != n {
			changed = append(changed, all[i])
		}
		s.part[all[i]] = n
		s.scarce = s.scarce || n < claims[i].Want
	}
	return changed
}

// holders says who has how many of what runs, the most first.
func (s *shares) holders() string {
	s.mu.Lock()
	var list []plan.Claim
	for _, c := range s.claims {
		if c.Running > 0 {
			list = append(list, c)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b plan.Claim) int {
		return cmp.Or(cmp.Compare(b.Running, a.Running), cmp.Compare(a.Name, b.Name))
	})
	const most = 8
	var words []string
	for i, c := range list {
		if i == most {
			words = append(words, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		words = append(words, fmt.Sprintf("%s %d", c.Name, c.Running))
	}
	return strings.Join(words, ", ")
}

// share says what a consumer would have, of which floor are guaranteed, and notes
// what it may have of the budget. It reports whether that has changed.
func (c *consumer) share(wish, floor int, now time.Time) bool {
	if !c.r.shares.on.Load() {
		return false
	}
	running := 0
	for _, u := range c.units {
		if u.state.Phase.Alive() {
			running++
		}
	}
	if c.removed {
		wish, floor = 0, 0
	}
	b := &c.observed.Budget
	before, known := b.Share, b.Shared
	b.Shared, b.Wish, b.Priority = true, wish, c.cfg.Priority
	b.Share = c.r.shares.claim(c, plan.Claim{Name: c.name, Priority: c.cfg.Priority, Min: floor, Want: wish, Memory: c.cfg.Footprint(), Running: running}, now)
	return !known || before != b.Share
}
