package pidfile

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Whatever is in the record of runs, who opens it gets processes that can be, and
// can write into it.
func FuzzRuns(f *testing.F) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	r, _, err := OpenRuns(dir)
	if err != nil {
		f.Fatal(err)
	}
	if err := r.Put(Run{Slot: "orders/0", Run: 7, PID: 812, Began: 1000, Started: 2000, Tag: "tag"}); err != nil {
		f.Fatal(err)
	}
	if err := r.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, runsName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(append([]byte("qsuper runs, boot "), boot...))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, runsName)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, runsName), text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, left, err := OpenRuns(dir)
		if err != nil {
			return
		}
		for _, run := range left {
			if run.PID <= 1 || run.Slot == "" {
				t.Errorf("%+v", run)
			}
		}
		if err := r.Put(Run{Slot: "new/0", Run: 1, PID: 4711, Began: 1, Started: 2}); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		_, left, err = OpenRuns(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range left {
			if run.Slot == "new/0" && run.PID == 4711 {
				return
			}
		}
		t.Errorf("what was put is not there: %+v", left)
	})
}

// The record of crashes is for people; it may be anything.
func FuzzCrashes(f *testing.F) {
	f.Add([]byte(`{"keeper":5,"count":3,"code":1,"signal":0,"at":"2026-11-21T19:40:00Z","next":"2026-11-21T19:40:05Z"}`))
	f.Add([]byte(`{"keeper":5,"next":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, crashesName), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, ok := ReadCrashes(dir, 5); ok && c.Keeper != 5 {
			t.Errorf("%+v", c)
		}
		want := Crashes{Keeper: 6, Count: 1, At: time.Unix(1e9, 0).UTC(), Next: time.Unix(1e9, 0).UTC()}
		if err := NoteCrashes(dir, want); err != nil {
			t.Fatal(err)
		}
		if c, ok := ReadCrashes(dir, 6); !ok || c != want {
			t.Errorf("%+v", c)
		}
	})
}
