package keeper

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func (r *rig) signal(sig syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
}

func TestTerminateIsTheEnginesToCarryOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.start(slot0, 1, r.consumer(slot0, "on-term", "500ms", "4"))
	r.says(slot0, "ready")
	r.signal(syscall.SIGTERM)
	if m := get[Terminate](l); m.Now {
		t.Errorf("%+v", m)
	}
	l.ask(l.Terminating())
	l.ask(l.Start(StartRequest{Slot: "late/0", Run: 1, Spec: r.spec("late/0", "exit 0")}))
	if f := get[StartFailed](l); f.Kind != KindTerminating {
		t.Errorf("%+v", f)
	}
	if s := l.list()[slot0]; s.Stopping != StepNone {
		t.Errorf("the keeper stopped it by itself: %+v", s)
	}
	l.ask(l.Stop(stop(time.Minute)))
	if e := get[Exited](l); e.Code != 4 {
		t.Errorf("%+v", e)
	}
	l.ask(l.Quit(QuitRequest{Code: 5}))
	if c := r.code(); c != 5 {
		t.Errorf("exit status %d", c)
	}
}

func TestTerminateWithoutEngine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	spec := r.consumer(slot0, "on-term", "500ms", "4")
	l.start(slot0, 1, spec)
	r.says(slot0, "ready")
	r.signal(syscall.SIGINT)
	get[Terminate](l)
	l.kill()
	l, slots := r.connect()
	if !l.hello.Terminating || slots[slot0].Stopping != StepSignal {
		t.Errorf("%+v, %+v", l.hello, slots)
	}
	if e := get[Exited](l); e.Code != 4 || e.Step != StepSignal {
		t.Errorf("%+v", e)
	}
	if c := r.code(); c != 0 {
		t.Errorf("exit status %d", c)
	}
}

func TestTerminateUnanswered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.start(slot0, 1, r.consumer(slot0, "on-term", "0s", "4"))
	r.says(slot0, "ready")
	began := time.Now()
	r.signal(syscall.SIGTERM)
	e := get[Exited](l)
	if took := time.Since(began); e.Code != 4 || took < answerTime {
		t.Errorf("after %v: %+v", took, e)
	}
	if c := r.code(); c != 0 {
		t.Errorf("exit status %d", c)
	}
}

func TestEngineThatForgetsToQuit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	began := time.Now()
	r.signal(syscall.SIGTERM)
	get[Terminate](l)
	l.ask(l.Terminating())
	if c := r.code(); c != 0 || time.Since(began) < answerTime {
		t.Errorf("exit status %d after %v", c, time.Since(began))
	}
}

func TestTerminateTwiceIsNow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.start(slot0, 1, r.consumer(slot0, "ignore-term"))
	r.says(slot0, "ready")
	r.signal(syscall.SIGTERM)
	get[Terminate](l)
	l.ask(l.Terminating())
	l.ask(l.Stop(stop(time.Hour)))
	l.list() // it has been read
	r.signal(syscall.SIGTERM)
	if m := get[Terminate](l); !m.Now {
		t.Errorf("%+v", m)
	}
	if e := get[Exited](l); e.Step != StepKill {
		t.Errorf("%+v", e)
	}
	if c := r.code(); c != 5 {
		t.Errorf("exit status %d", c)
	}
}

func TestQuitStopsWhatRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.start(slot0, 1, r.consumer(slot0, "on-term", "200ms", "4"))
	r.says(slot0, "ready")
	l.ask(l.Quit(QuitRequest{Code: 3}))
	if e := get[Exited](l); e.Code != 4 || e.Step != StepSignal {
		t.Errorf("%+v", e)
	}
	if c := r.code(); c != 3 {
		t.Errorf("exit status %d", c)
	}
	if _, err := os.Stat(r.dir + "/qsuper.pid"); !os.IsNotExist(err) {
		t.Error("the pid file is still there")
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := r.dial() // before it has said a word
	r.signal(syscall.SIGHUP)
	var err error
	if l.Client, l.hello, err = Connect(l.raw); err != nil {
		t.Fatal(err)
	}
	go func() { l.gone <- l.Run(t.Context(), func(m any) { l.events <- m }) }()
	get[Reload](l)
	l.list()
	r.signal(syscall.SIGHUP)
	get[Reload](l)
}

func TestReopenLogs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.start(slot0, 1, r.spec(slot0, "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done"))
	r.says(slot0, "line")
	if err := os.Rename(r.logPath(slot0), r.logPath(slot0)+".old"); err != nil {
		t.Fatal(err)
	}
	r.signal(syscall.SIGUSR1)
	r.says(slot0, "line")
}

func TestSecondKeeper(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	first := r.cmd
	exited := r.exited
	r.startKeeper()
	if c := r.code(); c != 75 {
		t.Errorf("exit status %d", c)
	}
	r.cmd, r.exited = first, exited
	if b, err := os.ReadFile(r.dir + "/qsuper.pid"); string(b) != itoa(first.Process.Pid)+"\n" {
		t.Errorf("pid file %q, %v", b, err)
	}
	l.list()
}

func TestSetLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	spec := r.spec(slot0, "while :; do echo line; sleep 0.02; done")
	l.start(slot0, 1, spec)
	r.says(slot0, "line")
	spec.Log.Path = r.logPath("elsewhere/0")
	l.ask(l.SetLog(LogRequest{Slot: slot0, Log: spec.Log}))
	r.says("elsewhere/0", "line")
}
