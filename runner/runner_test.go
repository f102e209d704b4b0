package runner

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/plan"
	"qsuper/slot"
)

func TestStartsRecyclesAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 3))
		defer f.end()
		f.wantLive(3)
		f.k.set(func() { f.k.behave = func(string, uint64) (time.Duration, int) { return 10 * time.Minute, 0 } })
		f.do("restart", "a")
		f.wantLive(3)
		time.Sleep(time.Hour)
		f.wantLive(3)
		if _, starts := f.k.count(); starts < 3+3+15 || starts > 3+3+18 {
			t.Errorf("%d starts in an hour of 10-minute runs", starts)
		}
		reply := f.do("stop", "a")
		f.wantLive(0)
		if len(reply.Outcomes) != 3 || reply.TimedOut || reply.Killed != 0 {
			t.Fatalf("stop: %+v", reply)
		}
		for _, o := range reply.Outcomes {
			if o.Exit == nil || o.Exit.Class != slot.ClassStopped || o.Exit.Step != "signal" {
				t.Errorf("stopped as %+v", o.Exit)
			}
		}
		if s := f.snapshot("a"); s.Summary.State != plan.Stopped || !s.Summary.Healthy {
			t.Errorf("after stop: %+v", s.Summary)
		}
		time.Sleep(time.Hour)
		f.wantLive(0)
		f.do("start", "a")
		f.wantLive(3)
	})
}

func TestStopOutlivesTheDaemonScaleTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 2), conf("b", 2))
		defer f.end()
		f.do("stop", "a")
		f.do("stop", "b/1")
		f.command(Command{Verb: "scale", Names: []string{"b"}, Count: 4, By: "ann", Wait: true})
		f.wantLive(3)
		f.crash()
		f.boot()
		f.wantLive(3)
		f.crash()
		keeperStart = keeperStart.Add(time.Hour) // another daemon
		f.boot()
		time.Sleep(time.Minute)
		f.wantLive(1)
		if s := f.snapshot("a"); s.Summary.State != plan.Stopped {
			t.Errorf("a is %s after a restart of the daemon", s.Summary.State)
		}
	})
}

func TestCrashesNeverEndInGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.behave = func(string, uint64) (time.Duration, int) { return 10 * time.Millisecond, 1 }
		f.cfg = f.config(conf("a", 1))
		f.r.Apply(f.cfg)
		time.Sleep(10 * time.Hour)
		_, starts := f.k.count()
		if starts < 600 || starts > 1300 {
			t.Errorf("%d starts in ten hours: want one in 30 to 60 s", starts)
		}
		if s := f.snapshot("a"); s.Summary.State != plan.Backoff || s.Summary.Healthy {
			t.Errorf("a crash loop is %s, healthy %v", s.Summary.State, s.Summary.Healthy)
		}
		f.crash() // the backoff is not forgotten with the engine
		f.boot()
		synctest.Wait()
		if _, again := f.k.count(); again > starts+1 {
			t.Errorf("a new engine starts %d at once", again-starts)
		}
	})
}

func TestEngineCrashIsNotNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 4))
		defer f.end()
		before := f.k.pids()
		for range 10 {
			f.crash()
			f.boot()
			f.wantLive(4)
		}
		if after := f.k.pids(); !maps.Equal(before, after) {
			t.Errorf("%v became %v", before, after)
		}
		// Exits while no engine is there are seen by the next one.
		f.crash()
		f.k.exit("a/0", f.k.live["a/0"], 3, "")
		f.boot()
		time.Sleep(2 * time.Second)
		f.wantLive(4)
		crashed := 0
		for _, s := range f.snapshot("a").Slots {
			if s.State.Last.Class == slot.ClassCrashed {
				crashed++
			}
		}
		if crashed != 1 {
			t.Errorf("%d crashes seen, want the one that no engine saw", crashed)
		}
	})
}

func TestStartRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.cfg = f.config(conf("a", 120), conf("b", 120))
		f.cfg.Daemon.StartRate = 50
		f.r.Apply(f.cfg)
		began := time.Now()
		time.Sleep(10 * time.Second)
		f.wantLive(240)
		for i := range f.k.at {
			n := 0
			for _, at := range f.k.at {
				if d := at.Sub(f.k.at[i]); d >= 0 && d < time.Second {
					n++
				}
			}
			if n > 101 { // a second's worth at once, and a second's worth in the second
				t.Fatalf("%d starts within a second", n)
			}
		}
		if last := f.k.at[len(f.k.at)-1].Sub(began); last < 3*time.Second || last > 5*time.Second {
			t.Errorf("240 starts took %v at 50 a second", last)
		}
	})
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.cfg = f.config(conf("a", 6), conf("b", 6))
		f.cfg.Daemon.Budget.Processes = 8
		f.r.Apply(f.cfg)
		time.Sleep(30 * time.Second)
		f.wantLive(8)
		f.do("stop", "a")
		time.Sleep(30 * time.Second)
		f.wantLive(6)
		f.do("start", "a")
		time.Sleep(30 * time.Second)
		f.wantLive(8)
	})
}

func TestScaleTouchesNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 3))
		defer f.end()
		old := f.k.pids()
		for _, n := range []int{5, 2, 4} {
			f.command(Command{Verb: "scale", Names: []string{"a"}, Count: n, By: "ann", Wait: true})
			f.wantLive(n)
		}
		for n := range 2 {
			if f.k.pids()[key("a", n)] != old[key("a", n)] {
				t.Errorf("slot %d was touched", n)
			}
		}
	})
}

func TestReloadTouchesOnlyWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("same", 2), conf("more", 2), conf("new-env", 4), conf("policy", 2), conf("gone", 2))
		defer f.end()
		old := f.k.pids()
		more, env, policy := conf("more", 3), conf("new-env", 4), conf("policy", 2)
		env.Env = map[string]string{"A": "b"}
		policy.TimeLimit = time.Hour
		f.cfg = f.config(conf("same", 2), more, env, policy, conf("added", 1))
		f.r.Apply(f.cfg)
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			n := 0
			for slot := range f.k.pids() {
				if slot[:3] == "new" {
					n++
				}
			}
			if n < 3 {
				t.Fatalf("only %d of 4 instances were up while they were replaced", n)
			}
		}
		f.wantLive(2 + 3 + 4 + 2 + 1)
		for slot, pid := range f.k.pids() {
			replaced := old[slot] != 0 && old[slot] != pid
			if replaced != (slot[:3] == "new") {
				t.Errorf("%s: replaced is %v", slot, replaced)
			}
		}
		if _, err := f.r.Snapshots([]string{"gone"}, Detail{}); err == nil {
			t.Error("gone is still shown")
		}
		f.cfg = f.config(conf("gone", 2)) // back at once, while others leave
		f.r.Apply(f.cfg)
		f.r.Apply(f.config())
		f.r.Apply(f.cfg)
		time.Sleep(time.Minute)
		f.wantLive(2)
	})
}

func TestRollingRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 8))
		defer f.end()
		done := make(chan Reply)
		go func() {
			reply, _ := f.r.Do(t.Context(), Command{Verb: "restart", Names: []string{"a"}, By: "ann", Wait: true, Batch: func(n int) int { return n / 4 }})
			done <- reply
		}()
		least := 8
		for {
			select {
			case reply := <-done:
				if _, starts := f.k.count(); starts != 16 || len(reply.Outcomes) != 8 || least < 6 {
					t.Errorf("%d starts, %d outcomes, at least %d up", starts, len(reply.Outcomes), least)
				}
				return
			case <-time.After(50 * time.Millisecond):
				live, _ := f.k.count()
				least = min(least, live)
			}
		}
	})
}

// A rolling restart begins with one: when its successor does not live, all others
// stay what they are.
func TestRollingRestartBeginsWithACanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 8))
		defer f.end()
		f.wantLive(8)
		f.k.crashing(10 * time.Millisecond) // whoever is started from now on
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		reply, err := f.r.Do(ctx, Command{Verb: "restart", Names: []string{"a"}, By: "ann", Wait: true, Batch: func(n int) int { return n / 2 }})
		if live, _ := f.k.count(); live < 7 {
			t.Errorf("%d of 8 live: %+v, %v", live, reply, err)
		}
	})
}

func TestLockedSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.set(func() { f.k.lock["a/0"] = true })
		f.cfg = f.config(conf("a", 1))
		f.r.Apply(f.cfg)
		time.Sleep(time.Minute)
		s := f.snapshot("a")
		if u := s.Slots[0].State; u.Reason.Code != slot.Locked || u.Failures != 0 || s.Summary.Healthy {
			t.Errorf("held by another: %+v", u)
		}
		f.k.set(func() { f.k.lock["a/0"] = false })
		time.Sleep(3 * time.Second)
		f.wantLive(1)
	})
}

func TestMissingProgramRecoversByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := conf("a", 1)
		c.Command = []string{"/nonexistent/program"}
		f := newFleet(t, c)
		defer f.end()
		time.Sleep(time.Minute)
		u := f.snapshot("a").Slots[0].State
		if u.Last.Class != slot.ClassMisconfigured || u.Reason.Code != slot.Backoff {
			t.Fatalf("missing program: %+v", u)
		}
		f.cfg = f.config(conf("a", 1))
		f.r.Apply(f.cfg) // repaired: no need to wait for the backoff
		f.wantLive(1)
	})
}

func TestNamesAndUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mail := conf("mail-out", 2)
		mail.Group = "mail"
		f := newFleet(t, conf("a", 1), mail)
		defer f.end()
		for names, want := range map[string]int{"a": 1, "mail-*": 1, "@mail": 1, "*": 2, "mail-out/1": 1, "@m*": 1} {
			if reply := f.do("stop-workers", names); len(reply.Consumers) != want {
				t.Errorf("%s means %v", names, reply.Consumers)
			}
		}
		for _, name := range []string{"b", "a/1", "a/-1", "a/x", "@none", "[", ""} {
			_, err := f.r.Do(t.Context(), Command{Verb: "stop", Names: []string{name}, By: "ann"})
			if missing := (*NotFoundError)(nil); !errors.As(err, &missing) {
				t.Errorf("%q: %v", name, err)
			}
		}
		var wrong *UsageError
		if _, err := f.r.Do(t.Context(), Command{Verb: "scale", Names: []string{"a/0"}, Count: 2}); !errors.As(err, &wrong) {
			t.Errorf("scale of a slot: %v", err)
		}
	})
}

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 3), conf("b", 3))
		defer f.end()
		f.k.set(func() { f.k.stopsIn = 20 * time.Second })
		began := time.Now()
		reply := f.r.Shutdown(t.Context(), false)
		f.wantLive(0)
		if took := time.Since(began); took < 20*time.Second || took > 21*time.Second || len(reply.Outcomes) != 6 {
			t.Errorf("took %v, %d outcomes", took, len(reply.Outcomes))
		}
		if _, err := f.r.Do(t.Context(), Command{Verb: "start", By: "ann"}); !errors.Is(err, ErrStopping) {
			t.Errorf("start while stopping: %v", err)
		}
	})
}

func TestStopGivesUpWaitingButGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 1))
		defer f.end()
		f.k.set(func() { f.k.stopsIn = time.Minute })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		reply, err := f.r.Do(ctx, Command{Verb: "stop", Names: []string{"a"}, By: "ann", Wait: true})
		if err != nil || !reply.TimedOut || reply.Outcomes[0].Exit != nil || reply.Outcomes[0].State.Phase != slot.Draining {
			t.Errorf("after the timeout: %+v, %v", reply, err)
		}
		reply = f.command(Command{Verb: "stop", Names: []string{"a"}, By: "ann", Wait: true, Now: true})
		f.wantLive(0)
		if reply.Killed != 1 {
			t.Errorf("stop --now: %+v", reply)
		}
	})
}

// TestRandomFaults runs fleets through random exits, commands, reloads and
// engine crashes. The fake keeper fails the test if a slot ever gets a second
// process; in the end everything wanted must run again.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(*rounds) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			f := newFleet(t)
			defer f.end()
			lives := rand.New(rand.NewPCG(seed, 2)) // guarded by the keeper's lock
			f.k.behave = func(string, uint64) (time.Duration, int) {
				return time.Duration(lives.Int64N(int64(30 * time.Second))), lives.IntN(3)
			}
			names := []string{"a", "b", "c"}
			size := func(name string) *config.Consumer { return conf(name, 1+rnd.IntN(5)) }
			f.cfg = f.config(size("a"), size("b"), size("c"))
			f.r.Apply(f.cfg)
			for range 150 {
				name := names[rnd.IntN(3)]
				switch rnd.IntN(9) {
				case 0:
					f.crash()
					f.boot()
				case 1:
					f.cfg = f.config(size("a"), size("b"), size("c"))
					f.r.Apply(f.cfg)
				default:
					verb := []string{"start", "stop", "restart", "stop-workers", "pause", "resume", "scale"}[rnd.IntN(7)]
					f.command(Command{Verb: verb, Names: []string{name}, By: "ann", Count: rnd.IntN(6), Wait: rnd.IntN(2) == 0, Now: rnd.IntN(5) == 0})
				}
				time.Sleep(time.Duration(rnd.Int64N(int64(20 * time.Second))))
			}
			f.k.mu.Lock()
			f.k.behave = func(string, uint64) (time.Duration, int) { return 1000 * time.Hour, 0 }
			f.k.mu.Unlock()
			f.cfg = f.config(conf("a", 2), conf("b", 2), conf("c", 2))
			f.r.Apply(f.cfg)
			f.do("start")
			time.Sleep(10 * time.Minute)
			f.wantLive(6)
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
