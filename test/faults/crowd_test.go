package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"qsuper/test/rig"
)

// Cases of many at once, and of what one message does to all that take it.
var crowdFaults = []fault{
	{name: "F037_PoisonIsNamed", score: 12, run: poisonNamed},
	{name: "F007_AllStopAtOnce", score: 15, run: allAtOnce},
	{name: "F013_TwentyAtFiveMegabytes", score: 12, kind: slow, run: twentyAtFive},
}

// One message makes everybody crash who takes it: the crashes come at the same age while
// the depth stands still. Explain says so, until messages go again.
func poisonNamed(t *testing.T) {
	b := newBroker(t, 50)
	f := newFleet(t)
	f.Write(f.file(b.connection(), "  sick:\n    command: [sh, -c, 'sleep 1; exit 3']\n    queue: {connection: broker, path: /depth}\n"+
		"    backoff: {initial: 100ms, max: 200ms}\n", talkers(1)))
	f.Start()
	f.begun(1)
	named := func() bool { return strings.Contains(f.Must("explain", "sick").Stdout, "one message may be poison") }
	eventually(t, 2*rig.Patience, "the crashes are explained", named)
	if s := f.Must("explain", "sick").Stdout; !strings.Contains(s, "50 messages stand still") {
		t.Errorf("explain does not say how many wait:\n%s", s)
	}
	b.mu.Lock()
	b.ready = 20
	b.mu.Unlock()
	eventually(t, rig.Patience, "messages go, and nothing is said of poison", func() bool { return !named() })
	f.Must("stop", "sick")
	f.quiesce(0)
	f.linesWhole(false)
}

// Three groups need three seconds each to finish: all of them are asked before any has
// ended, so that it takes three seconds and not nine.
func allAtOnce(t *testing.T) {
	var groups []string
	for _, name := range []string{"one", "two", "three"} {
		groups = append(groups, crew(name, "lines 20 finish 3s", "instances: 2", "group: "+name, "stop: {grace: 60s}"))
	}
	f := startFleet(t, groups...)
	f.begun(6)
	for _, name := range []string{"one", "two", "three"} {
		f.UntilRunning(name, 2)
	}
	f.quiesce(0)
	last, first := time.Duration(0), time.Duration(1<<62)
	for _, r := range f.journal.of(t, "signal") {
		last = max(last, r.At)
	}
	ends := f.journal.of(t, "end")
	for _, r := range ends {
		first = min(first, r.At)
	}
	if len(ends) != 6 || last == 0 || last > first {
		t.Errorf("%d have ended, the first of them %s after the last was asked", len(ends), first-last)
	}
	f.linesWhole(false)
}

// Twenty consumers write five megabytes a second each, as far as the machine goes, and
// their logs are rotated every megabyte.
func twentyAtFive(t *testing.T) {
	const n, lines = 20, 30_000
	f := startFleet(t, crew("talk", fmt.Sprintf("lines 5000 limit %d pad 1000", lines), fmt.Sprintf("instances: %d", n), "logs: {max_size: 1MiB, keep: 100}"))
	f.begun(n)
	eventually(t, 3*rig.Patience, "all lines are written", func() bool {
		done := map[string]bool{}
		for _, r := range f.journal.of(t, "tick") {
			if r.Lines == lines {
				done[r.Slot] = true
			}
		}
		return len(done) == n
	})
	f.alive()
	last, worst := map[string]time.Duration{}, time.Duration(0)
	for _, r := range f.journal.of(t, "tick") {
		if was := last[r.Slot]; was > 0 {
			worst = max(worst, r.At-was)
		}
		last[r.Slot] = r.At
	}
	t.Logf("no consumer was silent for more than %s", worst.Round(time.Millisecond))
	f.quiesce(0)
	if got := f.linesWhole(false); got != n*lines {
		t.Errorf("%d lines, expected %d", got, n*lines)
	}
}
