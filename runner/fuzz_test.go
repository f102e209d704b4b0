package runner

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"qsuper/slot"
)

// A file of intents is refused, or understood and written again as it was.
func FuzzIntents(f *testing.F) {
	f.Add([]byte(`{"version":1,"keeper":"2026-11-21T19:40:00Z","consumers":{"orders":{"stopped":"by root","slots":{"3":"by anna"},"count":4}}}`))
	f.Add([]byte(`{"consumers":{"":{"gone":"2026-11-21T19:40:00Z","paused":"x"}}}`))
	f.Add([]byte(`{"consumers":null}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir, keeper := t.TempDir(), time.Unix(1e9, 0)
		if err := os.WriteFile(filepath.Join(dir, "intents.json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := loadIntents(dir, keeper)
		if err != nil {
			return
		}
		nobody := func(string) bool { return false }
		for range 2 {
			if err := s.settle(nobody, keeper); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.change([]string{"another"}, func(_ string, i *intent) { i.Stopped = "by root" }); err != nil {
			t.Fatal(err)
		}
		again, err := loadIntents(dir, keeper)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if d := cmp.Diff(s.data, again.data, cmpopts.EquateEmpty()); d != "" {
			t.Error(d)
		}
	})
}

// A memo of another engine, be it of another version or damaged, leads to a slot
// that can go on.
func FuzzMemo(f *testing.F) {
	f.Add([]byte(`{"f":"x","n":3,"q":1,"h":true,"w":"permanent","t":"exit 3","x":[{"r":7,"c":3,"k":"permanent","a":1700000000000,"d":5}]}`))
	f.Add([]byte(`{"n":-5,"d":-9223372036854775808,"w":"backoff"}`))
	f.Add([]byte(`{"d":9223372036854775807,"x":[{},{},{},{},{},{},{},{},{},{},{},{},{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		u, now := &unit{}, time.Unix(1e9, 0)
		_ = u.recall(raw, time.Hour, now)
		if p := u.state.Phase; p != slot.Waiting && p != slot.Halted {
			t.Errorf("phase %v", p)
		}
		if u.state.Failures < 0 || u.state.Quick < 0 {
			t.Errorf("%d failures, %d quick exits", u.state.Failures, u.state.Quick)
		}
		if len(u.exits) > keepExits {
			t.Errorf("%d exits", len(u.exits))
		}
		if due := u.state.Deadline; !due.IsZero() && due.After(now.Add(time.Hour)) {
			t.Errorf("it waits until %v", due)
		}
		_ = u.memo(nil)
	})
}
