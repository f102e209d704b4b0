package faults

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/test/rig"
	"qsuper/test/servers"
)

// Cases of what may start at once: crashes that have a cause in common, and the
// end of an outage. The engine dies in the middle of both.
var rationFaults = []fault{
	{name: "F018_CrashStormIsHeldAndTried", score: 20, run: crashStorm},
	{name: "F039_DatabaseBackIsNoStampede", score: 12, run: databaseBack},
}

// sinceBoot is the clock of began.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// forks are the moments at which the instances that run were forked, as the kernel
// has noted them, in steps of 10 ms: no delay of anybody's can falsify them.
func (f *fleet) forks(consumer string, n int) (list []time.Duration) {
	f.T.Helper()
	for _, pid := range f.UntilRunning(consumer, n).PIDs() {
		ticks, err := strconv.ParseInt(startTime(pid), 10, 64)
		if err != nil {
			f.T.Fatalf("pid %d: %v", pid, err)
		}
		list = append(list, time.Duration(ticks)*10*time.Millisecond)
	}
	slices.Sort(list)
	return list
}

// Half of a consumer's instances and more crash: all starts are held, one is tried
// now and then, and when it lives the others follow little by little.
func crashStorm(t *testing.T) {
	const n, proof = 8, 2 * time.Second // min_uptime 1 s times 5, bounded by reset_after
	f := newFleet(t)
	f.Write(f.file("", crew("storm", "lines 5 until "+f.Path("gone")+" 3", fmt.Sprintf("instances: %d", n),
		"backoff: {initial: 2s, max: 4s, reset_after: 2s, min_uptime: 1s}")))
	f.Start()
	f.begun(n)
	f.UntilRunning("storm", n)
	if err := os.WriteFile(f.Path("gone"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	storm := now()
	var why rig.Explain
	eventually(t, rig.Patience, "starts are held", func() bool {
		f.JSON(&why, "explain", "storm")
		return why.Gate("breaker").State == "closed"
	})
	for i := range 3 { // each engine goes on with the hold of the one before, also under another keeper
		began := len(f.journal.begins(t))
		if i == 1 {
			f.killKeeper(true)
			f.Start()
		} else {
			f.KillEngine()
		}
		eventually(t, rig.Patience, "one more is tried, and crashes", func() bool {
			return len(f.journal.begins(t)) > began && f.Consumer("storm").Running == 0
		})
		f.JSON(&why, "explain", "storm")
		if g := why.Gate("breaker"); g.State != "closed" {
			t.Errorf("after a new engine the gate says %+v", g)
		}
	}
	// A pause is at least half of 2 s; one more may be under way.
	if tried, most := len(f.journal.begins(t))-n, 2+int((now()-storm)/time.Second); tried > most {
		t.Errorf("O10 rate: %d were tried in %s, at most %d", tried, now()-storm, most)
	}
	if err := os.Remove(f.Path("gone")); err != nil {
		t.Fatal(err)
	}
	eventually(t, rig.Patience, "one is tried and lives", func() bool { return f.Consumer("storm").Running > 0 })
	f.KillEngine()
	forks := f.forks("storm", n)
	if gap := forks[1] - forks[0]; gap < proof-20*time.Millisecond {
		t.Errorf("the second was started %s after the one tried, which has to live for %s first: %v", gap, proof, forks)
	}
	if three := forks[n-1] - forks[0]; three < proof+time.Second-20*time.Millisecond {
		t.Errorf("all %d were started within %s: %v", n, three, forks)
	}
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}

// A database comes back, and everybody waits for it: twice as many may start each
// second, whatever becomes of the engine meanwhile.
func databaseBack(t *testing.T) {
	const n = 32
	server := servers.MariaDB(t)
	f := newFleet(t)
	f.Write(f.file("  start_rate: 0\nconnections:\n  db: {type: mysql, dsn: \""+server.DSN("")+"\", timeout: 500ms}\n",
		crew("needy", "lines 5 until "+f.Path("gone")+" 1", fmt.Sprintf("instances: %d", n), "requires: [db]", "backoff: {initial: 100ms, max: 500ms}")))
	f.Start()
	f.begun(n)
	f.UntilRunning("needy", n)
	server.Kill(t)
	state := func(want string) func() bool {
		return func() bool {
			st, _ := f.Status()
			return len(st.Connections) == 1 && st.Connections[0].State == want
		}
	}
	eventually(t, rig.Patience, "the database is down", state("down"))
	if err := os.WriteFile(f.Path("gone"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, rig.Patience, "all have exited", func() bool { return f.Consumer("needy").Running == 0 })
	f.KillEngine()
	eventually(t, rig.Patience, "the next engine sees it", state("down"))
	if err := os.Remove(f.Path("gone")); err != nil {
		t.Fatal(err)
	}
	began := len(f.journal.begins(t))
	up := sinceBoot() // before it is
	server.Start(t)
	f.begun(began + 1)
	f.KillEngine()
	for k, at := range f.forks("needy", n) {
		if earliest := up + time.Duration(math.Log2(float64(k+1))*float64(time.Second)); at < earliest-20*time.Millisecond {
			t.Errorf("O10 rate: instance %d of %d was started %s after the database, at least %s were due", k+1, n, at-up, earliest-up)
		}
	}
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}
