package runner

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/slot"
)

// deafFleet is a consumer of n instances with messages waiting, `stall: 5m` and processes that use cpu a second.
func deafFleet(t *testing.T, b *broker, n int, cpu time.Duration) (*fleet, *config.Consumer) {
	f := &fleet{t: t, k: newFakeKeeper(t), dir: t.TempDir()}
	var mu sync.Mutex
	began := time.Now()
	f.usage = func(pids []int) map[int]procUsage {
		mu.Lock()
		defer mu.Unlock()
		m := map[int]procUsage{}
		for _, pid := range pids {
			m[pid] = procUsage{CPU: time.Duration(time.Since(began).Seconds() * float64(cpu))}
		}
		return m
	}
	b.ready.Store(812)
	b.taken.Store(4)
	c := queued(conf("a", n))
	c.Stall = 5 * time.Minute
	f.cfg = onBroker(f, b, c)
	f.boot()
	return f, c
}

// stalled counts the exits that were asked for because of a stall.
func (f *fleet) stalled() (n int) {
	for _, s := range f.snapshot("a").Slots {
		for _, e := range s.Exits {
			if e.Cause == slot.Stall {
				n++
				if e.Class != slot.ClassRecycled || e.Step != "signal" {
					f.t.Errorf("ended as %+v", e)
				}
			}
		}
	}
	return n
}

// TestDeafInstancesComeBack: one at a time, one in five minutes, gracefully.
func TestDeafInstancesComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := deafFleet(t, &broker{}, 3, 0)
		defer f.end()
		f.k.set(func() { f.k.stopsIn = 10 * time.Second })
		time.Sleep(4*time.Minute + 59*time.Second)
		if n := f.stalled(); n != 0 {
			t.Fatalf("%d restarts before five minutes", n)
		}
		time.Sleep(15 * time.Second)
		draining := 0
		for _, s := range f.snapshot("a").Slots {
			if s.State.Phase == slot.Draining {
				draining++
				if text := s.State.Reason.Text; s.State.Reason.Code != slot.Stall || !strings.HasPrefix(text, "812 messages wait and none went for 5m0s") {
					t.Errorf("%v", s.State.Reason)
				}
			}
		}
		if draining+f.stalled() != 1 {
			t.Errorf("%d are asked to finish, %d have", draining, f.stalled())
		}
		for i := range 6 {
			time.Sleep(5 * time.Minute)
			if n := f.stalled(); n < i+1 || n > i+2 {
				t.Errorf("%d restarts after %d minutes", n, 5*i+10)
			}
			if live, _ := f.k.count(); live != 3 {
				t.Errorf("%d instances are up", live)
			}
		}
	})
}

// TestNotDeaf: what works, speaks, or cannot work is left alone.
func TestNotDeaf(t *testing.T) {
	for name, tt := range map[string]struct {
		cpu    time.Duration
		logs   string
		minute func(f *fleet, b *broker) // done every minute
	}{
		"uses the processor": {cpu: 20 * time.Millisecond},
		"messages go":        {minute: func(_ *fleet, b *broker) { b.ready.Add(-1) }},
		"nothing waits":      {minute: func(_ *fleet, b *broker) { b.ready.Store(0) }},
		"outages":            {minute: func(_ *fleet, b *broker) { b.down.Store(true); time.Sleep(2 * time.Second); b.down.Store(false) }},
		"output": {logs: "file", minute: func(f *fleet, _ *broker) {
			for n := range 3 {
				path := filepath.Join(f.dir, fileName("a", n)+".log")
				if err := os.WriteFile(path, []byte("still here\n"), 0o600); err != nil {
					f.t.Error(err)
				}
				if err := os.Chtimes(path, time.Now(), time.Now()); err != nil {
					f.t.Error(err)
				}
			}
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &broker{}
			f, c := deafFleet(t, b, 3, tt.cpu)
			defer f.end()
			if tt.logs != "" {
				changed := *c
				changed.Logs.To = tt.logs
				f.r.Apply(onBroker(f, b, &changed))
			}
			time.Sleep(time.Second)
			before := f.k.pids()
			if len(before) != 3 {
				t.Fatalf("%d instances are up", len(before))
			}
			for range 60 {
				if tt.minute != nil {
					tt.minute(f, b)
				}
				time.Sleep(time.Minute)
			}
			if n := f.stalled(); n > 0 {
				t.Errorf("%s: %d restarts in an hour", name, n)
			}
			for slot, pid := range f.k.pids() {
				if before[slot] != pid {
					t.Errorf("%s: %s is another process", name, slot)
				}
			}
			if tt.logs == "" {
				return
			}
			time.Sleep(7 * time.Minute) // it falls silent
			if n := f.stalled(); n != 1 {
				t.Errorf("%s: %d restarts after it ended", name, n)
			}
		})
	}
}

// TestDeafAfterAnOutage: what hangs on a dead connection is restarted a whole `stall` after the broker is back.
func TestDeafAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{}
		f, _ := deafFleet(t, b, 1, 0)
		defer f.end()
		time.Sleep(4 * time.Minute)
		b.down.Store(true)
		time.Sleep(time.Hour)
		if n := f.stalled(); n != 0 {
			t.Fatalf("%d restarts during the outage", n)
		}
		b.down.Store(false)
		time.Sleep(4*time.Minute + 55*time.Second)
		if n := f.stalled(); n != 0 {
			t.Errorf("%d restarts before a whole stall had passed", n)
		}
		time.Sleep(15 * time.Second)
		if n := f.stalled(); n != 1 {
			t.Errorf("%d restarts", n)
		}
		f.wantLive(1)
	})
}
