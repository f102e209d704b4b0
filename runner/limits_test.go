package runner

import (
	"testing"
	"testing/synctest"
	"time"

	"qsuper/slot"
)

// TestLimitsMissed: limits that the host cannot keep are told of once, and stay to be
// seen; they keep nobody from running.
func TestLimitsMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.k.missed = "memory_max: no such controller"
		f.cfg = f.config(conf("a", 3))
		f.r.Apply(f.cfg)
		time.Sleep(5 * time.Second)
		f.wantLive(3)
		f.do("restart", "a")
		time.Sleep(5 * time.Second)
		f.wantLive(3)
		told := 0
		list, _ := f.r.journal.since(0)
		for _, e := range list {
			if e.Reason.Code == slot.LimitsMissed {
				told++
			}
		}
		if s := f.snapshot("a"); told != 1 || s.Missed != f.k.missed {
			t.Errorf("told %d times, shown %q", told, s.Missed)
		}
		f.k.set(func() { f.k.missed = "" })
		f.do("restart", "a")
		time.Sleep(5 * time.Second)
		if s := f.snapshot("a"); s.Missed != "" {
			t.Errorf("they hold, and it says %q", s.Missed)
		}
	})
}
