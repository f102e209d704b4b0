package runner

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/health"
)

// serving counts the processes that nobody has asked to end.
func (k *fakeKeeper) serving() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.live {
		if c.stopping == "" {
			n++
		}
	}
	return n
}

// surging restarts with extra instances, and returns the least and the most that
// served meanwhile.
func (f *fleet) surging(extra int, limit time.Duration, names ...string) (reply Reply, least, most int) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), limit)
	defer cancel()
	done := make(chan Reply)
	go func() {
		reply, err := f.r.Do(ctx, Command{Verb: "restart", Names: names, By: "ann", Wait: true, Rolls: true, Surge: func(int) int { return extra }})
		if err != nil {
			f.t.Error(err)
		}
		done <- reply
	}()
	least = f.k.serving()
	for {
		select {
		case reply := <-done:
			return reply, least, most
		case <-time.After(50 * time.Millisecond):
			n := f.k.serving()
			least, most = min(least, n), max(most, n)
		}
	}
}

// TestSurge: never fewer than before serve while all are replaced, no more than
// were asked for are extra, and none of those is left.
func TestSurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 4))
		defer f.end()
		f.wantLive(4)
		reply, least, most := f.surging(2, time.Hour, "a")
		if least != 4 || most != 6 || reply.TimedOut || len(reply.Failed) > 0 {
			t.Errorf("from %d to %d served: %+v", least, most, reply)
		}
		time.Sleep(10 * time.Second)
		live, starts := f.k.count()
		if s := f.snapshot("a"); live != 4 || starts != 4+2+4 || s.Max != 4 || s.Result.Target != 4 {
			t.Errorf("%d live after %d starts, %d slots", live, starts, s.Max)
		}
		for _, u := range f.snapshot("a").Slots {
			if u.State.Run != 2 {
				t.Errorf("slot %d has run %d", u.Slot, u.State.Run)
			}
		}
	})
}

// TestSurgeBeginsWithACanary: one extra instance that crashes is all there is of
// bad code, and nobody else has been touched.
func TestSurgeBeginsWithACanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 4))
		defer f.end()
		f.wantLive(4)
		f.k.crashing(10 * time.Millisecond)
		reply, least, most := f.surging(3, time.Minute, "a")
		if reply.TimedOut || least != 4 || most > 5 || len(reply.Failed) != 1 || !strings.Contains(reply.Failed[0], "slot 4 does not live") || !strings.Contains(reply.Failed[0], "4 go on as they were") {
			t.Errorf("from %d to %d served: %+v", least, most, reply)
		}
		time.Sleep(time.Minute)
		live, starts := f.k.count()
		if s := f.snapshot("a"); live != 4 || starts != 4+1 || s.Max != 4 || !s.Summary.Healthy {
			t.Errorf("%d live after %d starts, %d slots, %+v", live, starts, s.Max, s.Summary)
		}
	})
}

// TestRollingRestartIsGivenUp: without surge it is one instance of all that is lost
// to bad code, and somebody is told.
func TestRollingRestartIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 8))
		defer f.end()
		f.wantLive(8)
		f.k.crashing(10 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		reply, err := f.r.Do(ctx, Command{Verb: "restart", Names: []string{"a"}, By: "ann", Wait: true, Rolls: true, Batch: func(int) int { return 4 }})
		if err != nil || reply.TimedOut || len(reply.Failed) != 1 || !strings.Contains(reply.Failed[0], "7 go on as they were") {
			t.Errorf("%+v, %v", reply, err)
		}
		if n := f.k.serving(); n < 7 {
			t.Errorf("%d of 8 serve", n)
		}
	})
}

// TestSurgeWaits: where the budget has no place for one more, nobody is stopped; and
// what an engine that died has left of a surge goes away.
func TestSurgeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.cfg = f.config(conf("a", 4))
		f.cfg.Daemon.Budget.Processes = 4
		f.r.Apply(f.cfg)
		time.Sleep(3 * time.Second)
		f.wantLive(4)
		if reply, least, most := f.surging(1, time.Minute, "a"); !reply.TimedOut || least != 4 || most != 4 {
			t.Errorf("under a full budget from %d to %d served: %+v", least, most, reply)
		}
		f.cfg = f.config(conf("a", 4))
		f.r.Apply(f.cfg)
		time.Sleep(500 * time.Millisecond)
		if n := f.k.serving(); n != 5 {
			t.Fatalf("%d serve when there is room", n)
		}
		f.crash()
		f.boot()
		time.Sleep(time.Minute)
		f.wantLive(4)
		if s := f.snapshot("a"); s.Max != 4 {
			t.Errorf("%d slots", s.Max)
		}
	})
}

// TestSurgeOfNothing: what is not wanted is not doubled, and what runs without being
// wanted is not waited for.
func TestSurgeOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 4))
		defer f.end()
		f.do("stop", "a")
		time.Sleep(10 * time.Second)
		if reply, _, most := f.surging(1, time.Minute, "a"); reply.TimedOut || most != 0 {
			t.Errorf("%d served: %+v", most, reply)
		}
	})
}

// TestSurgeIsRefused where a second copy may do harm, before anything is done.
func TestSurgeIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, own := conf("one", 1), conf("own", 3)
		own.ForeignLock = &config.ForeignLock{Question: health.Question{Lock: "x"}, Command: []string{"true"}}
		f := newFleet(t, conf("a", 4), one, own)
		defer f.end()
		time.Sleep(time.Minute)
		before, starts := f.k.count()
		_, err := f.r.Do(t.Context(), Command{Verb: "restart", By: "ann", Rolls: true, Surge: func(int) int { return 1 }})
		if err == nil || !strings.Contains(err.Error(), "one: one instance is all it may have") || !strings.Contains(err.Error(), "own: its application has a lock") || strings.Contains(err.Error(), "a:") {
			t.Errorf("%v", err)
		}
		time.Sleep(time.Minute)
		if live, more := f.k.count(); live != before || more != starts {
			t.Errorf("%d live after %d starts", live, more)
		}
	})
}
