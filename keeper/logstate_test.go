package keeper

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The engine is told once when a log cannot be written, and once when it can; the
// next engine learns it from the list.
func TestLogTroubleIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	spec := r.spec(slot0, "echo lost; exec sleep 1000")
	dir := filepath.Join(r.dir, "logs")
	spec.Log.Path = filepath.Join(dir, "a.log")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file in the place of the directory
		t.Fatal(err)
	}
	l.start(slot0, 1, spec)
	m := get[LogTrouble](l)
	if m.Slot != slot0 || !strings.Contains(m.Log.Degraded, spec.Log.Path) || m.Log.Since.IsZero() || m.Log.Dropped != 5 {
		t.Errorf("%+v", m)
	}
	l.kill()
	l, slots := r.connect()
	if got := slots[slot0].Log; got.Degraded != m.Log.Degraded || !got.Since.Equal(m.Log.Since) {
		t.Errorf("the next engine sees %+v, not %+v", got, m.Log)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if m := get[LogTrouble](l); m.Log.Degraded != "" || !m.Log.Since.IsZero() || m.Log.Dropped != 5 {
		t.Errorf("%+v", m)
	}
}
