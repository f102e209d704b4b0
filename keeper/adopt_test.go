package keeper

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// die kills the keeper as hard as can be, and its engine's link with it.
func (r *rig) die(l *link) {
	r.cmd.Process.Kill()
	<-r.exited
	l.waitGone()
	l.ctl.Close()
}

// nobodys has processes killed at the end of a test that are nobody's children.
func nobodys(t *testing.T, pids ...int) {
	t.Cleanup(func() {
		for _, pid := range pids {
			if pid > 1 { // 0 would be this process and all its group
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
}

// The keeper dies as hard as can be: its consumers live and can still print,
// also those that closed the descriptor of the lock. The next keeper knows them,
// captures what they have printed meanwhile, stops them with the grace they were
// started with, and starts a second copy of none.
func TestTheNextKeeperAdopts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	go_ := filepath.Join(r.dir, "go")
	talks := r.spec("talks/0", "echo one; until test -e "+go_+"; do sleep 0.01; done; echo two; trap 'echo bye; exit 7' TERM; while :; do sleep 0.01; done")
	talks.Tag, talks.Stop = "v1", Stop{Signal: int(syscall.SIGTERM), Grace: time.Minute, Scope: "process"}
	one := l.start("talks/0", 41, talks)
	two := l.start("closes/0", 1, r.consumer("closes/0", "close-fds"))
	gone := l.start("gone/0", 1, r.consumer("gone/0"))
	nobodys(t, one.PID, two.PID, gone.PID)
	for slot, text := range map[string]string{"talks/0": "one", "closes/0": "ready", "gone/0": "ready"} {
		r.says(slot, text)
	}
	r.die(l)
	syscall.Kill(gone.PID, syscall.SIGKILL)
	eventually(t, "the third process is gone", func() bool { return !alive(gone.PID) })
	touch(t, go_)

	r.startKeeper()
	l, slots := r.connect()
	if len(slots) != 2 {
		t.Errorf("%+v", slots)
	}
	if s := slots["talks/0"]; !s.Adopted || s.PID != one.PID || s.Run != 41 || s.Tag != "v1" || time.Since(s.StartedAt) > 5*time.Minute || s.StartedAt.After(time.Now()) {
		t.Errorf("%+v", s)
	}
	for _, st := range []Started{one, two} {
		l.ask(l.Start(StartRequest{Slot: st.Slot, Run: st.Run + 1, Spec: talks}))
		if f := get[StartFailed](l); f.Kind != KindBusy {
			t.Errorf("%+v", f)
		}
	}
	l.ask(l.Adopt(AdoptRequest{Slot: "talks/0", Run: 41, Spec: talks, Memo: []byte("m")}))
	r.says("talks/0", "two")
	l.ask(l.Stop(StopRequest{Slot: "talks/0", Run: 41, Stop: talks.Stop}))
	e := get[Exited](l)
	if e.Run != 41 || e.PID != one.PID || e.Step != StepSignal || e.Code != 7 && (e.Code != -1 || e.Signal != 0) {
		t.Errorf("%+v", e)
	}
	if b, err := os.ReadFile(r.logPath("talks/0")); string(b) != "one\ntwo\nbye\n" {
		t.Errorf("%q, %v", b, err)
	}
	if s := l.list()["talks/0"]; string(s.Memo) != "m" || s.PID != 0 {
		t.Errorf("%+v", s)
	}
	l.start("gone/0", 2, r.consumer("gone/0"))
	l.ask(l.Stop(StopRequest{Slot: "closes/0", Run: 1, Now: true}))
	if e := get[Exited](l); e.Slot != "closes/0" || e.Step != StepKill {
		t.Errorf("%+v", e)
	}
	l.start("closes/0", 2, r.consumer("closes/0"))
}

// A stop that was under way goes on with what remains of its grace, and its signal
// is not repeated.
func TestTheNextKeeperGoesOnWithAStop(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	const grace = time.Hour
	spec := r.spec(slot0, "trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; done")
	spec.Stop = Stop{Signal: int(syscall.SIGTERM), Grace: grace, Scope: "process"}
	st := l.start(slot0, 1, spec)
	nobodys(t, st.PID)
	r.says(slot0, "ready")
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: spec.Stop}))
	r.says(slot0, "asked")
	asked := time.Now()
	r.die(l)
	r.startKeeper()
	again := time.Now()
	l, slots := r.connect()
	s := slots[slot0]
	if s.Stopping != StepSignal || s.Remaining > grace-again.Sub(asked) || s.Remaining < grace-2*time.Since(asked)-time.Minute {
		t.Errorf("%+v after %v", s, time.Since(asked))
	}
	l.ask(l.Adopt(AdoptRequest{Slot: slot0, Run: 1, Spec: spec}))
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: spec.Stop}))
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: Stop{Grace: time.Second}}))
	if e := get[Exited](l); e.Step != StepKill {
		t.Errorf("%+v", e)
	}
	if b, _ := os.ReadFile(r.logPath(slot0)); string(b) != "ready\nasked\n" {
		t.Errorf("%q", b)
	}
}

