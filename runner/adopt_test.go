package runner

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/slot"
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

// TestStopOverEngines: an engine that was not there when a process was asked to end knows why it
// was, whether it has ended meanwhile or not, and in which way.
func TestStopOverEngines(t *testing.T) {
	for _, late := range []bool{false, true} { // the exit comes while no engine is there, or to the next one
		for _, w := range []struct {
			name, step string
			ask        func(f *fleet)
			class      slot.Class
		}{
			{"recycle", "signal", func(f *fleet) { f.command(Command{Verb: "stop-workers", Names: []string{"a"}, By: "ann"}) }, slot.ClassRecycled},
			{"stop", "signal", func(f *fleet) { f.command(Command{Verb: "stop", Names: []string{"a"}, By: "ann"}) }, slot.ClassStopped},
			{"idle", "idle", func(f *fleet) { f.command(Command{Verb: "stop-workers", Names: []string{"a"}, By: "ann"}) }, slot.ClassRecycled},
			{"limit", "signal", func(*fleet) { time.Sleep(time.Hour) }, slot.ClassRecycled},
		} {
			t.Run(fmt.Sprint(w.name, late), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := conf("a", 1)
					c.TimeLimit = 30 * time.Minute
					f := newFleet(t, c)
					defer f.end()
					time.Sleep(time.Minute)
					f.k.set(func() { f.k.stopsIn = 2 * time.Hour })
					w.ask(f)
					time.Sleep(time.Second)
					f.crash()
					end := func() {
						var child *fakeChild
						f.k.set(func() { child = f.k.live["a/0"] })
						f.k.exit("a/0", child, 0, w.step)
					}
					if !late {
						end()
					}
					f.boot()
					time.Sleep(time.Second)
					if late {
						end()
						time.Sleep(time.Second)
					}
					s := f.snapshot("a").Slots[0]
					if last := s.Exits[len(s.Exits)-1]; last.Class != w.class || last.Step != w.step {
						t.Errorf("%+v", last)
					}
				})
			})
		}
	}
}
