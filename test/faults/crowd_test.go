package faults

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"qsuper/test/rig"
)

// Cases of what comes in crowds, and of what one message does to all that take it.
var crowdFaults = []fault{
	{name: "P22_TenThousandZombies", score: 9, run: zombies},
	{name: "F037_PoisonIsNamed", score: 12, run: poisonNamed},
}

// zombiesOf counts the children of a process that have ended and were not reaped.
func zombiesOf(parent int) (n int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[0] == "Z" && f[1] == fmt.Sprint(parent) {
			n++
		}
	}
	return n
}

// A consumer reaps none of its ten thousand children. Nobody else notices; when it ends
// they are the keeper's, which has none a moment later, and its slot is free. With
// cgroups and without.
func zombies(t *testing.T) {
	const crowd = 10_000
	for _, way := range []string{"on", "off"} {
		t.Run("cgroups "+way, func(t *testing.T) {
			f := newFleet(t)
			f.Write(f.file("", talkers(4), crew("lazy", fmt.Sprintf("zombies %d", crowd), "stop: {grace: 60s}")))
			f.StartWith("env", "QSUPER_CGROUPS="+way)
			f.begun(5)
			lazy := f.UntilRunning("lazy", 1).PIDs()[0]
			talk := f.UntilRunning("talk", 4).PIDs()
			if n := zombiesOf(lazy); n != crowd {
				t.Fatalf("it has %d zombies", n)
			}
			f.alive()
			began := time.Now()
			if r := f.Run("restart", "lazy"); r.Code != 0 {
				t.Errorf("restart: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
			}
			t.Logf("restarted within %s", time.Since(began).Round(time.Millisecond))
			f.alive()
			keeper, _ := f.Status()
			eventually(t, rig.Patience, "the keeper has reaped them", func() bool { return zombiesOf(keeper.Daemon.KeeperPID) == 0 })
			f.begun(6)
			if now := f.UntilRunning("talk", 4).PIDs(); fmt.Sprint(now) != fmt.Sprint(talk) {
				t.Errorf("O5 fleet: it was %v and is %v", talk, now)
			}
			f.quiesce(0)
			f.linesWhole(false)
		})
	}
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
