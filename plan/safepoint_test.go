package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"qsuper/health"
)

// worker is a consumer that knows no signal, as its queue sees it. What it has sent is
// done by the server though it stands still itself.
type worker struct {
	frozen, over bool
	freezeAt     time.Duration // what is asked for happens a little later; 0: nothing is
	freezeTo     bool
	phase        int           // idle, taking, working, finishing
	left         time.Duration // of the phase, while it goes on
	server       time.Duration // of the statement under way, whoever stands still; 0: none is
	holds        []string
}

// shop is a queue with its workers, on a clock of its own.
type shop struct {
	t       *testing.T
	r       *rand.Rand
	now     time.Duration
	workers []*worker
	stuck   []health.Taken
	next    int
	gap     time.Duration // between two messages, about
	work    time.Duration // for one, about
	batch   int           // messages taken together
	waits   bool          // the work is done by others, whoever stands still
}

const shopTick = 500 * time.Microsecond

func (s *shop) about(d time.Duration) time.Duration {
	return d/2 + time.Duration(s.r.Int64N(int64(d)+1))
}

func (s *shop) tick() {
	s.now += shopTick
	for _, w := range s.workers {
		if w.over {
			continue
		}
		if w.freezeAt > 0 && s.now >= w.freezeAt {
			w.frozen, w.freezeAt = w.freezeTo, 0
		}
		if w.server > 0 {
			if w.server -= shopTick; w.server <= 0 {
				w.server = 0
				if w.phase == 1 {
					for range s.batch {
						s.next++
						w.holds = append(w.holds, fmt.Sprint(s.next))
					}
				} else {
					w.holds = nil
				}
			}
		}
		if w.frozen && s.waits && w.phase == 2 {
			w.left = max(w.left-shopTick, shopTick)
		}
		if w.frozen || w.server > 0 {
			continue
		}
		if w.left -= shopTick; w.left > 0 {
			continue
		}
		w.phase = (w.phase + 1) % 4
		w.left = 0
		switch w.phase {
		case 0:
			w.left = s.about(s.gap)
		case 1, 3: // now and then a commit takes its time
			w.server = s.about(2 * time.Millisecond)
			if s.r.IntN(20) == 0 {
				w.server = time.Duration(s.r.Int64N(int64(90 * time.Millisecond)))
			}
		case 2:
			w.left = s.about(s.work)
		}
	}
}

func (s *shop) pass(d time.Duration) {
	for end := s.now + d; s.now < end; {
		s.tick()
	}
}

func (s *shop) taken() []health.Taken {
	list := slices.Clone(s.stuck)
	for _, w := range s.workers {
		for _, id := range w.holds {
			list = append(list, health.Taken{ID: id, Age: health.NotKnown})
		}
	}
	return list
}

// stop looks for safe points of the first workers until they have ended, and returns how
// long that took. others is how many of the rest are the same consumer's.
func (s *shop) stop(n, others int, limit time.Duration, blind bool) (time.Duration, int) {
	var p SafePoint
	base := time.Unix(1e9, 0)
	at := func() time.Time { return base.Add(s.now) }
	began, over, rounds := s.now, 0, 0
	for over < n && s.now-began < limit {
		if next := p.Next(); next.After(at()) {
			s.pass(next.Sub(at()))
		}
		l := SafeLook{Began: at(), Others: others}
		for i, w := range s.workers[:n] {
			if !w.over {
				l.Stop = append(l.Stop, SafeSlot{N: i, Born: base.Add(-time.Hour)})
			}
		}
		s.pass(s.about(time.Millisecond))
		l.Taken = s.taken()
		l.Failed = blind && s.r.IntN(50) == 0
		s.pass(s.about(time.Millisecond))
		m := p.Look(at(), l)
		for _, i := range m.End {
			w := s.workers[i]
			if !w.frozen || len(w.holds) > 0 || w.phase == 1 && w.server > 0 {
				s.t.Fatalf("%v: slot %d ends: %+v", s.now, i, *w)
			}
			w.over = true
			over++
			p.Gone(i, at())
		}
		rounds += min(len(m.Freeze), 1)
		for _, i := range m.Thaw {
			s.workers[i].freezeAt, s.workers[i].freezeTo = s.now+s.about(2*time.Millisecond), false
		}
		for _, i := range m.Freeze {
			s.workers[i].freezeAt, s.workers[i].freezeTo = s.now+s.about(2*time.Millisecond), true
		}
		for _, i := range m.Freeze {
			for w := s.workers[i]; !w.frozen; {
				s.tick()
			}
			p.Still(i, at())
		}
	}
	return s.now - began, over
}

