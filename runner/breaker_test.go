package runner

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/plan"
	"qsuper/slot"
)

// crashing makes every process crash after a while; well lets them live.
func (k *fakeKeeper) crashing(after time.Duration) {
	k.set(func() { k.behave = func(string, uint64) (time.Duration, int) { return after, 1 } })
}

func (k *fakeKeeper) well() {
	k.set(func() { k.behave = func(string, uint64) (time.Duration, int) { return 1000 * time.Hour, 0 } })
}

// gate returns what explain shows of one gate.
func (f *fleet) gate(consumer, name string) plan.Gate {
	f.t.Helper()
	for _, g := range f.snapshot(consumer).Gates {
		if g.Name == name {
			return g
		}
	}
	f.t.Fatalf("no gate %s", name)
	return plan.Gate{}
}

// TestCrashStorm: eight instances that crash at once are held together; one is tried now and then, and when it
// lives the others follow: 2, then 4, then the rest.
func TestCrashStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.crashing(40 * time.Millisecond)
		f.r.Apply(f.config(conf("a", 8)))
		time.Sleep(100 * time.Millisecond)
		s := f.snapshot("a")
		if r := s.Summary.Reason; r.Code != slot.Breaker || !strings.HasPrefix(r.Text, "8 of 8 instances crashed within 30 s; next try in 0.") || s.Summary.State != plan.Backoff || s.Summary.Healthy {
			t.Errorf("%+v", s.Summary)
		}
		if g := f.gate("a", "breaker"); g.State != plan.Closed || !strings.Contains(g.Evidence, "next try in") {
			t.Errorf("%+v", g)
		}
		time.Sleep(10*time.Minute - 100*time.Millisecond)
		_, starts := f.k.count()
		// 1+2+4+8+16+32 s, then one a minute, each up to half shorter.
		if starts < 8+6+9 || starts > 8+7+20 {
			t.Errorf("%d starts in ten minutes of crashes", starts)
		}
		for i, at := range f.k.at {
			if i > 8 && at.Sub(f.k.at[i-1]) < 500*time.Millisecond {
				t.Errorf("starts %d and %d are %v apart", i-1, i, at.Sub(f.k.at[i-1]))
			}
		}
		f.k.well()
		time.Sleep(3 * time.Minute)
		f.wantLive(8)
		f.k.mu.Lock()
		at := f.k.at[starts:]
		f.k.mu.Unlock()
		if len(at) != 8 {
			t.Fatalf("%d starts for 8 instances", len(at))
		}
		for i, want := range []time.Duration{0, 5, 5, 6, 6, 6, 6, 7} {
			if d := at[i].Sub(at[0]).Round(100 * time.Millisecond); d != want*time.Second {
				t.Errorf("instance %d follows the first after %v, want %v s", i, d, int(want))
			}
		}
		if s := f.snapshot("a"); s.Summary.State != plan.Running || s.Summary.Reason.Code == slot.Breaker {
			t.Errorf("%+v", s.Summary)
		}
	})
}

// TestBreakerLeavesWhatRuns, and what is asked by hand begins anew.
func TestBreakerLeavesWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.set(func() {
			f.k.behave = func(s string, _ uint64) (time.Duration, int) {
				if s == key("a", 0) || s == key("a", 1) {
					return time.Second, 1
				}
				return 10 * time.Minute, 0
			}
		})
		f.r.Apply(f.config(conf("a", 4)))
		time.Sleep(5 * time.Minute)
		pids := f.k.pids()
		if len(pids) < 2 || pids[key("a", 2)] != 1003 || pids[key("a", 3)] != 1004 {
			t.Errorf("what ran was touched: %v", pids)
		}
		if s := f.snapshot("a"); s.Summary.Reason.Code != slot.Breaker || s.Summary.State != plan.Running || s.Summary.Healthy {
			t.Errorf("%+v", s.Summary)
		}
		time.Sleep(6 * time.Minute) // those have ended cleanly: their successors are starts like others
		if f.k.followed != 0 {
			t.Errorf("the keeper made %d starts by itself while they were held", f.k.followed)
		}
		f.k.well()
		f.do("start", "a")
		f.wantLive(4)
		if g := f.gate("a", "breaker"); g.State != plan.Open {
			t.Errorf("%+v", g)
		}
	})
}

