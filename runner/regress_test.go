package runner

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/health"
	"qsuper/keeper"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// upSpec is a connection that always answers.
type upSpec struct{ N int }
type upConn struct{}

func (upSpec) Open() (health.Conn, error) { return upConn{}, nil }
func (upConn) Ping(context.Context) error { return nil }
func (upConn) Close() error               { time.Sleep(time.Millisecond); return nil }

// onDB is a configuration with one connection.
func onDB(f *fleet, cs ...*config.Consumer) *config.Config {
	c := f.config(cs...)
	c.Connections = []*config.Connection{{Name: "db", Type: "z", Timeout: time.Second, Spec: upSpec{1}}}
	return c
}

// TestReloadKeepsWhatIsKnown: a reload must not make a connection that answers look unknown, and
// leave those who wait for it waiting.
func TestReloadKeepsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		mk := func() *config.Consumer { c := conf("a", 2); c.Requires = []string{"db"}; return c }
		f.r.Apply(onDB(f, mk()))
		time.Sleep(time.Second)
		f.wantLive(2)
		f.k.set(func() { f.k.behave = func(string, uint64) (time.Duration, int) { return 10 * time.Minute, 0 } })
		f.do("restart", "a")
		time.Sleep(time.Second)
		f.wantLive(2)
		f.r.Apply(onDB(f, mk())) // nothing changed
		time.Sleep(time.Hour)
		f.wantLive(2)
		t.Logf("want %v", f.snapshot("a").Slots[0].State.Wish)
		time.Sleep(time.Second)
		f.wantLive(2)
	})
}

// TestOnePassStartsOnce: --once: what ends is not started again, and then the daemon ends.
func TestOnePassStartsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 1))
		defer f.end()
		f.end()
		f.k = newFakeKeeper(t)
		f.k.behave = func(string, uint64) (time.Duration, int) { return 10 * time.Minute, 0 }
		r, _ := New(Options{Config: f.cfg, Keeper: f.k, Started: keeperStart, Log: quiet(), Once: true})
		f.k.hand = r.Handle
		ctx, cancel := context.WithCancel(t.Context())
		f.cancel, f.done, f.r = cancel, make(chan struct{}), r
		go func() { defer close(f.done); r.Run(ctx) }()
		time.Sleep(35 * time.Minute)
		_, starts := f.k.count()
		if starts != 1 {
			t.Errorf("once: %d starts", starts)
		}
		select {
		case <-r.Finished():
		default:
			t.Error("nothing runs, and it goes on")
		}
	})
}

// TestStopThatEndedUnseen: what was recycled while no engine was there has not crashed.
func TestStopThatEndedUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, conf("a", 1))
		defer f.end()
		f.wantLive(1)
		go f.r.Do(t.Context(), Command{Verb: "restart", Names: []string{"a"}, By: "x"})
		synctest.Wait()
		f.crash()
		time.Sleep(2 * time.Second)
		f.k.set(func() { e := f.k.held["a/0"]; t.Logf("%+v", e); e.Code, e.Signal = -1, 15; f.k.held["a/0"] = e })
		f.boot()
		s := f.snapshot("a").Slots[0].State
		if s.Last.Class != "recycled" {
			t.Errorf("class %s step %s failures %d reason %v", s.Last.Class, s.Last.Step, s.Failures, s.Reason)
		}
	})
}

// TestTurnsDoNotPileUp: turns kept through a stop would all be valid at once after it.
func TestTurnsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		c := f.config(conf("a", 300))
		c.Daemon.StartRate = 10
		f.r.Apply(c)
		time.Sleep(time.Second)
		f.do("stop", "a")
		f.wantLive(0)
		time.Sleep(time.Minute)
		_, b := f.k.count()
		f.command(Command{Verb: "start", Names: []string{"a"}, By: "x"})
		synctest.Wait()
		_, n := f.k.count()
		if n-b > 11 {
			t.Errorf("%d starts in one instant at start_rate 10", n-b)
		}
	})
}

// TestAbandonedTurnsHoldUpNobody: a long line that goes away must not be waited for.
func TestAbandonedTurnsHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		z := conf("z", 1)
		z.Autostart = false
		c := f.config(conf("a", 3000), z)
		c.Daemon.StartRate = 10
		f.r.Apply(c)
		time.Sleep(time.Second)
		f.do("stop", "a")
		began := time.Now()
		for time.Since(began) < time.Hour {
			f.command(Command{Verb: "start", Names: []string{"z"}, By: "x"})
			time.Sleep(time.Second)
			if n, _ := f.k.count(); n == 1 {
				break
			}
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("z waited %s though nobody else starts", d)
		}
	})
}

// TestRollingUnderAFullBudget: a slot that a full budget holds back is away all the same.
func TestRollingUnderAFullBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		c := f.config(conf("a", 8))
		c.Daemon.Budget.Processes = 8
		f.r.Apply(c)
		time.Sleep(3 * time.Second)
		f.wantLive(8)
		f.command(Command{Verb: "restart", Names: []string{"a"}, Batch: func(int) int { return 1 }, By: "x"})
		synctest.Wait()
		f.k.mu.Lock()
		n := 0
		for _, c := range f.k.live {
			if c.stopping != "" {
				n++
			}
		}
		f.k.mu.Unlock()
		if n > 1 {
			t.Errorf("%d of 8 drained at once with max-unavailable 1", n)
		}
	})
}

type failing struct{ *fakeKeeper }

func (failing) Start(keeper.StartRequest) error { return errors.New("frame too long") }

// TestStartThatCannotBeSent: a request that is too long must not leave a slot waiting for its answer.
func TestStartThatCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.r.keeper = failing{f.k}
		f.r.Apply(f.config(conf("a", 1)))
		time.Sleep(time.Hour)
		t.Logf("phase %v", f.snapshot("a").Slots[0].State.Phase)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if r := f.r.Shutdown(ctx, true); r.TimedOut {
			t.Error("shutdown --now hangs")
		}
	})
}

// TestReloadBeforeTheEngineHasBegun: SIGHUP may come as soon as the engine has
// said hello.
func TestReloadBeforeTheEngineHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{t: t, k: newFakeKeeper(t), dir: t.TempDir()}
		f.cfg = f.config()
		r, err := New(Options{Config: f.cfg, Keeper: f.k, Started: keeperStart, Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		f.k.hand = r.Handle
		applied := make(chan bool, 1)
		go func() { applied <- r.Apply(onDB(f)) }()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		if !<-applied {
			t.Error("not applied")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

type mute struct{ *fakeKeeper }

func (mute) List() error { return nil }

// TestAskedWhileNobodyAnswers: the keeper dies before it has listed anything.
func TestAskedWhileNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{t: t, k: newFakeKeeper(t), dir: t.TempDir()}
		f.cfg = f.config(conf("a", 1))
		r, err := New(Options{Config: f.cfg, Keeper: mute{f.k}, Started: keeperStart, Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{}, 2)
		go func() { _ = r.Run(ctx); done <- struct{}{} }()
		go func() { _, _ = r.Snapshots(nil, Detail{}); done <- struct{}{} }()
		synctest.Wait()
		cancel()
		<-done
		<-done // synctest reports the one that hangs
	})
}
