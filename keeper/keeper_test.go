package keeper

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestRunFromStartToQuit(t *testing.T) {
	r := newRig(t)
	l, slots := r.connect()
	if l.hello.PID != r.cmd.Process.Pid || l.hello.Engines != 1 || len(slots) != 0 {
		t.Fatalf("hello %+v, slots %v", l.hello, slots)
	}
	st := l.start("orders/0", 1, r.spec("orders/0", "echo hello; echo no newline >&2; exit 3"))
	got := get[Exited](l)
	want := Exited{Slot: "orders/0", Run: 1, PID: st.PID, Code: 3}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Exited{}, "At", "Ran", "CPU", "MaxRSS")); d != "" {
		t.Error(d)
	}
	if got.Ran <= 0 || got.Ran > time.Minute || time.Since(got.At).Abs() > time.Minute {
		t.Errorf("ran %v, ended at %v", got.Ran, got.At)
	}
	if b, err := os.ReadFile(r.logPath("orders/0")); string(b) != "hello\nno newline\n" {
		t.Errorf("log %q, %v", b, err)
	}
	if err := l.Quit(QuitRequest{Code: 7}); err != nil {
		t.Fatal(err)
	}
	if c := r.code(); c != 7 {
		t.Errorf("exit status %d; the keeper's log:\n%s", c, r.stderr())
	}
}
