package faults

import (
	"os"
	"strings"
	"testing"

	"qsuper/test/rig"
)

// A file in the middle of being edited keeps nobody from the daemon that runs it,
// and leads nobody to another's.
func brokenFile(t *testing.T) {
	f := startFleet(t, talkers(2))
	f.begun(2)
	good := f.file("", talkers(2))
	f.Write(good + "  x: [\n    - : }\n")
	for _, args := range [][]string{{"status"}, {"logs", "-n", "1"}, {"explain", "talk"}, {"events"}, {"pause", "talk"}, {"resume", "talk"}} {
		if r := f.Run(args...); r.Code != 0 && r.Code != 3 || !strings.Contains(r.Stderr, "qsuper.yaml cannot be read") {
			t.Errorf("%v: exit %d, %s", args, r.Code, r.Stderr)
		}
	}
	if r := f.Run("reload"); r.Code != 78 {
		t.Errorf("reload: exit %d", r.Code)
	}
	// The same text elsewhere names the same socket, but is not what that daemon runs.
	text, err := os.ReadFile(f.Path("qsuper.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	other := f.Path("other.yaml")
	if err := os.WriteFile(other, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := f.Run("stop", "-c", other); r.Code != 78 {
		t.Errorf("stop with another's file: exit %d, %s", r.Code, r.Stderr)
	}
	f.UntilRunning("talk", 2)
	if r := f.Run("stop"); r.Code != 0 {
		t.Errorf("stop: exit %d, %s", r.Code, r.Stderr)
	}
	eventually(t, rig.Patience, "the keeper ends", f.Over)
	if r := f.Run("status"); r.Code != 78 {
		t.Errorf("status without a daemon: exit %d, %s", r.Code, r.Stderr)
	}
	f.noLeftovers()
}
