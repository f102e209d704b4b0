package keeper

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExitsAreKeptUntilAcknowledged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.ask(l.Start(StartRequest{Slot: slot0, Run: 7, Spec: r.spec(slot0, "exit 4"), Memo: []byte("first")}))
	exit := get[Exited](l)
	l.kill()

	l, slots := r.connect()
	if l.hello.Engines != 2 {
		t.Errorf("%+v", l.hello)
	}
	got := slots[slot0]
	if d := cmp.Diff(&exit, got.Exit); d != "" || string(got.Memo) != "first" || got.PID != 0 || got.Run != 7 {
		t.Errorf("%+v %s", got, d)
	}
	l.ask(l.Ack(AckRequest{Slot: slot0, Run: 6}))
	if l.list()[slot0].Exit == nil {
		t.Error("the exit of run 7 went with run 6")
	}
	l.ask(l.Ack(AckRequest{Slot: slot0, Run: 7, Memo: []byte("second")}))
	if got := l.list()[slot0]; got.Exit != nil || string(got.Memo) != "second" {
		t.Errorf("%+v", got)
	}
	l.ask(l.Drop(DropRequest{Slot: slot0}))
	if slots := l.list(); len(slots) != 0 {
		t.Errorf("%+v", slots)
	}
}

// What happens while there is no engine is in the list of the next one.
func TestExitWithoutEngine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	st := l.start(slot0, 1, r.spec(slot0, "exec sleep 1000"))
	l.kill()
	if err := syscall.Kill(st.PID, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	l, slots := r.connect()
	if e := slots[slot0].Exit; e != nil {
		if e.Signal != int(syscall.SIGINT) {
			t.Errorf("%+v", e)
		}
		return
	}
	if e := get[Exited](l); e.Signal != int(syscall.SIGINT) {
		t.Errorf("%+v", e)
	}
}

// A start that follows an exit acknowledges it, and refers to a specification
// that the keeper has already.
func TestStartAcknowledges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	spec := r.spec(slot0, "echo $QSUPER_RUN_ID; exit 4")
	for run := uint64(1); run <= 3; run++ {
		l.start(slot0, run, spec)
		if e := get[Exited](l); e.Run != run || e.Code != 4 {
			t.Errorf("%+v", e)
		}
	}
	l.Client.mu.Lock()
	sent := l.Client.lastID
	l.Client.mu.Unlock()
	if sent != 1 {
		t.Errorf("the specification was sent %d times", sent)
	}
	r.says(slot0, "orders/0.3.")
	if got := l.list()[slot0]; got.Exit == nil || got.Exit.Run != 3 {
		t.Errorf("%+v", got)
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.start(slot0, 1, r.spec(slot0, "exec sleep 1000"))
	l.ask(l.Start(StartRequest{Slot: slot0, Run: 2, Spec: r.spec(slot0, "exit 0")}))
	if f := get[StartFailed](l); f.Kind != KindBusy || f.Run != 2 {
		t.Errorf("%+v", f)
	}
}

