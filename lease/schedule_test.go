package lease_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/lease"
	"qsuper/lease/leasetest"
)

var (
	rounds = flag.Int("rounds", 25, "random schedules")
	seed   = flag.Uint64("seed", 0, "run this schedule only")
)

// life is when a process in a slot may have acted.
type life struct {
	host     int
	from, to time.Duration
	token    uint64
}

// world is one random schedule: hosts, their clocks, a server and what befalls them.
type world struct {
	rng     *rand.Rand
	mu      sync.Mutex
	start   time.Time
	fake    *leasetest.Fake
	hosts   []*host
	lives   map[string][]life
	calm    bool // no more faults
	timing  lease.Timing
	fence   time.Duration
	forgets bool // the server may lose writes, and its clock is set
	log     []string
}

// host is an engine with its loop, a keeper, and the processes.
type host struct {
	w       *world
	n       int
	owner   string
	rate    float64 // of its clock
	loop    *lease.Loop
	stop    context.CancelFunc
	ended   sync.WaitGroup
	stalled bool // the engine does not run (SIGSTOP)
	frozen  bool // nothing of the host runs
	cut     bool // from the server
	runs    map[string]*process
}

// process is what runs in a slot, as the keeper knows it.
type process struct {
	token  uint64
	from   time.Duration // world's clock
	until  time.Duration // host's clock
	ending bool
	ends   time.Duration // world's clock: when it is gone
}

func (w *world) now() time.Duration { return time.Since(w.start) }

// clock is CLOCK_BOOTTIME of the host.
func (h *host) clock() time.Duration {
	return time.Duration(float64(h.w.now())*h.rate) + time.Duration(h.n)*time.Hour
}

func (h *host) Changed([]string) {}
func (h *host) Listed(bool)      {}

// Extended is the way of an extension to the keeper.
func (h *host) Extended(until time.Duration, held []lease.Held) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	for _, x := range held {
		if p := h.runs[x.Key]; p != nil && p.token == x.Token {
			p.until = max(p.until, until)
		}
	}
}

// faults is what befalls the next request of a host.
func (h *host) faults() leasetest.Fault {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	r := h.w.rng
	f := leasetest.Fault{Late: span(r, 20*time.Millisecond), Back: span(r, 20*time.Millisecond)}
	switch {
	case h.cut || h.frozen:
		f.Lost = true
	case h.w.calm:
	case r.IntN(20) == 0:
		f.Lost = true
	case r.IntN(20) == 0:
		f.Swallowed = true
	case r.IntN(20) == 0:
		f.Late = span(r, 2*h.w.timing.TTL)
	case r.IntN(20) == 0:
		f.Back = span(r, 8*time.Second)
	}
	return f
}

// stalling is a store in an engine that may be stopped: its answers are seen when
// the engine goes on.
type stalling struct {
	lease.Store
	h *host
}

