package keeper

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"qsuper/proc"
)

// leased starts a misbehaving consumer under a lease that is good for so long.
func leased(t *testing.T, lasts, fence time.Duration, args ...string) (*rig, *link, Started, time.Duration) {
	t.Helper()
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	until := (proc.Boottime() + lasts).Truncate(time.Millisecond) // as the record has it
	l.ask(l.Start(StartRequest{Slot: slot0, Run: 1, Spec: r.consumer(slot0, args...), Lease: &Lease{Token: 7, Until: until, Fence: fence}}))
	st := get[Started](l)
	r.says(slot0, "ready")
	return r, l, st, until
}

// standstill measures, until the test is over, for how long this machine has at most
// kept somebody waiting who had something to do: a keeper may be late by as much.
func standstill(t *testing.T) (worst func() time.Duration) {
	const step = 10 * time.Millisecond
	var most atomic.Int64
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	go func() {
		tick := time.NewTicker(step)
		defer tick.Stop()
		for last := proc.Boottime(); ; {
			select {
			case <-over:
				return
			case <-tick.C:
				now := proc.Boottime()
				most.Store(max(most.Load(), int64(now-last-step)))
				last = now
			}
		}
	}()
	return func() time.Duration { return time.Duration(most.Load()) }
}

// gone waits until a process under a lease is dead, and returns how long before the
// end of the lease that was, as a machine that never stands still would see it.
func gone(t *testing.T, pid int, until time.Duration) (left time.Duration) {
	t.Helper()
	worst := standstill(t)
	eventually(t, "the process is gone", func() bool { return !alive(pid) })
	left = until - proc.Boottime()
	if late := worst(); left <= 0 && left+2*late > 0 { // the keeper first, and then the one that dies
		t.Logf("gone %s after the lease, on a machine that stood still for %s", -left, late)
		return 1
	}
	return left
}

// Nobody extends the lease: the process is asked to end in good time.
func TestALeaseThatRunsOutEndsTheProcess(t *testing.T) {
	_, l, _, until := leased(t, 8*time.Second, 4*time.Second, "on-term", "100ms", "4")
	s := get[Stopping](l)
	if left := until - proc.Boottime(); s.Step != StepSignal || !s.Fenced || left < 3*time.Second || left > 6*time.Second {
		t.Errorf("%+v with %s left", s, left)
	}
	if e := get[Exited](l); !e.Fenced || e.Code != 4 || e.Step != StepSignal {
		t.Errorf("%+v", e)
	}
}

// It does so without an engine, and kills what does not listen before the lease
// is over.
func TestTheKeeperFencesAlone(t *testing.T) {
	r, l, st, until := leased(t, 6*time.Second, time.Second, "ignore-term")
	l.kill()
	if left := gone(t, st.PID, until); left <= 0 || left > fenceKill {
		t.Errorf("it was killed with %s left", left)
	}
	_, slots := r.connect()
	if e := slots[slot0].Exit; e == nil || !e.Fenced || e.Signal != int(syscall.SIGKILL) {
		t.Errorf("%+v", slots[slot0])
	}
}

func TestALeaseThatIsExtended(t *testing.T) {
	_, l, _, until := leased(t, 5*time.Second, time.Second, "ignore-term")
	late := standstill(t)
	extend := func(token uint64, by time.Duration) {
		l.ask(l.Extend(ExtendRequest{Until: until + by, Tokens: map[string]uint64{slot0: token, "other/0": 7}}))
	}
	extend(7, 4*time.Second)
	extend(6, time.Hour)      // of another grant
	extend(7, -3*time.Second) // late
	if got := l.list()[slot0].Lease; got == nil || got.Until != until+4*time.Second || got.Token != 7 {
		t.Fatalf("%+v", got)
	}
	if s := get[Stopping](l); s.Step != StepSignal {
		t.Errorf("%+v", s)
	}
	if now := proc.Boottime(); now < until {
		t.Errorf("it is ended %s too early", until-now)
	}
	extend(7, time.Hour) // there is no way back
	if e := get[Exited](l); !e.Fenced || proc.Boottime() > until+4*time.Second+2*late() {
		t.Errorf("%+v", e)
	}
}

func TestNothingStartsUnderALeaseThatIsOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	for i, left := range []time.Duration{-time.Hour, 0, 6 * time.Second} { // the fence is 5 s, and 2 s to kill
		l.ask(l.Start(StartRequest{
			Slot: slot0, Run: uint64(i + 1), Spec: r.consumer(slot0),
			Lease: &Lease{Token: 7, Until: proc.Boottime() + left, Fence: 5 * time.Second},
		}))
		if f := get[StartFailed](l); f.Kind != KindLease {
			t.Errorf("%+v", f)
		}
	}
	// A standing order neither: the successor would be ended at once.
	until := proc.Boottime() + 7*time.Second
	l.ask(l.Start(StartRequest{
		Slot: slot0, Run: 4, Spec: r.spec(slot0, "sleep 2; exit 0"), Again: &Again{Codes: []int{0}},
		Lease: &Lease{Token: 7, Until: until, Fence: 4 * time.Second},
	}))
	if e := get[Exited](l); e.Next != 0 {
		t.Errorf("%+v", e)
	}
}

