package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const slot0 = "orders/0"

// running starts a misbehaving consumer and waits until it has begun to.
func running(t *testing.T, args ...string) (*rig, *link, Started) {
	t.Helper()
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	st := l.start(slot0, 1, r.consumer(slot0, args...))
	r.says(slot0, "ready")
	return r, l, st
}

func stop(grace time.Duration) StopRequest {
	return StopRequest{Slot: slot0, Run: 1, Stop: Stop{Signal: int(syscall.SIGTERM), Scope: "process", Grace: grace}}
}

func (l *link) ask(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func TestStopLetsItFinish(t *testing.T) {
	_, l, _ := running(t, "on-term", "500ms", "4")
	l.ask(l.Stop(stop(time.Minute)))
	if s := l.list()[slot0]; s.Stopping != StepSignal || s.Remaining > time.Minute || s.Remaining < 50*time.Second {
		t.Errorf("%+v", s)
	}
	if e := get[Exited](l); e.Code != 4 || e.Step != StepSignal || e.Signal != 0 {
		t.Errorf("%+v", e)
	}
}

func TestKillComesAfterTheGraceAndNotBefore(t *testing.T) {
	_, l, _ := running(t, "ignore-term")
	began := time.Now()
	l.ask(l.Stop(stop(1500 * time.Millisecond)))
	if s := get[Stopping](l); s.Step != StepKill || s.Remaining != 0 {
		t.Errorf("%+v", s)
	}
	took := time.Since(began)
	e := get[Exited](l)
	if took < 1500*time.Millisecond || e.Step != StepKill || e.Signal != int(syscall.SIGKILL) || e.Code != -1 {
		t.Errorf("after %v: %+v", took, e)
	}
}

// The deadline is the keeper's: an engine that dies in the middle of a stop
// neither shortens nor lengthens it, and the next one cannot lengthen it either.
func TestGraceOutlivesTheEngine(t *testing.T) {
	const grace = 4 * time.Second
	r, l, st := running(t, "ignore-term")
	began := time.Now()
	l.ask(l.Stop(stop(grace)))
	l.list() // it has been read
	l.kill()
	l, slots := r.connect()
	got := slots[slot0]
	if left := grace - time.Since(began); got.Stopping != StepSignal || got.PID != st.PID || got.Run != 1 ||
		got.Remaining < left || got.Remaining >= grace {
		t.Errorf("%+v, of which %v should be left", got, left)
	}
	l.ask(l.Stop(stop(time.Hour)))
	l.ask(l.Stop(stop(time.Hour)))
	e := get[Exited](l)
	if took := time.Since(began); took < grace || e.Step != StepKill {
		t.Errorf("after %v: %+v", took, e)
	} else if took > grace+20*time.Second {
		t.Errorf("only after %v", took)
	}
}

func TestSecondStopMayOnlyShorten(t *testing.T) {
	_, l, _ := running(t, "ignore-term")
	l.ask(l.Stop(stop(time.Hour)))
	l.ask(l.Stop(stop(time.Second)))
	if s := l.list()[slot0]; s.Stopping != StepSignal || s.Remaining > time.Second {
		t.Errorf("%+v", s)
	}
	if e := get[Exited](l); e.Step != StepKill {
		t.Errorf("%+v", e)
	}
}

// Why something is to end is known to the next engine and after an upgrade, for what
// still runs and for what has ended; who says nothing leaves it as it was.
func TestWhyIsToldBack(t *testing.T) {
	r, l, _ := running(t, "ignore-term")
	asked := stop(time.Hour)
	asked.Stop.Why = "recycle restart by ann"
	l.ask(l.Stop(asked))
	l.kill()
	l, slots := r.connect()
	if s := slots[slot0]; s.Why != asked.Stop.Why {
		t.Errorf("%+v", s)
	}
	l, slots = r.upgrade(l)
	if s := slots[slot0]; s.Why != asked.Stop.Why {
		t.Errorf("%+v", s)
	}
	now := stop(0)
	now.Now = true
	l.ask(l.Stop(now))
	if e := get[Exited](l); e.Why != asked.Stop.Why || e.Step != StepKill {
		t.Errorf("%+v", e)
	}
}

func TestStopNow(t *testing.T) {
	_, l, _ := running(t, "ignore-term")
	l.ask(l.Stop(stop(time.Hour)))
	now := stop(0)
	now.Now = true
	l.ask(l.Stop(now))
	if e := get[Exited](l); e.Step != StepKill || e.Signal != int(syscall.SIGKILL) {
		t.Errorf("%+v", e)
	}
	l.ask(l.Stop(now)) // of a run that is over: nothing
	if s := l.list()[slot0]; s.PID != 0 || s.Exit == nil {
		t.Errorf("%+v", s)
	}
}

func TestStoppedProcessIsWoken(t *testing.T) {
	_, l, st := running(t, "on-term", "0s", "5", "stop-self")
	eventually(t, "the process has stopped itself", func() bool { return field(t, st.PID, "State")[0] == 'T' })
	l.ask(l.Stop(stop(time.Minute)))
	if e := get[Exited](l); e.Code != 5 || e.Step != StepSignal {
		t.Errorf("%+v", e)
	}
}

func TestStopCommandComesFirst(t *testing.T) {
	r, l, _ := running(t, "on-term", "0s", "5")
	s := stop(time.Minute)
	s.Stop.Command = []string{"/bin/sh", "-c", "echo asked $QSUPER_PID; exit 1"}
	l.ask(l.Stop(s))
	e := get[Exited](l)
	if e.Code != 5 || e.Step != StepSignal {
		t.Errorf("%+v", e)
	}
	r.says(slot0, "asked "+itoa(e.PID))
}

// A stop command that hangs costs the process neither its signal nor its grace,
// and ends with the grace.
func TestStopCommandThatHangs(t *testing.T) {
	r, l, _ := running(t, "on-term", "0s", "5")
	s := stop(2 * time.Second)
	s.Stop.Command = []string{"/bin/sh", "-c", "echo pid $$; exec sleep 1000"}
	l.ask(l.Stop(s))
	e := get[Exited](l)
	if e.Code != 5 || e.Step != StepSignal {
		t.Errorf("%+v", e)
	}
	r.says(slot0, "pid ")
	if n := childrenOf(t, r.cmd.Process.Pid); n != 1 {
		t.Errorf("%d children are left beside the engine", n-1)
	}
}

func TestScopeGroup(t *testing.T) {
	r := newRig(t)
	l, _ := r.connect()
	spec := r.spec(slot0, `trap 'echo parent; wait; exit 3' TERM; (trap 'echo child; exit' TERM; echo ready; while :; do sleep 0.05; done) & wait`)
	l.start(slot0, 1, spec)
	r.says(slot0, "ready")
	s := stop(time.Minute)
	s.Stop.Scope = "group"
	l.ask(l.Stop(s))
	if e := get[Exited](l); e.Code != 3 || e.Step != StepSignal || e.Leftovers != 0 {
		t.Errorf("%+v", e)
	}
	r.says(slot0, "child")
}

// The signal reaches, once, what is in another session and has lost its parent. The
// main process waits for the end of both, which nothing but the signal brings.
// A process that starts another while it is asked to end leaves one that was not asked.
func TestForkedAfterTheSignal(t *testing.T) {
	t.Parallel()
	for _, way := range ways {
		r := newRig(t, way.env)
		l, _ := r.connect()
		s := r.spec(slot0, `trap stop=1 TERM; echo ready; until test -n "$stop"; do sleep 0.01; done; sleep 0.05
			sh -c 'trap "echo asked; exit 0" TERM; : >up; while :; do sleep 0.01; done' & until test -e up; do sleep 0.01; done; exit 3`)
		s.Stop.Scope = scopeGroup
		l.start(slot0, 1, s)
		r.says(slot0, "ready")
		l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: Stop{Signal: int(syscall.SIGTERM), Scope: scopeGroup, Grace: time.Hour}}))
		if e := get[Exited](l); e.Code != 3 || e.Step != StepSignal || e.Leftovers == 0 {
			t.Errorf("%s: %+v", way.name, e)
		}
		r.says(slot0, "asked")
	}
}