func (s stalling) wait() {
	for {
		s.h.w.mu.Lock()
		stopped := s.h.stalled || s.h.frozen
		s.h.w.mu.Unlock()
		if !stopped {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s stalling) Take(ctx context.Context, owner string, ttl time.Duration, asks []lease.Ask) ([]lease.Answer, error) {
	defer s.wait()
	return s.Store.Take(ctx, owner, ttl, asks)
}

func (s stalling) Renew(ctx context.Context, owner string, ttl time.Duration, held []lease.Held) ([]bool, error) {
	defer s.wait()
	return s.Store.Renew(ctx, owner, ttl, held)
}

// boot starts an engine, which goes on with what the keeper holds.
func (h *host) boot() {
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.loop = lease.New(lease.Options{
		Name: "fleet", Owner: h.owner, Timing: h.w.timing, Now: h.clock, On: h,
		Store:   stalling{h.w.fake.User(h.faults), h},
		HoldOff: lease.HoldOff(lease.Kind{Forgets: h.w.forgets}, h.w.timing, nil),
	})
	for key, p := range h.runs {
		h.loop.Resume(key, true, p.token, p.until)
	}
	h.loop.Publish([]byte("{}"), false)
	loop := h.loop
	h.ended.Go(func() { _ = loop.Run(ctx) })
}

// engine does what an engine would do now. It is called with mu held.
func (h *host) engine(keys []string) {
	now := h.clock()
	for _, key := range keys {
		s, p := h.loop.Get(key), h.runs[key]
		if p == nil && h.w.rng.IntN(200) == 0 && !h.w.calm {
			h.loop.Leave(key) // it is recycled, and not replaced
			continue
		}
		h.loop.Want(key, true)
		switch {
		case p != nil && (!s.Held || s.Token != p.token):
			h.kill(p)
		case p == nil && s.Held && now >= s.From && s.Until-h.w.fence-lease.KillTime > now:
			h.runs[key] = &process{token: s.Token, from: h.w.now(), until: s.Until, ends: -1}
		case p != nil && !p.ending && h.w.rng.IntN(400) == 0: // it ends by itself
			p.ending, p.ends = true, h.w.now()
		}
	}
}

// keeper does what a keeper would do now. It is called with mu held.
func (h *host) keeper() {
	now := h.clock()
	for key, p := range h.runs {
		switch {
		case now >= p.until-lease.KillTime:
			h.kill(p)
		case now >= p.until-lease.KillTime-h.w.fence && !p.ending:
			p.ending, p.ends = true, h.w.now()+span(h.w.rng, 2*h.w.fence+1)
		}
		if p.ending && h.w.now() >= p.ends {
			h.w.lives[key] = append(h.w.lives[key], life{h.n, p.from, p.ends, p.token})
			delete(h.runs, key)
		}
	}
}

// kill takes up to lease.KillTime, less what the keeper may be late itself.
func (h *host) kill(p *process) {
	if end := h.w.now() + span(h.w.rng, lease.KillTime-200*time.Millisecond); !p.ending || end < p.ends {
		p.ending, p.ends = true, end
	}
}

// thaw lets a frozen host go on: what is over its time is killed before anything
// else happens, and what it did in that instant is admitted.
func (h *host) thaw() {
	h.frozen = false
	for key, p := range h.runs {
		if h.clock() >= p.until-lease.KillTime {
			delete(h.runs, key)
		} else {
			p.from = h.w.now()
		}
	}
}

// freeze stands everything of a host still: its processes do not act.
func (h *host) freeze() {
	h.frozen = true
	for key, p := range h.runs {
		h.w.lives[key] = append(h.w.lives[key], life{h.n, p.from, h.w.now(), p.token})
	}
}

// befall does something to the world. It is called with mu held.
func (w *world) befall() (restart *host) {
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	note := ""
	switch w.rng.IntN(9) {
	case 0:
		h.cut = true
		note = "cut"
	case 1, 2:
		h.cut = false
		note = "joined"
	case 3:
		h.stalled = true
		note = "engine stopped"
	case 4, 5:
		h.stalled = false
		note = "engine goes on"
	case 6:
		if h.frozen {
			h.thaw()
			note = "thawed"
		} else if w.rng.IntN(2) == 0 {
			h.freeze()
			note = "frozen"
		}
	case 7:
		if w.forgets {
			if w.rng.IntN(2) == 0 {
				w.fake.Failover(span(w.rng, 2*w.timing.TTL))
				note = "failover"
			} else {
				w.fake.Set(span(w.rng, 2*w.timing.TTL) - w.timing.TTL)
				note = "clock set"
			}
		}
	case 8:
		note = "engine crashes"
		restart = h
	}
	w.log = append(w.log, fmt.Sprintf("%.2fs host %d: %s", w.now().Seconds(), h.n, note))
	return restart
}

// run lets the world go on until stop.
func (w *world) run(keys []string, stop time.Duration) {
	const step = 50 * time.Millisecond
	for w.now() < stop {
		time.Sleep(step)
		var crash *host
		w.mu.Lock()
		if !w.calm && w.rng.IntN(40) == 0 {
			crash = w.befall()
		}
		for _, h := range w.hosts {
			if h.frozen {
				continue
			}
			h.keeper()
			if !h.stalled {
				h.engine(keys)
			}
		}
		if crash != nil {
			crash.stalled = false
			if crash.frozen {
				crash = nil
			}
		}
		w.mu.Unlock()
		if crash != nil {
			crash.stop()
			crash.ended.Wait()
			w.mu.Lock()
			crash.boot()
			w.mu.Unlock()
		}
	}
}

func newWorld(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	w := &world{rng: r, start: time.Now(), fake: leasetest.NewFake(), lives: map[string][]life{}}
	w.timing.TTL = 10*time.Second + span(r, 50*time.Second)
	for w.fence = span(r, 10*time.Second); w.timing.Fits(w.fence) != nil; {
		w.fence /= 2
	}
	w.forgets = r.IntN(2) == 0
	for n := range 2 + r.IntN(2) {
		// Clocks are apart by up to Drift, the server's being right.
		h := &host{w: w, n: n, owner: fmt.Sprintf("web%d/b/x", n), rate: 1 + (2*r.Float64()-1)*lease.Drift*0.9, runs: map[string]*process{}}
		w.hosts = append(w.hosts, h)
	}
	return w
}

// play runs one schedule and judges it.
func play(t *testing.T, seed uint64) (lives int) {
	w := newWorld(seed)
	keys := []string{"slot/a/0", "slot/a/1"}
	for _, h := range w.hosts {
		h.boot()
	}
	w.run(keys, 6*w.timing.TTL)
	w.mu.Lock()
	w.calm = true
	for _, h := range w.hosts {
		h.cut, h.stalled = false, false
		if h.frozen {
			h.thaw()
		}
	}
	w.mu.Unlock()
	w.run(keys, w.now()+3*w.timing.TTL+10*time.Second)
	w.mu.Lock()
	for _, key := range keys {
		holders := 0
		for _, h := range w.hosts {
			if p := h.runs[key]; p != nil {
				holders++
				w.lives[key] = append(w.lives[key], life{h.n, p.from, w.now(), p.token})
			}
		}
		if holders > 1 || holders == 0 && w.timing.TTL < time.Second {
			t.Errorf("seed %d: %d hosts run %s in the end\n%v", seed, holders, key, w.log)
		}
		lives += w.judge(t, seed, key)
	}
	w.mu.Unlock()
	for _, h := range w.hosts {
		h.stop()
		h.ended.Wait()
	}
	time.Sleep(3 * w.timing.TTL) // what is still on its way
	return lives
}

// judge looks for two at a time, and for tokens that do not grow.
func (w *world) judge(t *testing.T, seed uint64, key string) int {
	list := w.lives[key]
	slices.SortFunc(list, func(a, b life) int { return int(a.from - b.from) })
	for i, x := range list {
		for _, y := range list[:i] {
			if y.to > x.from && y.host != x.host {
				t.Errorf("seed %d (ttl %s, fence %s, forgets %v): %s overlaps:\n%+v\n%+v\n%v", seed, w.timing.TTL, w.fence, w.forgets, key, y, x, w.log)
			}
			if y.host != x.host && y.token >= x.token {
				t.Errorf("seed %d: %s: token %d follows %d\n%+v\n%+v\n%v", seed, key, x.token, y.token, y, x, w.log)
			}
		}
	}
	last := time.Duration(0)
	for _, x := range list {
		last = max(last, x.to)
	}
	if last < w.now()-time.Second-w.timing.TTL {
		t.Errorf("seed %d (ttl %s, fence %s, forgets %v): nobody runs %s since %s, now %s\n%v", seed, w.timing.TTL, w.fence, w.forgets, key, last, w.now(), w.log)
	}
	return len(list)
}

// Whatever befalls hosts, their engines, the way to the server and the server
// itself: an exclusive slot never runs twice, and runs again when it is over.
func TestRandomSchedules(t *testing.T) {
	first := rand.Uint64() >> 20
	n := *rounds
	if *seed != 0 {
		first, n = *seed, 1
	}
	t.Logf("seeds %d to %d", first, first+uint64(n)-1)
	lives := 0
	for i := range n {
		synctest.Test(t, func(t *testing.T) { lives += play(t, first+uint64(i)) })
		if t.Failed() {
			return
		}
	}
	t.Logf("%d schedules, %d processes", n, lives)
}

// span is a random time up to d.
func span(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d) + 1)) }
