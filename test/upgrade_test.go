package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"qsuper/test/rig"
)

// talking is a fleet that prints numbered lines without an end, and says when a
// signal comes; CONT follows every stop.
const talking = `consumers:
  talk:
    command: [/bin/sh, -c, 'trap stop=1 TERM; for s in HUP INT QUIT USR1 USR2; do trap "echo signal" $s; done; i=0;
      while test -z "$stop"; do i=$((i+1)); printf "line "; echo "$i."; test $((i %% 20)) = 0 && sleep 0.02; done; echo end']
    instances: %d
    spawn: always
`

// buildAs builds a binary that says it has this version.
func buildAs(t *testing.T, path, version string) {
	t.Helper()
	build := exec.Command("go", "build", "-ldflags", "-X main.release="+version, "-o", path, "qsuper/cmd/qsuper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}

// Another version takes over, and back, under a fleet that talks all the time.
func TestUpgrade(t *testing.T) {
	const instances = 20
	d := newDaemon(t, fmt.Sprintf(talking, instances))
	own, next := d.Path("qsuper"), d.Path("next")
	buildAs(t, own, "v1.0.0")
	buildAs(t, next, "v2.0.0")
	d.Binary = own
	d.Start()
	before := d.UntilRunning("talk", instances).PIDs()
	eventually(t, patience, "all of them talk", func() bool { return talked(t, d, instances) > 0 })

	// In place of the old binary, as packages are upgraded.
	if err := os.Rename(next, own); err != nil {
		t.Fatal(err)
	}
	r := d.Must("upgrade")
	if want := fmt.Sprintf("upgraded the daemon test from v1.0.0 to v2.0.0: pid %d, %s\n", d.Cmd.Process.Pid, own); r.Stdout != want {
		t.Errorf("%q, not %q", r.Stdout, want)
	}
	t.Logf("upgraded in %v", r.Took)
	st, _ := d.Status()
	if st.Daemon.Version != "v2.0.0" || st.Daemon.KeeperPID != d.Cmd.Process.Pid {
		t.Errorf("%+v", st.Daemon)
	}
	for range 3 { // to the binary that all other tests use, and again
		var report struct {
			From, To, Binary string
			KeeperPID        int `json:"keeper_pid"`
		}
		if r := d.JSON(&report, "upgrade", "--binary", rig.Binary); r.Code != 0 || report.Binary != rig.Binary || report.KeeperPID != d.Cmd.Process.Pid {
			t.Errorf("exit %d, %+v", r.Code, report)
		}
	}
	if after := d.UntilRunning("talk", instances).PIDs(); !slices.Equal(after, before) {
		t.Errorf("pids %v became %v", before, after)
	}
	n := talked(t, d, instances)
	eventually(t, patience, "they go on talking", func() bool { return talked(t, d, instances) > n })
	d.StopAll()
	t.Logf("the shortest log has %d lines", talked(t, d, instances))
}

// talked checks that all logs have whole lines in order, and returns how many the
// shortest has.
func talked(t *testing.T, d *rig.Daemon, instances int) int {
	t.Helper()
	files, _ := filepath.Glob(d.Path("logs/talk*.log"))
	if len(files) != instances {
		return 0
	}
	least := int(^uint(0) >> 1)
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(string(b)) {
			if line == "end\n" {
				continue
			}
			n++
			if want := fmt.Sprintf("line %d.\n", n); line != want && (strings.HasSuffix(line, "\n") || !strings.HasPrefix(want, line)) {
				t.Fatalf("%s: line %d is %q", filepath.Base(name), n, line)
			}
		}
		least = min(least, n)
	}
	return least
}

// Whatever is wrong with the new binary or the file, the old one stays in charge.
func TestUpgradeRefused(t *testing.T) {
	d := startDaemon(t, fmt.Sprintf(talking, 2))
	before := d.UntilRunning("talk", 2).PIDs()
	st, _ := d.Status()
	silent := d.Path("silent")
	if err := os.WriteFile(silent, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		d.Path("none"): "no such file", silent: "is not a qsuper that can take over", d.Path("qsuper.yaml"): "permission denied", d.Dir: "is not a file",
	} {
		if r := d.Run("upgrade", "--binary", path); r.Code != 1 || !strings.Contains(r.Stderr, says) || !strings.Contains(r.Stderr, "the old binary stays in charge") {
			t.Errorf("%s: exit %d, %q", path, r.Code, r.Stderr)
		}
	}
	d.Write("consumers:\n  talk: {comand: [x]}\n")
	if r := d.Run("upgrade"); r.Code != 78 || !strings.Contains(r.Stderr, "comand") {
		t.Errorf("a wrong file: exit %d, %q", r.Code, r.Stderr)
	}
	now, _ := d.Status()
	if now.Daemon.EnginePID != st.Daemon.EnginePID || !slices.Equal(before, d.UntilRunning("talk", 2).PIDs()) {
		t.Errorf("%+v became %+v", st.Daemon, now.Daemon)
	}
	d.Write(fmt.Sprintf(talking, 2))
	if r := d.Must("upgrade"); r.Took > 20*time.Second {
		t.Errorf("it took %v", r.Took)
	}
	d.StopAll()
}