func TestScopeTree(t *testing.T) {
	const child = `'trap "echo %s; rm -f %[1]s" TERM; echo up; while test -e %[1]s; do sleep 0.02; done'`
	near, far := fmt.Sprintf(child, "near"), fmt.Sprintf(child, "far")
	script := "trap 'echo main' TERM; touch near far; setsid sh -c " + near + " & (setsid sh -c " + far + " &) ; " +
		"while test -e near || test -e far; do sleep 0.02; done; exit 3"
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, way.env)
			l, _ := r.connect()
			l.start(slot0, 1, r.spec(slot0, script))
			r.says(slot0, "up\nup")
			s := stop(time.Minute)
			s.Stop.Scope = scopeTree
			l.ask(l.Stop(s))
			if e := get[Exited](l); e.Code != 3 || e.Step != StepSignal {
				t.Errorf("%+v", e)
			}
			for _, who := range []string{"main", "near", "far"} {
				r.says(slot0, who)
			}
			if b, _ := os.ReadFile(r.logPath(slot0)); strings.Count(string(b), "near")+strings.Count(string(b), "far")+strings.Count(string(b), "main") != 3 {
				t.Errorf("signalled more than once:\n%s", b)
			}
		})
	}
}

func TestLeftoversHoldTheSlot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	st := l.start(slot0, 1, r.consumer(slot0, "leave", "on-term", "1s", "0", "end", "wait-for", filepath.Join(r.dir, "go"), "exit", "9"))
	r.says(slot0, "ready") // the child
	touch(t, filepath.Join(r.dir, "go"))
	if s := get[Stopping](l); s.Step != StepSignal || s.Leftovers != 1 {
		t.Errorf("%+v", s)
	}
	l.ask(l.Start(StartRequest{Slot: slot0, Run: 2, Spec: r.spec(slot0, "exit 0")}))
	if f := get[StartFailed](l); f.Kind != KindBusy || f.Run != 2 {
		t.Errorf("%+v", f)
	}
	if s := l.list()[slot0]; s.Leftovers != 1 || s.PID != st.PID {
		t.Errorf("%+v", s)
	}
	// It exited by itself, whatever became of what it left.
	if e := get[Exited](l); e.Code != 9 || e.Step != StepNone || e.Leftovers != 1 {
		t.Errorf("%+v", e)
	}
}

