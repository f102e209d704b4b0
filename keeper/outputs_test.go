package keeper

import (
	"path"
	"testing"
)

// What processes print is counted for their consumer: over all its slots, and when
// a slot has gone.
func TestOutputsAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	printed := func() map[string]uint64 {
		if err := l.Outputs(); err != nil {
			t.Fatal(err)
		}
		return get[Outputs](l).Bytes
	}
	other := path.Dir(slot0) + "/1"
	for _, slot := range []string{slot0, other, "mails/0"} {
		l.start(slot, 1, r.spec(slot, "echo 9 bytes.; exec sleep 1000"))
	}
	eventually(t, "27 bytes of two consumers are counted", func() bool {
		p := printed()
		return p[path.Dir(slot0)] == 18 && p["mails"] == 9 && len(p) == 2
	})
	if err := l.Stop(StopRequest{Slot: other, Run: 1, Now: true, Stop: r.spec(other, "").Stop}); err != nil {
		t.Fatal(err)
	}
	get[Exited](l)
	if err := l.Ack(AckRequest{Slot: other, Run: 1}); err != nil {
		t.Fatal(err)
	}
	if err := l.Drop(DropRequest{Slot: other}); err != nil {
		t.Fatal(err)
	}
	if p := printed(); p[path.Dir(slot0)] != 18 {
		t.Errorf("after one of two slots has gone: %v", p)
	}
}
