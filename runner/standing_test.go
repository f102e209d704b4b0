package runner

import (
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
)

// TestKeeperGoesOnByItself: what recycles by itself is replaced by the keeper's standing orders, and is
// counted, remembered and numbered as if the engine had started it.
func TestKeeperGoesOnByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.set(func() { f.k.behave = func(string, uint64) (time.Duration, int) { return time.Minute, 0 } })
		f.cfg = f.config(conf("a", 3))
		f.r.Apply(f.cfg)
		time.Sleep(10*time.Minute + time.Second)
		f.wantLive(3)
		s := f.snapshot("a")
		exits, crashes := s.Tally.All()
		if f.k.followed != 30 || exits != 30 || crashes != 0 || s.Tally.Starts != 33 {
			t.Errorf("%d by standing order, %d exits, %d crashes, %d starts", f.k.followed, exits, crashes, s.Tally.Starts)
		}
		for _, sl := range s.Slots {
			if sl.State.Run != 11 || sl.State.Last.Run != 10 || len(sl.Exits) != keepExits || sl.State.PID != f.k.pids()[key("a", sl.Slot)] {
				t.Errorf("%+v", sl)
			}
		}
		f.crash()
		f.boot()
		time.Sleep(5 * time.Minute)
		f.wantLive(3)
		if s := f.snapshot("a"); s.Slots[0].State.Run != 16 {
			t.Errorf("run %d after the engine's crash", s.Slots[0].State.Run)
		}
		f.do("pause", "a")
		time.Sleep(2 * time.Minute)
		f.wantLive(0)
	})
}

// TestFollowersKeepTheStartRate: no more than a second's worth of starts come at once, whoever makes them.
func TestFollowersKeepTheStartRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.set(func() { f.k.behave = func(string, uint64) (time.Duration, int) { return time.Minute, 0 } })
		cfg := f.config(conf("a", 40))
		cfg.Daemon.StartRate = 10
		f.r.Apply(cfg)
		time.Sleep(20 * time.Minute)
		f.k.mu.Lock()
		defer f.k.mu.Unlock()
		if f.k.followed == 0 {
			t.Error("no standing order was carried out")
		}
		for i, at := range f.k.at {
			if j := i + 20; j < len(f.k.at) && f.k.at[j].Sub(at) < 900*time.Millisecond {
				t.Fatalf("21 starts within %v", f.k.at[j].Sub(at))
			}
		}
	})
}

// TestSuccessorOfAnOldConfiguration: a reload and an exit cross on the way: what the keeper started from the
// old file is replaced like the rest.
func TestSuccessorOfAnOldConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.set(func() {
			f.k.stubborn = true
			f.k.behave = func(slot string, run uint64) (time.Duration, int) {
				if run == 1 {
					return time.Minute, 0
				}
				return 1000 * time.Hour, 0
			}
		})
		f.r.Apply(f.config(conf("a", 8)))
		time.Sleep(time.Minute - time.Millisecond)
		changed := conf("a", 8)
		changed.Command = []string{"/bin/true", "new"}
		f.r.Apply(f.config(changed))
		time.Sleep(time.Hour)
		f.wantLive(8)
		f.k.mu.Lock()
		defer f.k.mu.Unlock()
		if f.k.followed == 0 {
			t.Error("nothing crossed")
		}
		for slot, c := range f.k.live {
			if c.argv != "new" {
				t.Errorf("%s runs what the old file said: %q", slot, c.argv)
			}
		}
	})
}

// TestNoStandingOrder where the engine has to look at something first.
func TestNoStandingOrder(t *testing.T) {
	for name, change := range map[string]func(*config.Consumer){
		"env_file":   func(c *config.Consumer) { c.EnvFile = []string{"/dev/null"} },
		"unexpected": func(c *config.Consumer) { c.Restart = config.RestartUnexpected },
		"permanent":  func(c *config.Consumer) { c.Exit.Permanent = []int{0} },
		"empty":      func(c *config.Consumer) { c.Exit.Empty = []int{0} },
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t)
			defer f.end()
			f.k.set(func() { f.k.behave = func(string, uint64) (time.Duration, int) { return time.Minute, 0 } })
			c := conf("a", 1)
			change(c)
			f.r.Apply(f.config(c))
			time.Sleep(10 * time.Minute)
			if f.k.followed != 0 {
				t.Errorf("%s: %d starts by standing order", name, f.k.followed)
			}
		})
	}
}