func TestLeftoversAreKilledAfterTheGrace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	spec := r.consumer(slot0, "leave", "ignore-term", "end", "wait-for", filepath.Join(r.dir, "go"), "exit", "9")
	spec.Stop.Grace = time.Second
	l.start(slot0, 1, spec)
	r.says(slot0, "ready") // of the child
	touch(t, filepath.Join(r.dir, "go"))
	get[Stopping](l)
	began := time.Now()
	e := get[Exited](l)
	if e.Code != 9 || e.Leftovers != 1 || time.Since(began) < 900*time.Millisecond {
		t.Errorf("after %v: %+v", time.Since(began), e)
	}
	if n := childrenOf(t, r.cmd.Process.Pid); n != 1 {
		t.Errorf("%d children are left beside the engine", n-1)
	}
}

// A stop under way goes on for what is left in the group: same deadline.
func TestLeftoversKeepTheRestOfTheGrace(t *testing.T) {
	const grace = 3 * time.Second
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.start(slot0, 1, r.consumer(slot0, "on-term", "1s", "4", "leave", "ignore-term", "end"))
	r.says(slot0, "ready\nready") // both
	began := time.Now()
	l.ask(l.Stop(stop(grace)))
	e := get[Exited](l)
	if took := time.Since(began); e.Code != 4 || e.Leftovers != 1 || e.Step != StepKill || took < grace {
		t.Errorf("after %v: %+v", took, e)
	}
}
