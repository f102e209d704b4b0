package keeper

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A standing order is carried out once, is told in this order, and leaves the
// exit for whoever asks until it is acknowledged.
func TestStandingOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	mark := filepath.Join(r.dir, "second")
	spec := r.spec(slot0, "test -e "+mark+" && exec sleep 1000; touch "+mark+"; exit 3")
	l.ask(l.Start(StartRequest{Slot: slot0, Run: 5, Spec: spec, Memo: []byte("first"), Again: &Again{Codes: []int{0, 3}}}))
	first, e, second := get[Started](l), get[Exited](l), get[Started](l)
	if first.Run != 5 || e.Run != 5 || e.Code != 3 || e.Next != 6 || second.Run != 6 || second.PID == first.PID {
		t.Fatalf("%+v, %+v, %+v", first, e, second)
	}
	if s := l.list()[slot0]; s.Run != 6 || s.PID != second.PID || s.Exit == nil || s.Exit.Run != 5 || string(s.Memo) != "first" {
		t.Errorf("%+v", s)
	}
	l.ask(l.Ack(AckRequest{Slot: slot0, Run: 5, Memo: []byte("second")}))
	if s := l.list()[slot0]; s.Exit != nil || string(s.Memo) != "second" || s.PID != second.PID {
		t.Errorf("%+v", s)
	}
	syscall.Kill(second.PID, syscall.SIGKILL)
	if e := get[Exited](l); e.Run != 6 || e.Next != 0 {
		t.Errorf("%+v", e)
	}
}

func TestStandingOrderIsNotForEveryEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	order := &Again{Codes: []int{0}}
	for name, c := range map[string]struct {
		script string
		order  *Again
		then   func(st Started)
	}{
		"another code":   {"exit 1", order, nil},
		"too early":      {"exit 0", &Again{Codes: []int{0}, MinRan: time.Hour}, nil},
		"a signal":       {"kill -9 $$", order, nil},
		"something left": {"sleep 1000 & exit 0", order, nil},
		"a stop": {"trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done", order, func(st Started) {
			l.ask(l.Stop(StopRequest{Slot: slot0, Run: st.Run, Stop: Stop{Grace: time.Minute}}))
		}},
		"withdrawn": {"trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done", order, func(st Started) {
			l.ask(l.Again(AgainRequest{Slot: slot0, Run: st.Run}))
			l.list() // it has been read
			syscall.Kill(st.PID, syscall.SIGTERM)
		}},
	} {
		spec := r.spec(slot0, c.script)
		spec.Stop.Grace = 0 // for what is left
		l.ask(l.Start(StartRequest{Slot: slot0, Run: 1, Spec: spec, Again: c.order}))
		st := get[Started](l)
		if c.then != nil {
			r.says(slot0, "ready")
			c.then(st)
		}
		if e := get[Exited](l); e.Next != 0 {
			t.Errorf("%s: %+v", name, e)
		}
		if s := l.list()[slot0]; s.PID != 0 {
			t.Errorf("%s: it runs again: %+v", name, s)
		}
		l.ask(l.Drop(DropRequest{Slot: slot0}))
	}
}

// Nobody could withdraw an order whose engine is gone.
func TestStandingOrderDiesWithItsEngine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.ask(l.Start(StartRequest{Slot: slot0, Run: 1, Spec: r.spec(slot0, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done"), Again: &Again{Codes: []int{0}}}))
	st := get[Started](l)
	r.says(slot0, "ready")
	l.kill()
	l, slots := r.connect()
	if s := slots[slot0]; s.PID != st.PID {
		t.Fatalf("%+v", s)
	}
	syscall.Kill(st.PID, syscall.SIGTERM)
	if e := get[Exited](l); e.Run != 1 || e.Code != 0 || e.Next != 0 {
		t.Errorf("%+v", e)
	}
}