// An engine that does not speak the protocol is replaced, and no consumer
// notices.
func TestNonsenseCostsTheEngineAndNothingElse(t *testing.T) {
	head := func(n uint32, t frameType, body string) []byte {
		return append(append(binary.BigEndian.AppendUint32(nil, n), byte(t)), body...)
	}
	frame := func(t frameType, body string) []byte { return head(uint32(len(body)+1), t, body) }
	for name, b := range map[string][]byte{
		"the same start again":  nil,
		"unknown type":          frame(99, "{}"),
		"a frame of the keeper": frame(frameExited, "{}"),
		"second hello":          frame(frameHello, "{}"),
		"not JSON":              frame(frameStop, "{"),
		"wrong JSON":            frame(frameStop, `{"runs":7}`),
		"a run without number":  frame(frameStop, `{"runs":"orders/0\n"}`),
		"oversize":              head(MaxFrame+1, frameStop, "{}"),
		"length 0":              head(0, frameStop, "{}"),
		"all ones":              head(1<<32-1, 255, ""),
		"unknown specification": frame(frameStart, `{"slot":"a/0","run":1,"spec_id":12}`),
		"long memo":             frame(frameAck, fmt.Sprintf(`{"slot":"orders/0","run":1,"memo":%q}`, strings.Repeat("A", 4*MaxMemo))),
		"half a frame and away": head(100, frameStop, "{")[:6],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			l, _ := r.connect()
			spec := r.spec(slot0, "exec sleep 1000")
			st := l.start(slot0, 1, spec)
			if b == nil {
				l.ask(l.Start(StartRequest{Slot: slot0, Run: 1, Spec: spec}))
			} else if _, err := l.raw.Write(b); err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "away") {
				l.raw.(*net.UnixConn).CloseWrite()
			} else {
				defer func() {
					if !strings.Contains(r.stderr(), "engine dropped") {
						t.Error("no reason is given")
					}
				}()
			}
			l.waitGone()
			l, slots := r.connect()
			if slots[slot0].PID != st.PID || slots[slot0].Stopping != StepNone || l.hello.Engines != 2 {
				t.Errorf("%+v, %+v", l.hello, slots)
			}
		})
	}
}

func TestFramesBeforeTheirTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	early, err := appendFrame(nil, frameStart, start{Slot: slot0, Run: 1, SpecID: 1, Spec: new(Spec)})
	if err != nil {
		t.Fatal(err)
	}
	hello, err := appendFrame(nil, frameHello, Hello{Version: Version})
	if err != nil {
		t.Fatal(err)
	}
	old, err := appendFrame(nil, frameHello, Hello{Version: Version + 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range [][]byte{early, append(hello, early...), old} {
		if _, err := r.dial().raw.Write(b); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the engine is dropped", func() bool { return strings.Count(r.stderr(), "engine dropped") == i+1 })
	}
	if _, slots := r.connect(); len(slots) != 0 {
		t.Errorf("%+v", slots)
	}
}

// An engine that stops reading is replaced before it costs the keeper memory.
func TestEngineThatDoesNotRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := r.dial()
	hello, err := appendFrame(nil, frameHello, Hello{Version: Version})
	if err != nil {
		t.Fatal(err)
	}
	list, err := appendFrame(nil, frameList, struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.raw.Write(hello); err != nil {
		t.Fatal(err)
	}
	burst := []byte(strings.Repeat(string(list), 10000))
	l.raw.SetWriteDeadline(time.Now().Add(patience))
	for { // an empty list is 7 bytes: it takes a while to 4 MiB
		if _, err := l.raw.Write(burst); err != nil {
			break
		}
	}
	r.connect()
	if !strings.Contains(r.stderr(), "does not read") {
		t.Errorf("keeper's log: %s", r.stderr())
	}
	if kb := field(t, r.cmd.Process.Pid, "VmHWM"); len(kb) > len("999999 kB") {
		t.Errorf("the keeper took %s", kb)
	}
}

func TestEngineThatExitsCleanlyComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 3 {
		l, _ := r.connect()
		l.ctl.Close() // exit 0, without a Quit
		l.waitGone()
	}
	l, _ := r.connect()
	if l.hello.Engines != 4 {
		t.Errorf("%+v", l.hello)
	}
}

// A quit counts even if the engine exits right after it.
func TestQuitThenExit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.start(slot0, 1, r.consumer(slot0, "on-term", "200ms", "0"))
	r.says(slot0, "ready")
	b, err := appendFrame(nil, frameQuit, QuitRequest{Code: 78})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.raw.Write(b); err != nil {
		t.Fatal(err)
	}
	l.ctl.Close()
	if c := r.code(); c != 78 {
		t.Errorf("exit status %d", c)
	}
	if childrenOf(t, 1) < 0 || alive(l.pid) {
		t.Error("the engine lives on")
	}
}
