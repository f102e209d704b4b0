package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"qsuper/test/rig"
)

var followFaults = []fault{
	{name: "F001_FollowersOfAKilledEngine", score: 20, run: followersSurvive},
}

// follower is a `qsuper logs -f` or `events -f` of a terminal that stays open.
type follower struct {
	cmd    *exec.Cmd
	output string // a file
	ended  chan error
}

func (f *fleet) follow(name string, args ...string) *follower {
	f.T.Helper()
	w := &follower{cmd: exec.Command(rig.Binary, args...), output: f.Path(name), ended: make(chan error, 1)}
	w.cmd.Env = append(os.Environ(), "QSUPER_CONFIG="+f.Path("qsuper.yaml"))
	file, err := os.Create(w.output)
	if err != nil {
		f.T.Fatal(err)
	}
	defer file.Close()
	w.cmd.Stdout = file
	if err := w.cmd.Start(); err != nil {
		f.T.Fatal(err)
	}
	go func() { w.ended <- w.cmd.Wait() }()
	f.T.Cleanup(func() { _ = w.cmd.Process.Kill() })
	return w
}

// lines are those that have come so far, whole.
func (w *follower) lines(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(w.output)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(b[:bytes.LastIndexByte(b, '\n')+1]), "\n")
}

// Who follows output or events goes on over the engine's death and over an
// upgrade: each line once and in order, each transition at most once, and where
// one may be missing it is said. It ends with the daemon.
func followersSurvive(t *testing.T) {
	const n = 3
	f := startFleet(t, fmt.Sprintf("  sh:\n    command: [/bin/sh, -c, 'i=0; while :; do i=$$((i+1)); echo \"tick $$i\"; sleep 0.05; done']\n    instances: %d\n    logs: {max_size: 64KiB, keep: 9}\n", n),
		crew("brief", "life 300ms", "backoff: {initial: 100ms, max: 300ms}"))
	f.UntilRunning("sh", n)
	output := f.follow("followed", "logs", "-f", "-n", "100000", "sh")
	events := f.follow("happened", "events", "-f", "-n", "100000", "--json")
	eventually(t, rig.Patience, "lines come", func() bool { return len(output.lines(t)) > 50 })
	for i := range 4 {
		if i == 2 {
			f.Must("upgrade")
		} else {
			f.KillEngine()
		}
		have := len(output.lines(t))
		eventually(t, rig.Patience, "lines come again", func() bool { return len(output.lines(t)) > have+30 })
	}
	have := len(events.lines(t))
	eventually(t, rig.Patience, "events come again", func() bool { return len(events.lines(t)) > have+3 })
	f.quiesce(0)
	for _, w := range []*follower{output, events} {
		if err := <-w.ended; err != nil {
			t.Errorf("%s ended with %v", w.cmd.Args, err)
		}
	}
	seen := map[string]int{}
	for _, line := range output.lines(t) {
		var who string
		var tick int
		if line == "" {
			continue
		}
		if k, err := fmt.Sscanf(strings.ReplaceAll(line, "|", " "), "%s tick %d", &who, &tick); k != 2 || err != nil {
			t.Errorf("O3 lines: %q", line)
		} else if tick != seen[who]+1 {
			t.Errorf("O3 lines: %s: tick %d after %d", who, tick, seen[who])
		}
		seen[who] = tick
	}
	if len(seen) != n {
		t.Errorf("lines of %d instances", len(seen))
	}
	told, gaps := map[string]bool{}, 0
	for _, line := range events.lines(t) {
		var e struct{ Cursor, Reason string }
		if err := json.Unmarshal([]byte(line), &e); err != nil && line != "" {
			t.Errorf("%q: %v", line, err)
		}
		switch {
		case strings.Contains(e.Reason, "events may be missing here"):
			gaps++
		case line != "" && (e.Cursor == "" || told[e.Cursor]):
			t.Errorf("an event is told twice: %s", line)
		}
		told[e.Cursor] = true
	}
	if gaps != 4 {
		t.Errorf("%d gaps are told of, the engine was replaced 4 times", gaps)
	}
}
