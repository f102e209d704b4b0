package web

import (
	"context"
	"sync"
	"time"

	"qsuper/control"
)

const (
	// every is the distance of two points of a graph, and points how many are
	// kept: an hour.
	every  = 10 * time.Second
	points = 360
)

// Source is what the page is made from.
type Source interface {
	Status(control.StatusQuery) (control.Status, error)
}

// History is the last hour of every consumer, for the small graphs. It is kept
// only while somebody could look at it, and starts anew with the engine.
type History struct {
	source Source

	mu     sync.Mutex
	series map[string]*ring
	last   time.Time // of the newest point
}

// Series is one consumer's hour: oldest point first, one each 10 s, the newest at End. A
// value that was not known then is null.
type Series struct {
	End     time.Time  `json:"end"`
	Step    float64    `json:"step_seconds"`
	Ready   []*float64 `json:"ready"`
	Oldest  []*float64 `json:"oldest_seconds"`
	Running []*float64 `json:"running"`
}

// unknown marks a value nobody knew.
const unknown = -1

type point struct{ ready, oldest, running float32 }

type ring struct {
	at   [points]point
	next int
	n    int
}

// NewHistory starts nothing.
func NewHistory(s Source) *History { return &History{source: s, series: map[string]*ring{}} }

// Run takes a point of every consumer each 10 s until ctx is done.
func (h *History) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		h.take(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// take adds one point of every consumer and forgets those that are gone.
func (h *History) take(now time.Time) {
	st, err := h.source.Status(control.StatusQuery{})
	if err != nil {
		return // it is ending
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	there := make(map[string]bool, len(st.Consumers))
	for _, c := range st.Consumers {
		there[c.Name] = true
		r := h.series[c.Name]
		if r == nil {
			r = &ring{}
			h.series[c.Name] = r
		}
		r.add(pointOf(c))
	}
	for name := range h.series {
		if !there[name] {
			delete(h.series, name)
		}
	}
	h.last = now
}

func pointOf(c control.ConsumerStatus) point {
	p := point{ready: unknown, oldest: unknown, running: float32(c.Running)}
	if c.Queue != nil && c.Queue.State == "ok" {
		if c.Queue.Ready != nil {
			p.ready = float32(*c.Queue.Ready)
		}
		if c.Queue.OldestSeconds != nil {
			p.oldest = float32(*c.Queue.OldestSeconds)
		}
	}
	return p
}

func (r *ring) add(p point) {
	r.at[r.next] = p
	r.next = (r.next + 1) % points
	r.n = min(r.n+1, points)
}

// Of returns the series of the consumers named, or of all.
func (h *History) Of(names []string) map[string]Series {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(names) == 0 {
		for name := range h.series {
			names = append(names, name)
		}
	}
	all := make(map[string]Series, len(names))
	for _, name := range names {
		if r := h.series[name]; r != nil {
			all[name] = r.series(h.last)
		}
	}
	return all
}

func (r *ring) series(end time.Time) Series {
	s := Series{End: end, Step: every.Seconds()}
	for i := range r.n {
		p := r.at[(r.next-r.n+i+points)%points]
		s.Ready, s.Oldest, s.Running = append(s.Ready, known(p.ready)), append(s.Oldest, known(p.oldest)), append(s.Running, known(p.running))
	}
	return s
}

func known(v float32) *float64 {
	if v == unknown {
		return nil
	}
	wide := float64(v)
	return &wide
}
