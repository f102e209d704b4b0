package runner

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/plan"
)

// restart is a crash of the engine, and the next one.
func (f *fleet) restart() {
	f.t.Helper()
	f.crash()
	f.boot()
}

// TestCrashStormOverEngines: an engine that is killed again and again neither ends a hold nor makes it longer,
// and the ramp after it goes on.
func TestCrashStormOverEngines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.crashing(40 * time.Millisecond)
		f.cfg = f.config(conf("a", 8))
		f.r.Apply(f.cfg)
		time.Sleep(100 * time.Millisecond)
		for range 10 * 60 / 3 {
			f.restart()
			time.Sleep(3 * time.Second)
		}
		_, starts := f.k.count()
		if starts < 8+6+9 || starts > 8+7+20 { // as without any restart, see TestCrashStorm
			t.Errorf("%d starts in ten minutes of crashes", starts)
		}
		f.k.well()
		for range 3 * 60 * 2 {
			f.restart()
			time.Sleep(500 * time.Millisecond)
		}
		f.wantLive(8)
		f.k.mu.Lock()
		at := f.k.at[starts:]
		f.k.mu.Unlock()
		if len(at) != 8 {
			t.Fatalf("%d starts for 8 instances", len(at))
		}
		for i, want := range []time.Duration{0, 5, 5, 6, 6, 6, 6, 7} {
			if d := at[i].Sub(at[0]); d < want*time.Second-10*time.Millisecond || d > want*time.Second+600*time.Millisecond {
				t.Errorf("instance %d follows the first after %v, want %v s", i, d, int(want))
			}
		}
	})
}

// TestStormWhileNoEngineLooks: those that crash while there is no engine count as well.
func TestStormWhileNoEngineLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.crashing(5 * time.Second)
		f.cfg = f.config(conf("a", 8))
		f.r.Apply(f.cfg)
		time.Sleep(time.Second)
		f.crash()
		time.Sleep(10 * time.Second)
		f.boot()
		time.Sleep(100 * time.Millisecond)
		if live, starts := f.k.count(); live != 0 || starts != 8 {
			t.Errorf("%d of %d starts run after all have crashed", live, starts)
		}
	})
}

// TestConnectionBackOverEngines: the ramp after an outage is the same when the engine dies in the middle of it,
// or in the outage.
func TestConnectionBackOverEngines(t *testing.T) {
	for _, inOutage := range []bool{false, true} {
		t.Run(fmt.Sprint("in the outage ", inOutage), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t)
				defer f.end()
				b := &broker{}
				b.down.Store(true)
				f.cfg = onBroker(f, b, tenByHundred()...)
				f.r.Apply(f.cfg)
				time.Sleep(time.Hour)
				f.wantLive(0)
				if inOutage {
					f.crash()
				}
				b.down.Store(false)
				if inOutage {
					f.boot()
				}
				for range 30 {
					time.Sleep(1100 * time.Millisecond)
					f.restart()
				}
				f.wantLive(1000)
				counts, _ := f.k.perSecond(0)
				most := 1
				for s, n := range counts {
					if n > most+1 {
						t.Errorf("%d starts in second %d, at most %d: %v", n, s, most, counts)
					}
					most = max(2, 2*most)
				}
				if len(counts) > 14 {
					t.Errorf("it took %d s: %v", len(counts), counts)
				}
			})
		})
	}
}

// TestPaceOverEngines: what max_wait has learned is there after a crash of the engine,
// and small changes are not written all the time.
func TestPaceOverEngines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.cfg = f.config(conf("a", 2))
		f.r.Apply(f.cfg)
		time.Sleep(time.Second)
		synctest.Wait()
		learned := plan.Pace{Rate: 12.5, Startup: 2 * time.Second, Proven: 8}
		f.r.query(f.r.consumers["a"], func(c *consumer) {
			c.memory.Pace = learned
			c.replan = true
		})
		time.Sleep(time.Second)
		f.restart()
		time.Sleep(time.Second)
		f.r.query(f.r.consumers["a"], func(c *consumer) {
			if p := c.memory.Pace; p.Rate != 12.5 || p.Startup != 2*time.Second || p.Proven != 8 {
				t.Errorf("the next engine knows %+v", p)
			}
			kept := c.kept.Pace
			if again := roughly(&plan.Pace{Rate: 11, Startup: 2100 * time.Millisecond, Proven: 8}, kept); again != kept {
				t.Errorf("a small change is written: %+v after %+v", again, kept)
			}
			if again := roughly(&plan.Pace{Rate: 3, Proven: 8}, kept); again == kept {
				t.Error("a large change is not")
			}
			if again := roughly(&plan.Pace{Rate: 3, Vague: 2}, kept); again != kept {
				t.Error("a guess is written")
			}
		})
	})
}
