package slot

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// run drives a slot through a script of exits and reports how each was
// followed: class, reason and delay before the next attempt.
func afterExit(t *testing.T, p Policy, s State, e ExitInfo) (State, time.Duration) {
	t.Helper()
	now := base
	for s.Phase != Running {
		var ev Event = Tick{}
		switch s.Phase {
		case Checking:
			ev = Opened{s.Run}
		case Spawning:
			ev = Spawned{s.Run, 42}
		case Waiting:
			now = now.Add(time.Hour)
		case Halted:
			t.Fatalf("halted: %v", s.Reason)
		}
		s, _ = Step(p, s, now, ev)
	}
	s, _ = Step(p, s, now, Exited{s.Run, e})
	return s, s.Deadline.Sub(now)
}

func up(p Policy) State {
	s, _ := Step(p, State{Phase: Halted}, base, Wish{Up, Reason{Code: OK}})
	return s
}

func TestCrashesBackOffForEver(t *testing.T) {
	p := testPolicy()
	p.Jitter = 0
	s := up(p)
	want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60}
	for i, w := range want {
		var d time.Duration
		s, d = afterExit(t, p, s, ExitInfo{Code: 1, Ran: time.Millisecond})
		if d != w*time.Second || s.Failures != i+1 || s.Reason.Code != Backoff {
			t.Errorf("crash %d: waits %v with %d failures (%v), want %v s", i+1, d, s.Failures, s.Reason.Code, int(w))
		}
	}
	for range 1000 {
		s, _ = afterExit(t, p, s, ExitInfo{Code: -1, Signal: 11, Ran: time.Millisecond})
	}
	if s.Final || s.Deadline.IsZero() {
		t.Errorf("gave up after 1,000 crashes: %+v", s)
	}
	s, _ = afterExit(t, p, s, ExitInfo{Code: 1, Ran: p.ResetAfter})
	if s.Failures != 1 {
		t.Errorf("a run of reset_after left %d failures", s.Failures)
	}
}

// TestBackoffIsForgottenForStabilityOnly: a run must outlive the pause before it, and an end that proves
// nothing must not make crashes look like the first.
func TestBackoffIsForgottenForStabilityOnly(t *testing.T) {
	p := testPolicy()
	p.Jitter, p.Max = 0, time.Hour
	s := up(p)
	for range 10 {
		s, _ = afterExit(t, p, s, ExitInfo{Code: 1, Ran: time.Millisecond})
	}
	if s, _ = afterExit(t, p, s, ExitInfo{Code: 1, Ran: 2 * time.Minute}); s.Failures != 11 {
		t.Errorf("a run of 2 min after a pause of 8.5 min leaves %d failures", s.Failures)
	}
	if s, _ = afterExit(t, p, s, ExitInfo{Code: 1, Ran: time.Hour}); s.Failures != 1 {
		t.Errorf("a run of an hour leaves %d failures", s.Failures)
	}
	for i := range 5 {
		s, _ = afterExit(t, p, s, ExitInfo{Ran: time.Millisecond})
		if s, _ = afterExit(t, p, s, ExitInfo{Code: 1, Ran: time.Millisecond}); s.Failures != i+2 {
			t.Fatalf("crashes between quick clean exits: %d failures, want %d", s.Failures, i+2)
		}
	}
	if s, _ = afterExit(t, p, s, ExitInfo{Ran: 2 * time.Second}); s.Failures != 0 {
		t.Errorf("a clean end after work leaves %d failures", s.Failures)
	}
}

func TestJitterSpreadsAndRepeats(t *testing.T) {
	seen := map[time.Duration]bool{}
	for i := range 100 {
		p := testPolicy()
		p.Key = fmt.Sprintf("a/%d", i)
		_, d := afterExit(t, p, up(p), ExitInfo{Code: 1})
		_, again := afterExit(t, p, up(p), ExitInfo{Code: 1})
		if d != again {
			t.Fatalf("the same slot and run waits %v, then %v", d, again)
		}
		if d < 500*time.Millisecond || d > time.Second {
			t.Fatalf("delay %v outside of 50 %% jitter", d)
		}
		seen[d.Round(5*time.Millisecond)] = true
	}
	if len(seen) < 40 {
		t.Errorf("100 slots share %d delays", len(seen))
	}
}

