package keeper

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// size is how much a slot has printed.
func (r *rig) size(slot string) int64 {
	st, err := os.Stat(r.logPath(slot))
	if err != nil {
		return 0
	}
	return st.Size()
}

// frozen asks for a run to stand still until it does, and returns the answer. On a busy
// machine that may take longer than the keeper tries.
func (l *link) frozen(slot string, run uint64) (f Frozen) {
	l.t.Helper()
	eventually(l.t, slot+" stands still", func() bool {
		l.ask(l.Freeze(FreezeRequest{Slot: slot, Run: run, On: true}))
		f = get[Frozen](l)
		return f.Err == ""
	})
	return f
}

// A run that is held is not signalled; it stands still when it is to, goes on
// when it is to, and is ended as it stands. With cgroups and without.
func TestSafePoint(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, way.env)
			l, _ := r.connect()
			const talk = "trap 'echo term' TERM; (setsid sh -c 'while :; do echo child; sleep 0.01; done' &) ; while :; do echo on; sleep 0.01; done"
			l.start(slot0, 1, r.spec(slot0, talk))
			r.says(slot0, "child")
			l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: Stop{Signal: int(syscall.SIGTERM), Grace: time.Hour, Hold: true}}))
			for range 3 {
				if f := l.frozen(slot0, 1); len(f.PIDs) < 2 {
					t.Fatalf("%+v", f)
				}
				before := r.size(slot0)
				l.list() // what was in the pipe is written by the pump, soon
				eventually(t, "it is quiet", func() bool { now := r.size(slot0); same := now == before; before = now; return same })
				l.ask(l.Freeze(FreezeRequest{Slot: slot0, Run: 1}))
				eventually(t, "it goes on", func() bool { return r.size(slot0) > before })
			}
			l.frozen(slot0, 1)
			l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Idle: true}))
			if e := get[Exited](l); e.Step != StepIdle || e.Signal != int(syscall.SIGKILL) {
				t.Errorf("%+v", e)
			}
			if b, _ := os.ReadFile(r.logPath(slot0)); strings.Contains(string(b), "term") {
				t.Error("it was signalled though it was held")
			}
			l.start(slot0, 2, r.spec(slot0, "echo second; exec sleep 1000")) // and does not stand still
			r.says(slot0, "second")
		})
	}
}

// A stop that was held and is no longer gets its signal, from a process that
// stands still, too, and keeps its grace.
func TestHeldStopIsSignalledAfterAll(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.start(slot0, 1, r.consumer(slot0, "on-term", "1ms", "6"))
	r.says(slot0, "ready")
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: Stop{Signal: int(syscall.SIGTERM), Grace: time.Minute, Hold: true}}))
	l.frozen(slot0, 1)
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: Stop{Signal: int(syscall.SIGTERM), Grace: time.Hour}}))
	if e := get[Exited](l); e.Step != StepSignal || e.Code != 6 {
		t.Errorf("%+v", e)
	}
}

// The engine that wanted it to stand still is gone, and so is the keeper: it
// goes on. And the grace of a stop that is held is no longer than another's.
func TestNobodyIsLeftFrozen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	st := l.start(slot0, 1, r.spec(slot0, "trap '' TERM; while :; do echo on; sleep 0.01; done"))
	nobodys(t, st.PID)
	r.says(slot0, "on")
	l.frozen(slot0, 1)
	l.kill()
	l, _ = r.connect()
	before := r.size(slot0)
	eventually(t, "it goes on without the engine", func() bool { return r.size(slot0) > before })
	l.frozen(slot0, 1)
	r.die(l)
	r.startKeeper()
	l, _ = r.connect()
	l.ask(l.Adopt(AdoptRequest{Slot: slot0, Run: 1, Spec: r.spec(slot0, "")}))
	before = r.size(slot0)
	eventually(t, "it goes on without the keeper", func() bool { return r.size(slot0) > before })
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: Stop{Grace: 300 * time.Millisecond, Hold: true}}))
	if e := get[Exited](l); e.Step != StepKill || !e.Held {
		t.Errorf("%+v", e)
	}
	// Who kills it at once has not waited.
	l.start(slot0, 2, r.spec(slot0, "exec sleep 1000"))
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 2, Stop: Stop{Grace: time.Hour, Hold: true}}))
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 2, Now: true}))
	if e := get[Exited](l); e.Step != StepKill || e.Held {
		t.Errorf("%+v", e)
	}
}

// Who was said to stand still and hold nothing, and has gone on since, is not ended for
// that: the engine is told, and looks again.
func TestWhoHasGoneOnIsNotIdle(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.start(slot0, 1, r.spec(slot0, "echo up; exec sleep 1000"))
	r.says(slot0, "up")
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: Stop{Grace: time.Hour, Hold: true}}))
	l.frozen(slot0, 1)
	l.ask(l.Freeze(FreezeRequest{Slot: slot0, Run: 1}))
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Idle: true}))
	if f := get[Frozen](l); f.Err == "" {
		t.Errorf("%+v", f)
	}
	l.frozen(slot0, 1)
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Idle: true}))
	if e := get[Exited](l); e.Step != StepIdle {
		t.Errorf("%+v", e)
	}
}

// An upgrade in the middle of a look: what stood still goes on, its stop is still held,
// and the next engine finds a safe point as before.
func TestWhatStandsStillGoesOnAfterAnUpgrade(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, way.env)
			l, _ := r.connect()
			l.start(slot0, 1, r.spec(slot0, "trap 'echo term' TERM; while :; do echo on; sleep 0.01; done"))
			r.says(slot0, "on")
			l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: Stop{Signal: int(syscall.SIGTERM), Grace: time.Hour, Hold: true}}))
			l.frozen(slot0, 1)
			l, slots := r.upgrade(l)
			if s := slots[slot0]; s.Stopping == "" || s.Exit != nil {
				t.Fatalf("%+v", s)
			}
			before := r.size(slot0)
			eventually(t, "it goes on", func() bool { return r.size(slot0) > before })
			l.frozen(slot0, 1)
			l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Idle: true}))
			if e := get[Exited](l); e.Step != StepIdle {
				t.Errorf("%+v", e)
			}
			if b, _ := os.ReadFile(r.logPath(slot0)); strings.Contains(string(b), "term") {
				t.Error("it was signalled though it was held")
			}
		})
	}
}
