package runner

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
)

// lives has every child end well after so long.
func (f *fleet) lives(d time.Duration) {
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	f.k.behave = func(string, uint64) (time.Duration, int) { return d, 0 }
}

// running counts the processes of each consumer.
func (f *fleet) running() map[string]int {
	synctest.Wait()
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	n := map[string]int{}
	for slot := range f.k.live {
		name, _, _ := strings.Cut(slot, "/")
		n[name]++
	}
	return n
}

// budgetOf is what explain says of the budget.
func (f *fleet) budgetOf(name string) string {
	s, err := f.r.Snapshots([]string{name}, Detail{Gates: true})
	if err != nil || len(s) != 1 {
		f.t.Fatal(err)
	}
	for _, g := range s[0].Gates {
		if g.Name == "budget" {
			return g.Evidence
		}
	}
	return ""
}

// Places go to the higher priority as they become free; nobody is asked to go for
// it, and explain says who has them.
func TestBudgetByPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		low, high := conf("low", 6), conf("high", 6)
		high.Priority, high.Autostart = 10, false
		f.cfg = f.config(low, high)
		f.cfg.Daemon.Budget.Processes = 8
		f.lives(20 * time.Second)
		f.r.Apply(f.cfg)
		time.Sleep(10 * time.Second)
		if n := f.running(); n["low"] != 6 || n["high"] != 0 {
			t.Errorf("alone: %v", n)
		}
		f.do("start", "high")
		time.Sleep(5 * time.Second)
		if n := f.running(); n["low"] != 6 || n["high"] != 2 {
			t.Errorf("before any place is free: %v", n)
		}
		time.Sleep(time.Minute)
		if n := f.running(); n["low"] != 2 || n["high"] != 6 {
			t.Errorf("a minute later: %v", n)
		}
		want := "its share of the host's 8 processes is 2 instances of the 6 it would have (priority 0); 8 of 8 processes run: high 6, low 2"
		if got := f.budgetOf("low"); got != want {
			t.Errorf("explain says %q, want %q", got, want)
		}
		f.k.mu.Lock()
		signals := f.k.signals
		f.k.mu.Unlock()
		if signals > 0 {
			t.Errorf("%d were asked to go", signals)
		}
		f.do("stop", "high")
		time.Sleep(time.Minute)
		if n := f.running(); n["low"] != 6 {
			t.Errorf("alone again: %v", n)
		}
	})
}

// Where there is less than one place for each, all of them have their turn.
func TestBudgetComesRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.cfg = f.config(conf("a", 2), conf("b", 2), conf("c", 2), conf("d", 2))
		f.cfg.Daemon.Budget.Processes = 2
		f.lives(3 * time.Second)
		f.r.Apply(f.cfg)
		time.Sleep(10 * time.Minute)
		f.k.mu.Lock()
		defer f.k.mu.Unlock()
		starts := map[string]int{}
		for _, slot := range f.k.starts {
			starts[slot[:1]]++
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			if starts[name] < 50 { // of some 400
				t.Errorf("%s started %d times of %v", name, starts[name], starts)
			}
		}
	})
}

// Memory is promised by memory_limit.
func TestBudgetOfMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		large, small := conf("large", 4), conf("small", 8)
		large.MemoryLimit, small.MemoryLimit = 256<<20, 64<<20
		small.Instances = config.Instances{Min: 8, Max: 8}
		f.cfg = f.config(large, small)
		f.cfg.Daemon.Budget.Memory = 1 << 30
		f.lives(5 * time.Second)
		f.r.Apply(f.cfg)
		time.Sleep(30 * time.Second)
		if n := f.running(); n["large"]*256+n["small"]*64 > 1024 || n["large"] < 2 || n["small"] < 4 {
			t.Errorf("of 1024 MiB, 256 each large one and 64 each small one: %v", n)
		}
	})
}

// With a budget, a crash of the engine changes nobody's place.
func TestBudgetOutlivesTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		low, high := conf("low", 6), conf("high", 6)
		high.Priority = 1
		f.cfg = f.config(low, high)
		f.cfg.Daemon.Budget.Processes = 8
		f.lives(20 * time.Second)
		f.r.Apply(f.cfg)
		time.Sleep(time.Minute)
		before := f.running()
		f.crash()
		f.boot()
		time.Sleep(time.Second)
		if after := f.running(); after["low"] != before["low"] || after["high"] != before["high"] {
			t.Errorf("%v became %v", before, after)
		}
		time.Sleep(time.Minute)
		if n := f.running(); n["low"] != 2 || n["high"] != 6 {
			t.Errorf("a minute later: %v", n)
		}
	})
}
