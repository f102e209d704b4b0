package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// footprint is what a process of the daemon holds.
type footprint struct {
	fds, threads int
	rss          int // KiB
}

func footprintOf(t *testing.T, pid int) footprint {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := footprint{fds: len(fds)}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		switch fields[0] {
		case "Threads:":
			f.threads, _ = strconv.Atoi(fields[1])
		case "VmRSS:":
			f.rss, _ = strconv.Atoi(fields[1])
		}
	}
	return f
}

// Ten thousand starts and ends leave no descriptor, no thread and no memory
// behind in either process (a goroutine that is left behind is memory).
func TestTenThousandRunsLeaveNothingBehind(t *testing.T) {
	const warm, runs = 2000, 10_000
	d := startDaemon(t, `  start_rate: 0
consumers:
  short: {command: [/bin/true], instances: 4, backoff: {min_uptime: 0s}}
`)
	st, _ := d.Status()
	pids := map[string]int{"keeper": st.Daemon.KeeperPID, "engine": st.Daemon.EnginePID}
	reach := func(n uint64) {
		eventually(t, patience, fmt.Sprintf("%d runs", n), func() bool {
			c := d.Consumer("short")
			return c.Exits >= n
		})
	}
	reach(warm)
	before := map[string]footprint{}
	for name, pid := range pids {
		before[name] = footprintOf(t, pid)
	}
	reach(warm + runs)
	d.Must("pause", "short")
	for name, pid := range pids {
		then, now := before[name], footprintOf(t, pid)
		t.Logf("%s: %+v after %d runs, %+v after %d", name, then, warm, now, warm+runs)
		// Runs under way hold some; threads and memory vary a little by themselves.
		if now.fds > then.fds+8 || now.threads > then.threads+4 || now.rss > then.rss+8<<10 {
			t.Errorf("%s grows: %+v, then %+v", name, then, now)
		}
	}
	d.StopAll()
}
