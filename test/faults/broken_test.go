package faults

import (
	"fmt"
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

// A daemon with a state directory of its own and the socket of another one would
// run the whole fleet a second time. It does not start, by no command.
func sameSocket(t *testing.T) {
	f := startFleet(t, talkers(2))
	f.begun(2)
	before := f.pids()
	text, err := os.ReadFile(f.Path("qsuper.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	other := f.Path("other.yaml")
	if err := os.WriteFile(other, []byte(strings.Replace(string(text), "state_dir: state", "state_dir: state2", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := f.Run("run", "-c", other); r.Code != 75 || !strings.Contains(r.Stderr, fmt.Sprintf("with pid %d and another state directory", f.Cmd.Process.Pid)) {
		t.Errorf("run: exit %d, %s", r.Code, r.Stderr)
	}
	if _, err := os.Stat(f.Path("state2")); err == nil {
		t.Error("it has touched its state directory")
	}
	f.samePIDs(before)
	f.begunOnly(2)
	f.quiesce(0)
	f.linesWhole(false)
}

// With no space for anything the daemon ends at once, and who started it is told
// where to look.
func startOnFullDisk(t *testing.T) {
	f := newFleet(t)
	f.Write(f.file("", talkers(1)))
	for _, dir := range []string{"state", "logs"} {
		f.fill(f.smallDisk(dir, "64k"))
	}
	if r := f.Run("start"); r.Code != 1 || !strings.Contains(r.Stderr, "is the disk full?") {
		t.Errorf("start: exit %d, %s", r.Code, r.Stderr)
	}
	if r := f.Run("run"); r.Code != 1 || !strings.Contains(r.Stderr, "no space left on device") {
		t.Errorf("run: exit %d, %s", r.Code, r.Stderr)
	}
	f.begunOnly(0)
}

// Somebody removes the state directory under a daemon. It goes on, says what it cannot
// remember, and no second one takes its place.
func stateDirRemoved(t *testing.T) {
	f := startFleet(t, talkers(3))
	f.begun(3)
	before := f.pids()
	if err := os.RemoveAll(f.Path("state")); err != nil {
		t.Fatal(err)
	}
	f.alive()
	if r := f.Run("run"); r.Code != 75 {
		t.Errorf("a second daemon: exit %d, %s", r.Code, r.Stderr)
	}
	f.samePIDs(before)
	f.truth()
	if r := f.Run("pause", "talk"); !strings.Contains(r.Stderr, "cannot be remembered") {
		t.Errorf("pause: exit %d, %s", r.Code, r.Stderr)
	}
	f.quiesce(0)
	f.begunOnly(3)
}
