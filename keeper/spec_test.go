package keeper

import (
	"encoding/json"
	"testing"
)

// Of a slot that differs from the one before it in what is its own, only that is
// sent, and the keeper has the whole.
func TestSpecOfItsOwn(t *testing.T) {
	limit := uint32(0o022)
	first := Spec{
		Path: "/bin/work", Argv: []string{"work", "-q"}, Env: []string{"A=1", "B=2"}, Own: []string{"QSUPER_SLOT=0"}, Dir: "/srv",
		Umask: &limit, Lock: "/locks/a.0", FIFO: "/fifo/a.0", Log: Log{To: "file", Path: "/log/a.0", Keep: 3, Consumer: "a"},
		Stop: Stop{Signal: 15, Scope: "group", Grace: 5}, Tag: "x",
	}
	second := first
	second.Argv, second.Own, second.Dir = []string{"work", "-1"}, []string{"QSUPER_SLOT=1"}, "/srv/1"
	second.Lock, second.FIFO, second.Log.Path, second.Log.Slot = "/locks/a.1", "/fifo/a.1", "/log/a.1", 1

	text, err := json.Marshal(second.own(&first))
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode[*own](text)
	if err != nil || got == nil {
		t.Fatalf("%s: %v, %v", text, got, err)
	}
	if s := got.spec(&first); !s.Equal(&second) {
		t.Errorf("%s became %+v, not %+v", text, s, second)
	}
	for what, change := range map[string]func(*Spec){
		"environment": func(s *Spec) { s.Env = []string{"A=1", "B=3"} },
		"umask":       func(s *Spec) { s.Umask = nil },
		"grace":       func(s *Spec) { s.Stop.Grace = 6 },
		"log":         func(s *Spec) { s.Log.Keep = 4 },
		"limit":       func(s *Spec) { s.Limits.PIDs = 1 },
		"tag":         func(s *Spec) { s.Tag = "y" },
	} {
		other := second
		change(&other)
		if o := other.own(&first); o != nil {
			t.Errorf("another %s is left out: %+v", what, o)
		}
	}
	if first.own(nil) != nil {
		t.Error("there is nothing before the first")
	}
}
