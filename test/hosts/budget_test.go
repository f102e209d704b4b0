package hosts

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"qsuper/test/rig"
	"qsuper/test/witness"
)

// TestBudget has one of two hosts short of processes. It runs what its budget allows,
// with its own work first, and holds no slot beyond that; the other one runs the
// rest. When the budget is larger, it has its part again.
func TestBudget(t *testing.T) {
	i := slices.IndexFunc(lockTypes, func(k lockType) bool { return k.name == "redis" })
	const tight, own = 4, 2
	a := arenaOf(t, lockTypes[i], 2, func(j *witness.Journal, h *host) (keys, consumers string) {
		if h.name == "web1" {
			keys = fmt.Sprintf("  budget: {processes: %d}\n", tight)
			consumers = j.Consumer("own", h.name) + fmt.Sprintf("    instances: %d\n    priority: 10\n", own)
		}
		return keys, consumers + j.Consumer("work", h.name) + fmt.Sprintf("    lock: fleet\n    instances: %d\n    stop: {grace: 5s}\n", shared)
	})
	web1, web2 := a.hosts[0], a.hosts[1]
	count := func() (mine, work, others int) {
		mine, work, others = a.journal.Count(t, "own", "web1"), a.journal.Count(t, "work", "web1"), a.journal.Count(t, "work", "web2")
		return mine, work, others
	}
	rig.Eventually(t, rig.Patience, "every slot runs, most of them where there is room", func() bool {
		mine, work, others := count()
		return mine == own && work == tight-own && others == shared-work
	})
	rig.Eventually(t, rig.Patience, "the store has each slot as that of the host that runs it", func() bool {
		by := web2.slots()
		return by["web1"] == tight-own && by["web2"] == shared-(tight-own)
	})
	// Nor does it take more than it may when the slots are free again.
	web1.Must("stop-workers", "--fleet", "work")
	rig.Eventually(t, rig.Patience, "the same again", func() bool {
		mine, work, others := count()
		return mine == own && work == tight-own && others == shared-work
	})
	if most := together(a.journal.Lives(t), "web1"); most > tight {
		t.Errorf("%d processes on a host that has a budget of %d", most, tight)
	}
	web1.budget(tight, own+shared)
	rig.Eventually(t, rig.Patience, "web2 knows that web1 could run its part", func() bool { return web2.wants() == shared/2 })
	web2.Must("stop-workers", "work") // busy instances are left where they are
	rig.Eventually(t, rig.Patience, "the slots are spread", func() bool {
		_, work, others := count()
		return work == shared/2 && others == shared/2
	})
	v := a.judge()
	if len(v.wrong) > 0 || len(v.parted) > 0 {
		t.Errorf("two at a time: %+v %+v", v.wrong, v.parted)
	}
	for _, h := range a.hosts {
		h.StopAll()
	}
}

// slots counts by host what the store says.
func (h *host) slots() map[string]int {
	h.T.Helper()
	var v fleetView
	h.JSON(&v, "status", "--fleet")
	by := map[string]int{}
	for _, l := range v {
		for _, s := range l.Slots {
			by[s.Host]++
		}
	}
	return by
}

// wants is how many instances of work the host would have by now.
func (h *host) wants() int {
	h.T.Helper()
	var v fleetView
	h.JSON(&v, "status", "--fleet")
	for _, l := range v {
		for _, o := range l.Hosts {
			for _, c := range o.Consumers {
				if o.Host == h.name && c.Name == "work" {
					return c.Wanted
				}
			}
		}
	}
	return -1
}

// budget changes the host's budget in its file.
func (h *host) budget(from, to int) {
	h.T.Helper()
	b, err := os.ReadFile(h.Path("qsuper.yaml"))
	if err != nil {
		h.T.Fatal(err)
	}
	text := strings.Replace(string(b), fmt.Sprintf("budget: {processes: %d}", from), fmt.Sprintf("budget: {processes: %d}", to), 1)
	if err := os.WriteFile(h.Path("qsuper.yaml"), []byte(text), 0o600); err != nil {
		h.T.Fatal(err)
	}
	h.Must("reload")
}

// together is how many processes of a host acted at one time, at most: one that has
// just ended counts no longer when its successor begins.
func together(lives []witness.Life, host string) (most int) {
	for _, x := range lives {
		n := 0
		for _, y := range lives {
			if y.Host == host && y.From <= x.From && x.From <= y.To {
				n++
			}
		}
		if x.Host == host {
			most = max(most, n)
		}
	}
	return most
}