// TestSafePoints: nobody is ever ended with a message, whatever the work looks like, and
// each is ended some time.
func TestSafePoints(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name          string
		stop, others  int
		foreign       int
		work, gap     time.Duration
		batch         int
		stuck         []health.Taken
		blind, nobody bool // the queue does not answer now and then; none can be ended
		waits         bool // the work is done by others
		within        time.Duration
	}{
		{name: "one alone, quick", stop: 1, work: 3 * ms, gap: 2 * ms, within: 10 * time.Second},
		{name: "one alone, half a second", stop: 1, work: 500 * ms, gap: 12 * ms, within: 20 * time.Second},
		{name: "one alone, twenty seconds", stop: 1, work: 20 * time.Second, gap: 20 * ms, within: 5 * time.Minute},
		{name: "idle", stop: 8, work: ms, gap: 2 * time.Second, within: 30 * time.Second},
		{name: "one of four", stop: 1, others: 3, work: 300 * ms, gap: 15 * ms, within: 30 * time.Second},
		{name: "one of twenty", stop: 1, others: 19, work: 300 * ms, gap: 15 * ms, within: 30 * time.Second},
		{name: "all of four, quick", stop: 4, work: 3 * ms, gap: 4 * ms, within: 30 * time.Second},
		{name: "all of four", stop: 4, work: 300 * ms, gap: 15 * ms, within: time.Minute},
		{name: "all of ten", stop: 10, work: 300 * ms, gap: 15 * ms, within: 3 * time.Minute},
		{name: "one of four, short pauses", stop: 1, others: 3, work: 60 * ms, gap: 3 * ms, within: time.Minute},
		{name: "all of four, short pauses", stop: 4, work: 60 * ms, gap: 3 * ms, within: 3 * time.Minute},
		{name: "all of four, which only wait", stop: 4, work: 60 * ms, gap: 3 * ms, waits: true, within: 3 * time.Minute},
		{name: "one of forty, quick", stop: 1, others: 39, work: 20 * ms, gap: 5 * ms, within: time.Minute},
		{name: "all of four, in batches", stop: 4, work: 300 * ms, gap: 15 * ms, batch: 5, within: time.Minute},
		{name: "one, and strangers", stop: 1, foreign: 3, work: 100 * ms, gap: 15 * ms, within: time.Minute},
		{name: "a crash has left its message", stop: 2, others: 1, work: 100 * ms, gap: 15 * ms, stuck: []health.Taken{{ID: "x", Age: 2 * time.Hour}}, within: time.Minute},
		{name: "nobody knows whose it is", stop: 2, work: 100 * ms, gap: 15 * ms, stuck: []health.Taken{{ID: "x", Age: health.NotKnown}}, nobody: true, within: time.Minute},
		{name: "it may be theirs", stop: 2, work: 100 * ms, gap: 15 * ms, stuck: []health.Taken{{ID: "x", Age: time.Hour}}, nobody: true, within: time.Minute},
		{name: "the queue is not always seen", stop: 3, others: 1, work: 100 * ms, gap: 15 * ms, blind: true, within: 5 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var worst, sum time.Duration
			seeds := max(4, *rounds/5)
			for seed := range uint64(seeds) {
				s := &shop{t: t, r: rand.New(rand.NewPCG(seed, 1)), work: c.work, gap: c.gap, batch: max(c.batch, 1), stuck: c.stuck, waits: c.waits}
				for range c.stop + c.others + c.foreign {
					s.workers = append(s.workers, &worker{left: s.about(c.gap)})
				}
				s.pass(s.about(5 * time.Second))
				took, over := s.stop(c.stop, c.others, c.within, c.blind)
				worst, sum = max(worst, took), sum+took
				if c.nobody && over > 0 || !c.nobody && over < c.stop {
					t.Errorf("seed %d: %d of %d ended within %v", seed, over, c.stop, took)
				}
				if s.next == 0 {
					t.Fatal("nobody has worked")
				}
			}
			t.Logf("%v at most, %v on average", worst, sum/time.Duration(seeds))
		})
	}
}