// TestBreakerNeedsCompany: one of four that crashes, or a consumer of one, has only its own backoff.
func TestBreakerNeedsCompany(t *testing.T) {
	for _, n := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t)
			defer f.end()
			f.k.set(func() {
				f.k.behave = func(s string, _ uint64) (time.Duration, int) {
					if s == key("a", 0) {
						return time.Second, 1
					}
					return 1000 * time.Hour, 0
				}
			})
			f.r.Apply(f.config(conf("a", n)))
			for range 300 {
				time.Sleep(time.Second)
				if g := f.gate("a", "breaker"); g.State == plan.Closed {
					t.Fatalf("%d instances: %+v", n, g)
				}
			}
		})
	}
}

// TestBreakerMissingProgram: what cannot even be started crashes together, too.
func TestBreakerMissingProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := conf("a", 8)
		broken.Command = []string{"/nonexistent/program"}
		f := newFleet(t, broken)
		defer f.end()
		time.Sleep(10 * time.Minute)
		tried := uint64(0)
		for _, s := range f.snapshot("a").Slots {
			tried += s.State.Run
		}
		if tried > 8+7+20 {
			t.Errorf("%d tries in ten minutes", tried)
		}
		f.r.Apply(f.config(conf("a", 8)))
		time.Sleep(time.Second)
		f.wantLive(8) // repaired: nothing to wait for
	})
}

// TestCanaryOutlivesItsPredecessors: what dies after 20 s must not pass after 5.
func TestCanaryOutlivesItsPredecessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.crashing(20 * time.Second)
		f.r.Apply(f.config(conf("a", 8)))
		time.Sleep(time.Minute)
		_, begun := f.k.count()
		for range 600 {
			time.Sleep(time.Second)
			if live, _ := f.k.count(); live > 1 {
				t.Fatalf("%d run, though every one before has crashed", live)
			}
		}
		if _, n := f.k.count(); n-begun < 6 {
			t.Errorf("only %d tries in ten minutes", n-begun)
		}
	})
}

// TestCleanCanary: an instance that does its work and ends is as good as one that lives.
func TestCleanCanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.crashing(time.Second)
		f.r.Apply(f.config(conf("a", 4)))
		time.Sleep(2 * time.Minute)
		f.k.set(func() { f.k.behave = func(string, uint64) (time.Duration, int) { return 2 * time.Second, 0 } })
		time.Sleep(2 * time.Minute)
		f.wantLive(4)
		if g := f.gate("a", "breaker"); g.State != plan.Open {
			t.Errorf("%+v", g)
		}
	})
}

// TestShortRunsOfWhichSomeCrash: where 19 of 20 runs end well there is no storm, however many crashes half a
// minute holds.
func TestShortRunsOfWhichSomeCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		rnd := rand.New(rand.NewPCG(1, 7)) // guarded by the keeper's lock
		f.k.set(func() {
			f.k.behave = func(string, uint64) (time.Duration, int) {
				return time.Duration(50+rnd.IntN(100)) * time.Millisecond, max(0, rnd.IntN(20)-18)
			}
		})
		c := conf("a", 4)
		c.Backoff.MinUptime = 0
		f.r.Apply(f.config(c))
		held := 0
		for range 300 {
			time.Sleep(time.Second)
			if g := f.gate("a", "breaker"); g.State == plan.Closed {
				held++
			}
		}
		_, starts := f.k.count()
		if held > 3 || starts < 4*300*4 {
			t.Errorf("starts were held in %d of 300 seconds; %d starts", held, starts)
		}
	})
}

// TestStormAfterGoodRuns: what ended well a moment ago does not hide a storm for long.
func TestStormAfterGoodRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.set(func() { f.k.behave = func(string, uint64) (time.Duration, int) { return 100 * time.Millisecond, 0 } })
		c := conf("a", 8)
		c.Backoff.MinUptime = 0
		f.r.Apply(f.config(c))
		time.Sleep(time.Minute)
		f.k.crashing(100 * time.Millisecond)
		time.Sleep(5 * time.Second)
		if g := f.gate("a", "breaker"); g.State != plan.Closed {
			t.Errorf("%+v", g)
		}
		_, before := f.k.count()
		time.Sleep(5 * time.Minute)
		if _, n := f.k.count(); n-before > 20 {
			t.Errorf("%d starts in five minutes", n-before)
		}
		f.k.set(func() { f.k.behave = func(string, uint64) (time.Duration, int) { return 100 * time.Millisecond, 0 } })
		time.Sleep(2 * time.Minute)
		if g := f.gate("a", "breaker"); g.State != plan.Open {
			t.Errorf("%+v", g)
		}
	})
}
