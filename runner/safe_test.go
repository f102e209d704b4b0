package runner

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/health"
	"qsuper/keeper"
)

// jobs is a connection to a queue whose consumers are the fake keeper's: what
// they hold follows from how long they have lived and not stood still.
type jobs struct{ of *jobState }

type jobState struct {
	mu   sync.Mutex
	held func() int64
	err  error
}

func (j jobs) Open() (health.Conn, error) { return j, nil }
func (j jobs) Ping(context.Context) error { return nil }
func (j jobs) Close() error               { return nil }
func (j jobs) Measure(_ context.Context, queues []health.Queue) ([]health.Reading, error) {
	time.Sleep(time.Millisecond)
	j.of.mu.Lock()
	defer j.of.mu.Unlock()
	r := health.Reading{State: health.OK, Ready: 5, InFlight: j.of.held(), Delayed: health.NotKnown, Oldest: health.NotKnown, Consumers: health.NotKnown}
	if j.of.err != nil {
		r = health.Reading{State: health.Unknown, Err: j.of.err.Error()}
	}
	return []health.Reading{r}, nil
}

// busy is a fleet of n that works without pause: a message takes a second, and
// a tenth of a second passes between two.
func busy(t *testing.T, n int) (*fleet, *jobState) {
	f := newFleet(t)
	st := &jobState{}
	began := time.Now()
	st.held = func() int64 {
		if time.Since(began)%(1100*time.Millisecond) < time.Second {
			return int64(n)
		}
		return 0
	}
	c := conf("a", n)
	c.Queue = &config.Queue{Connection: "db", Queue: health.Queue{Name: "a"}}
	c.Stop.WaitFor = config.WaitIdle
	cfg := f.config(c)
	cfg.Connections = []*config.Connection{{Name: "db", Type: "z", Timeout: time.Second, Spec: jobs{st}}}
	f.cfg = cfg
	f.r.Apply(cfg)
	time.Sleep(5 * time.Second)
	f.wantLive(n)
	return f, st
}

// TestStopAtASafePoint: nobody is signalled; all end while nothing is in progress.
func TestStopAtASafePoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, st := busy(t, 3)
		defer f.end()
		var atEnd []int64
		f.k.set(func() { f.k.onIdle = func() { atEnd = append(atEnd, st.held()) } })
		reply := f.do("stop", "a")
		f.wantLive(0)
		if len(atEnd) != 3 || f.k.signals != 0 || reply.Killed != 0 {
			t.Errorf("ended idle: %v, signals %d, %+v", atEnd, f.k.signals, reply)
		}
		for _, n := range atEnd {
			if n != 0 {
				t.Errorf("ended while %d messages were in progress", n)
			}
		}
		for _, o := range reply.Outcomes {
			if o.Exit == nil || o.Exit.Step != "idle" || o.Exit.Class != "stopped" {
				t.Errorf("%+v", o.Exit)
			}
		}
	})
}

// TestSafePointNotSeen: an unknown queue is not an idle one: the keeper's grace
// ends it, and everybody else has gone on.
func TestSafePointNotSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, st := busy(t, 2)
		defer f.end()
		st.mu.Lock()
		st.err = errSomething
		st.mu.Unlock()
		go f.do("stop", "a/0")
		time.Sleep(14 * time.Second)
		f.wantLive(2)
		f.k.set(func() {
			for slot, c := range f.k.live {
				if c.frozen {
					t.Errorf("%s stands still", slot)
				}
			}
		})
		st.mu.Lock()
		st.err = nil
		st.mu.Unlock()
		time.Sleep(15 * time.Second) // messages without names: a moment when nobody has any
		f.wantLive(1)
		if f.k.signals != 0 {
			t.Errorf("%d signals", f.k.signals)
		}
	})
}

// TestSafePointOverEngines: an engine that dies while it looks is followed by one
// that goes on looking.
func TestSafePointOverEngines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, st := busy(t, 2)
		defer f.end()
		st.mu.Lock()
		held := st.held
		st.held = func() int64 { return 1 }
		st.mu.Unlock()
		go f.r.Do(t.Context(), Command{Verb: "stop", Names: []string{"a"}, By: "ann"})
		time.Sleep(5 * time.Second)
		f.crash()
		f.k.set(func() {
			for _, c := range f.k.live {
				c.frozen = false // the keeper sees to that
			}
		})
		f.boot()
		st.mu.Lock()
		st.held = held
		st.mu.Unlock()
		time.Sleep(10 * time.Second)
		f.wantLive(0)
		if f.k.signals != 0 {
			t.Errorf("%d signals", f.k.signals)
		}
	})
}

// TestSafePointTakenAway: a reload leaves nothing to look at, in the middle of a
// look: what waits is signalled after all.
func TestSafePointTakenAway(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 40 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			f, st := busy(t, 2)
			defer f.end()
			st.mu.Lock()
			st.held = func() int64 { return 1 }
			if after == 40*time.Millisecond {
				st.held = func() int64 { return 0 } // it is about to ask again
			}
			st.mu.Unlock()
			go f.r.Do(t.Context(), Command{Verb: "stop", Names: []string{"a"}, By: "ann"})
			time.Sleep(after)
			f.r.Apply(f.config(conf("a", 2))) // no queue any more
			time.Sleep(5 * time.Second)
			f.wantLive(0)
			if f.k.signals != 2 {
				t.Errorf("after %v: %d signals", after, f.k.signals)
			}
		})
	}
}

var errSomething = keeper.ErrGone