// A keeper that follows one that was killed goes by the same moment.
func TestTheNextKeeperFences(t *testing.T) {
	r, l, st, until := leased(t, 5*time.Second, time.Second, "ignore-term")
	nobodys(t, st.PID)
	until += 5 * time.Second
	l.ask(l.Extend(ExtendRequest{Until: until, Tokens: map[string]uint64{slot0: 7}}))
	l.list()
	r.die(l)
	r.startKeeper()
	l, slots := r.connect()
	if got := slots[slot0].Lease; got == nil || *got != (Lease{Token: 7, Until: until, Fence: time.Second}) {
		t.Fatalf("%+v", got)
	}
	if left := gone(t, st.PID, until); left <= 0 || left > 4*time.Second {
		t.Errorf("it was killed %s before the end of the lease", left)
	}
	if e := get[Exited](l); !e.Fenced {
		t.Errorf("%+v", e)
	}
	if !strings.Contains(r.stderr(), "lease runs out") {
		t.Error("the log does not say why")
	}
}

func TestALeaseIsHandedOver(t *testing.T) {
	r, l, st, until := leased(t, 12*time.Second, time.Second, "ignore-term")
	_, slots := r.upgrade(l)
	if got := slots[slot0]; got.PID != st.PID || got.Lease == nil || *got.Lease != (Lease{Token: 7, Until: until, Fence: time.Second}) {
		t.Fatalf("%+v", got)
	}
	if left := gone(t, st.PID, until); left <= 0 || left > 4*time.Second {
		t.Errorf("it was killed %s before the end of the lease", left)
	}
}

// still stops the keeper from until some time before the end of the lease; do is what
// the engine does meanwhile.
func (r *rig) still(until time.Duration, do func()) {
	r.t.Helper()
	r.signal(syscall.SIGSTOP)
	do()
	for d := until - proc.Boottime(); d > 0; d = until - proc.Boottime() {
		<-time.After(d)
	}
	r.signal(syscall.SIGCONT)
}

// lives checks that a process is not asked to end before now + d.
func (l *link) lives(r *rig, d time.Duration) {
	r.t.Helper()
	end := time.After(d)
	for {
		select {
		case e := <-l.events:
			switch e.(type) {
			case Stopping, Exited:
				r.t.Fatalf("it is ended: %+v", e)
			}
		case <-end:
			return
		}
	}
}

// A keeper that was stopped while the lease was renewed ends nothing: it hears of
// that before it looks at the time, also when its lease would be over by now.
func TestAKeeperThatWasStopped(t *testing.T) {
	t.Parallel()
	for name, stand := range map[string]time.Duration{"when it should ask": -3 * time.Second, "when it should kill": -time.Second, "for longer than the lease": 2 * time.Second} {
		t.Run(name, func(t *testing.T) {
			r, l, st, until := leased(t, 8*time.Second, 2*time.Second, "ignore-term")
			r.still(until+stand, func() {
				if err := l.Extend(ExtendRequest{Until: until + time.Minute, Tokens: map[string]uint64{slot0: 7}}); err != nil {
					t.Error(err)
				}
			})
			l.lives(r, time.Second)
			if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
				t.Errorf("the process is gone: %v", err)
			}
		})
	}
}

// A host that stood still has an engine that stood still: it is given a moment for
// renewing, out of the grace. Without a renewal the process ends in time.
func TestAHostThatStoodStill(t *testing.T) {
	t.Parallel()
	renewed := func(r *rig, l *link, until time.Duration) {
		<-time.After(500 * time.Millisecond)
		if err := l.Extend(ExtendRequest{Until: until + time.Minute, Tokens: map[string]uint64{slot0: 7}}); err != nil {
			r.t.Error(err)
		}
	}
	t.Run("and renews", func(t *testing.T) {
		r, l, st, until := leased(t, 14*time.Second, 8*time.Second, "ignore-term")
		r.still(until-9*time.Second, func() {})
		renewed(r, l, until)
		l.lives(r, 3*time.Second)
		if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
			t.Errorf("the process is gone: %v", err)
		}
	})
	t.Run("and does not", func(t *testing.T) {
		r, l, st, until := leased(t, 14*time.Second, 8*time.Second, "ignore-term")
		r.still(until-9*time.Second, func() {})
		if s := get[Stopping](l); !s.Fenced || s.Step != StepSignal || until-proc.Boottime() < 4*time.Second {
			t.Errorf("%+v with %s left", s, until-proc.Boottime())
		}
		renewed(r, l, until) // there is no way back
		if e := get[Exited](l); !e.Fenced || alive(st.PID) || proc.Boottime() > until {
			t.Errorf("%+v %s before the end", e, until-proc.Boottime())
		}
	})
	t.Run("for too long", func(t *testing.T) {
		r, l, _, until := leased(t, 6*time.Second, 2*time.Second, "ignore-term")
		r.still(until+time.Second, func() {})
		if e := get[Exited](l); !e.Fenced || e.Signal != int(syscall.SIGKILL) || proc.Boottime() > until+3*time.Second {
			t.Errorf("%+v %s after the end", e, proc.Boottime()-until)
		}
	})
}