// The grace has ended while no keeper was there.
func TestAGraceEndsWithoutAKeeper(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	spec := r.spec(slot0, "trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; done")
	st := l.start(slot0, 1, spec)
	nobodys(t, st.PID)
	r.says(slot0, "ready")
	before := time.Now()
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: Stop{Signal: int(syscall.SIGTERM), Grace: 3 * time.Second}}))
	r.says(slot0, "asked")
	r.die(l)
	eventually(t, "the grace is over", func() bool { return time.Since(before) > 3*time.Second })
	if !alive(st.PID) {
		t.Error("somebody has killed it")
	}
	r.startKeeper()
	l, slots := r.connect()
	e := slots[slot0].Exit
	if e == nil {
		exited := get[Exited](l)
		e = &exited
	}
	if e.Step != StepKill || e.PID != st.PID {
		t.Errorf("%+v", e)
	}
}

// What an adopted process printed last is kept though it dies before any engine
// has said where to, and a line without an end is ended.
func TestLastWordsOfAnAdoptedProcess(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	go_ := filepath.Join(r.dir, "go")
	spec := r.spec(slot0, "until test -e "+go_+"; do sleep 0.01; done; printf 'last words'; exit 3")
	st := l.start(slot0, 1, spec)
	nobodys(t, st.PID)
	r.die(l)
	r.startKeeper()
	l, slots := r.connect()
	if !slots[slot0].Adopted {
		t.Errorf("%+v", slots)
	}
	touch(t, go_)
	if e := get[Exited](l); e.Run != 1 || e.Leftovers != 0 {
		t.Errorf("%+v", e)
	}
	l.kill() // the next engine is told as well
	l, slots = r.connect()
	if s := slots[slot0]; !s.Adopted || s.Exit == nil || s.PID != 0 {
		t.Errorf("%+v", s)
	}
	l.ask(l.Adopt(AdoptRequest{Slot: slot0, Run: 1, Spec: spec}))
	r.says(slot0, "last words\n")
}

// A process has died while no keeper was there, and left another behind: that
// one holds the slot until it has been ended.
func TestLeftoversOfAnEarlierKeeper(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	spec := r.spec(slot0, "sleep 1000 & echo child $!; wait")
	spec.Stop.Grace = time.Minute
	st := l.start(slot0, 1, spec)
	r.says(slot0, "child ")
	b, _ := os.ReadFile(r.logPath(slot0))
	child, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(b), "child ")))
	nobodys(t, st.PID, child)
	r.die(l)
	syscall.Kill(st.PID, syscall.SIGKILL)
	eventually(t, "the process is gone", func() bool { return !alive(st.PID) })
	r.startKeeper()
	l, slots := r.connect()
	if s, ok := slots[slot0]; ok && s.Exit != nil {
		if s.Exit.Leftovers != 1 || s.Exit.Code != -1 {
			t.Errorf("%+v", s.Exit)
		}
	} else if e := get[Exited](l); e.Run != 1 || e.Code != -1 || e.Signal != 0 || e.Leftovers != 1 || e.Step != StepNone {
		t.Errorf("%+v", e)
	}
	eventually(t, "what it left behind is gone", func() bool { return !alive(child) })
	l.start(slot0, 2, r.spec(slot0, "exec sleep 1000"))
}

// A kill of the whole is the end of adopted processes too, and not before their
// grace: the keeper knows it without an engine.
func TestTerminateWithAdopted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	spec := r.consumer(slot0, "on-term", "300ms", "0")
	spec.Stop = Stop{Grace: time.Minute}
	st := l.start(slot0, 1, spec)
	nobodys(t, st.PID)
	r.says(slot0, "ready")
	r.die(l)
	r.startKeeper()
	l, _ = r.connect()
	r.signal(syscall.SIGTERM)
	get[Terminate](l)
	l.kill() // it had not answered: the keeper goes on by itself
	if c := r.code(); c != 0 {
		t.Errorf("code %d", c)
	}
	eventually(t, "the adopted process is gone", func() bool { return !alive(st.PID) })
	if b, _ := os.ReadFile(r.logPath(slot0)); strings.Contains(string(b), "kill") {
		t.Errorf("%q", b)
	}
}

// What went into a session of its own with a parent that is gone is ended with its
// run, by the grace or by force, and by the next keeper if need be; with cgroups
// and without.
func TestNothingLeavesItsRun(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			nothingLeavesItsRun(t, newRig(t, way.env))
		})
	}
}