func TestCleanExits(t *testing.T) {
	p := testPolicy()
	p.Jitter = 0
	s := up(p)
	for range 5 { // long enough, or short with work done: at once, uncounted
		var d time.Duration
		if s, d = afterExit(t, p, s, ExitInfo{Ran: 2 * time.Second}); d != 0 {
			t.Fatalf("a clean exit waits %v", d)
		}
		if s, d = afterExit(t, p, s, ExitInfo{Ran: time.Millisecond, Work: WorkDone}); d != 0 || s.Quick != 0 {
			t.Fatalf("quick, but working: waits %v", d)
		}
	}
	for i, want := range []time.Duration{0, 1, 2, 4, 8, 16, 32, 60, 60, 60} {
		var d time.Duration
		s, d = afterExit(t, p, s, ExitInfo{Ran: time.Millisecond})
		if d != want*time.Second {
			t.Errorf("quick clean exit %d waits %v, want %v", i+1, d, want*time.Second)
		}
	}
	if !strings.Contains(s.Reason.String(), "spinning") || s.Failures != 0 {
		t.Errorf("ten in a row: %v, %d failures", s.Reason, s.Failures)
	}
	if s, d := afterExit(t, p, s, ExitInfo{Ran: time.Millisecond, Work: WorkNone}); d != pacedWithWork {
		t.Errorf("with messages waiting the pace is %v (%v)", d, s.Reason)
	}
	p.MinUptime = 0
	if _, d := afterExit(t, p, s, ExitInfo{}); d != 0 {
		t.Errorf("min_uptime 0 still paces: %v", d)
	}
}

func TestClasses(t *testing.T) {
	p := testPolicy()
	tests := []struct {
		phase Phase
		cause Code
		exit  ExitInfo
		want  Class
	}{
		{Running, "", ExitInfo{Code: 0}, ClassClean},
		{Running, "", ExitInfo{Code: 77}, ClassEmpty},
		{Running, "", ExitInfo{Code: 99}, ClassPermanent},
		{Running, "", ExitInfo{Code: 3}, ClassCrashed},
		{Running, "", ExitInfo{Code: 127}, ClassMisconfigured},
		{Running, "", ExitInfo{Code: -1, Signal: 15}, ClassCrashed},
		{Running, "", ExitInfo{Code: -1, Unknown: true}, ClassUnknown},
		{Running, "", ExitInfo{Code: -1, ExecError: "no such file"}, ClassMisconfigured},
		{Draining, Stopped, ExitInfo{Code: -1, Signal: 15}, ClassStopped},
		{Draining, Shutdown, ExitInfo{Code: 1}, ClassStopped},
		{Killing, Stopped, ExitInfo{Code: -1, Signal: 9, Step: "kill"}, ClassStopped},
		{Draining, TimeLimit, ExitInfo{Code: 0}, ClassRecycled},
		{Draining, Stall, ExitInfo{Code: -1, Signal: 15}, ClassRecycled},
		{Draining, Recycle, ExitInfo{Code: -1, Signal: 15}, ClassRecycled},
		{Killing, MemoryHard, ExitInfo{Code: -1, Signal: 9}, ClassOOM},
	}
	for _, tt := range tests {
		s := State{Phase: tt.phase, Run: 1, Want: Up, Reason: Reason{Code: tt.cause}}
		s, eff := Step(p, s, base, Exited{1, tt.exit})
		if s.Last.Class != tt.want || eff != Release {
			t.Errorf("%v (%v) %+v: %v, effect %v; want %v", tt.phase, tt.cause, tt.exit, s.Last.Class, eff, tt.want)
		}
	}
}

func TestTimeLimitHasASpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for run := range uint64(50) {
		p := testPolicy()
		s := State{Phase: Spawning, Run: run, Want: Up}
		s, _ = Step(p, s, base, Spawned{run, 42})
		d := s.Deadline.Sub(base)
		if d > time.Minute || d < 54*time.Second {
			t.Fatalf("ends after %v, want 54–60 s", d)
		}
		seen[d] = true
		s, eff := Step(p, s, s.Deadline, Tick{})
		if s.Phase != Draining || eff != Stop || s.Reason.Code != TimeLimit {
			t.Fatalf("at the limit: %v %v %v", s.Phase, eff, s.Reason)
		}
	}
	if len(seen) < 45 {
		t.Errorf("50 runs share %d limits", len(seen))
	}
}

func TestCodesAreAClosedList(t *testing.T) {
	seen := map[Code]bool{}
	for _, c := range Codes {
		if seen[c.Code] || c.Text == "" {
			t.Errorf("code %q is listed twice or says nothing", c.Code)
		}
		seen[c.Code] = true
	}
}
