package runner

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestKeeperDies: the engine of the next keeper goes on with what runs, replaces
// what another file has made, and stops what nobody wants any more.
func TestKeeperDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.cfg = f.config(conf("a", 4), conf("b", 4), conf("c", 2))
		f.r.Apply(f.cfg)
		time.Sleep(10 * time.Second)
		f.wantLive(10)
		before := f.k.pids()
		f.crash()
		f.k.perish()
		changed := conf("b", 4)
		changed.Command = []string{"/bin/true", "new"}
		f.cfg = f.config(conf("a", 4), changed) // c is no longer in the file
		for _, c := range f.cfg.Consumers {
			c.TimeLimit = time.Hour
		}
		f.boot()
		f.k.set(func() {
			for slot, c := range f.k.live {
				if c.adopted && !c.known && slot[0] != 'c' {
					t.Errorf("%s: nobody has said what it is", slot)
				}
			}
		})
		time.Sleep(10 * time.Minute)
		f.wantLive(8)
		now := f.k.pids()
		for slot, pid := range before {
			if same := now[slot] == pid; same != (slot[0] == 'a') {
				t.Errorf("%s: pid %d, now %d", slot, pid, now[slot])
			}
		}
		s := f.snapshot("a").Slots[0].State
		if !s.Adopted || s.Run != 1 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Hour) // time_limit counts from their own start
		if now := f.k.pids(); now["a/0"] == before["a/0"] {
			t.Error("time_limit does not end an adopted process")
		}
	})
}