func nothingLeavesItsRun(t *testing.T, r *rig) {
	l, _ := r.connect()
	const flee = "(setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.01; done' &) ; "
	fled := func(slot string) int {
		pid := 0
		eventually(t, "the process has fled", func() bool {
			b, _ := os.ReadFile(r.logPath(slot))
			pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
			return pid != 0
		})
		nobodys(t, pid)
		return pid
	}
	// Its parent ends by itself.
	spec := r.spec("ends/0", flee+"until test -e "+filepath.Join(r.dir, "go")+"; do sleep 0.01; done; exit 4")
	spec.Stop.Grace = 200 * time.Millisecond
	l.start("ends/0", 1, spec)
	pid := fled("ends/0")
	touch(t, filepath.Join(r.dir, "go"))
	if e := get[Exited](l); e.Code != 4 || e.Step != StepNone || e.Leftovers < 1 {
		t.Errorf("%+v", e)
	}
	eventually(t, "what fled is gone", func() bool { return !alive(pid) })
	// It is asked like its parent, though it is not in the group that was signalled.
	spec = r.spec("asked/0", "(setsid sh -c 'echo $$; exec sleep 1000' &) ; exec sleep 1000")
	spec.Stop = Stop{Grace: time.Hour, Scope: scopeGroup}
	st := l.start("asked/0", 1, spec)
	pid = fled("asked/0")
	l.ask(l.Stop(StopRequest{Slot: "asked/0", Run: st.Run, Stop: spec.Stop}))
	if e := get[Exited](l); e.Step != StepSignal || e.Signal != int(syscall.SIGTERM) || e.Leftovers < 1 {
		t.Errorf("%+v", e)
	}
	// It is killed at once.
	st = l.start("killed/0", 1, r.spec("killed/0", flee+"exec sleep 1000"))
	pid = fled("killed/0")
	l.ask(l.Stop(StopRequest{Slot: "killed/0", Run: st.Run, Now: true}))
	if e := get[Exited](l); e.Step != StepKill {
		t.Errorf("%+v", e)
	}
	eventually(t, "what fled is gone", func() bool { return !alive(pid) })
	l.start("killed/0", 2, r.spec("killed/0", "echo second; exec sleep 1000"))
	r.says("killed/0", "second")
	// Its parent and the keeper are killed.
	spec = r.spec("left/0", flee+"exec sleep 1000")
	spec.Stop.Grace = 0
	left := l.start("left/0", 1, spec)
	pid = fled("left/0")
	nobodys(t, left.PID)
	r.die(l)
	syscall.Kill(left.PID, syscall.SIGKILL)
	eventually(t, "the process is gone", func() bool { return !alive(left.PID) })
	r.startKeeper(r.env...)
	l, slots := r.connect()
	for _, s := range slots {
		nobodys(t, s.PID)
	}
	eventually(t, "what fled is gone too", func() bool { return !alive(pid) })
	l.start("left/0", 2, r.spec("left/0", "exec sleep 1000"))
}

// What the engine has left with a slot is there for the next keeper, whether something
// runs in it or not, but not after an end in good order, nor after a drop.
func TestMemosOutliveTheKeeper(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	st := l.start("runs/0", 1, r.spec("runs/0", "exec sleep 1000"))
	nobodys(t, st.PID)
	l.ask(l.Ack(AckRequest{Slot: "runs/0", Memo: []byte("of one that runs")}))
	l.ask(l.Ack(AckRequest{Slot: "waits/0", Memo: []byte("until tomorrow")}))
	l.ask(l.Ack(AckRequest{Slot: "dropped/0", Memo: []byte("x")}))
	l.ask(l.Drop(DropRequest{Slot: "dropped/0"}))
	l.list()
	for range 2 {
		r.die(l)
		r.startKeeper()
		var slots map[string]SlotInfo
		l, slots = r.connect()
		if a, b := slots["runs/0"], slots["waits/0"]; len(slots) != 2 || string(a.Memo) != "of one that runs" || a.PID != st.PID || string(b.Memo) != "until tomorrow" || b.PID != 0 || b.Adopted {
			t.Errorf("%+v", slots)
		}
	}
	l, slots := r.upgrade(l)
	if string(slots["waits/0"].Memo) != "until tomorrow" {
		t.Errorf("%+v", slots)
	}
	l.ask(l.Ack(AckRequest{Slot: "waits/0", Memo: []byte("until next week")}))
	l.list()
	r.die(l)
	r.startKeeper()
	if l, slots = r.connect(); string(slots["waits/0"].Memo) != "until next week" || string(slots["runs/0"].Memo) != "of one that runs" {
		t.Errorf("%+v", slots)
	}
	l.ask(l.Quit(QuitRequest{}))
	r.code()
	r.startKeeper()
	_, slots = r.connect()
	for name, s := range slots {
		if s.Memo != nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
