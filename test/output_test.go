package test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A full log disk stops no consumer, and shows while it lasts: in status, its
// --json, explain and events. When there is room again, a line in the log says
// what is missing although the consumer has nothing more to say.
func TestFullLogDiskShows(t *testing.T) {
	d := newDaemon(t, "")
	d.Write(`
consumers:
  talk: {shell: "echo lost; while [ ! -e ` + d.Path("go") + ` ]; do sleep 0.1; done; echo kept; exec sleep 1000"}
`)
	logs := d.Path("logs")
	if err := os.Mkdir(logs, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", logs, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("mount a tmpfs: %v; run the tests as root, where mounting is allowed", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(logs, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := d.Path("logs/filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	d.Start()
	eventually(t, patience, "status shows the trouble", func() bool {
		out := d.Run("status").Stdout
		return strings.Contains(out, "output of talk cannot be written for") && strings.Contains(out, "no space left on device")
	})
	if r := d.Run("status", "--json"); r.Code != 0 || !strings.Contains(r.Stdout, `"output"`) {
		t.Errorf("code %d, %s", r.Code, r.Stdout)
	}
	for command, says := range map[string]string{"explain": "its output cannot be written", "events": "output cannot be written, the consumer goes on"} {
		if out := d.Run(command, "talk").Stdout; !strings.Contains(strings.Join(strings.Fields(out), " "), says) {
			t.Errorf("%s: %s", command, out)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the log tells of the gap", func() bool {
		raw, _ := os.ReadFile(d.Path("logs/talk.0.log"))
		return strings.Contains(string(raw), "(1 lines) of output lost")
	})
	eventually(t, patience, "status is clean again", func() bool {
		out := d.Run("status", "--verbose").Stdout
		return !strings.Contains(out, "cannot be written")
	})
	if out := d.Run("events").Stdout; !strings.Contains(out, "output is written again after") || !strings.Contains(out, "bytes are missing") {
		t.Errorf("events: %s", out)
	}
	if err := os.WriteFile(d.Path("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "output is kept", func() bool {
		raw, _ := os.ReadFile(d.Path("logs/talk.0.log"))
		return strings.HasSuffix(string(raw), "\nkept\n")
	})
}
