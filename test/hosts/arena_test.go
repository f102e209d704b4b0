// Package hosts has daemons share slots as the hosts of a fleet would: each in a
// network namespace and a control group of its own, with a real lock server that
// each reaches through a proxy of its own. Hosts, networks and servers are harmed;
// the consumers write down when they act (test/witness), and an oracle judges
// whether that is what docs/shared-slots.md promises.
//
// QSUPER_HOSTS=all runs every fault, the name of one that one alone; nothing: those
// that are worth running with every change. QSUPER_SOAK is how long random faults go on for each lock type,
// QSUPER_SEED does them again.
package hosts

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"qsuper/test/rig"
	"qsuper/test/witness"
)

func TestMain(m *testing.M) {
	witness.Main()
	os.Exit(rig.Main(m))
}

// What runs: eight slots that are shared, and two in which there must never be two.
const (
	shared    = 8
	exclusive = 2
)

// arena is one lock server and the hosts that share it.
type arena struct {
	t       *testing.T
	kind    lockType
	server  lockServer
	sw      space
	hosts   []*host
	journal *witness.Journal
	harm    []*harm // what has been done so far
	report  *report
}

// host is a machine of its own, as far as its daemon can see.
type host struct {
	*rig.Daemon
	name  string
	n     int
	space space
	group group
	proxy *proxy

	stopped int // a process of the daemon that was stopped
	carried int // orders of the fleet that it had carried out before
}

func newArena(t *testing.T, kind lockType, hosts int) *arena {
	return arenaOf(t, kind, hosts, func(j *witness.Journal, h *host) (string, string) {
		return "", j.Consumer("work", h.name) + fmt.Sprintf("    lock: fleet\n    instances: %d\n    stop: {grace: 5s}\n", shared) +
			j.Consumer("solo", h.name) + fmt.Sprintf("    lock: fleet\n    instances: %d\n    exclusive: true\n    stop: {grace: 5s, fence_grace: 100ms}\n", exclusive) +
			j.Consumer("idle", h.name) + "    lock: fleet\n"
	})
}

// arenaOf has each host run what its file says: keys of the daemon, and consumers.
func arenaOf(t *testing.T, kind lockType, hosts int, file func(j *witness.Journal, h *host) (keys, consumers string)) *arena {
	a := &arena{t: t, kind: kind, journal: witness.New(t), sw: newSpace(t, "switch"), report: &report{kind: kind.name}}
	server, target, head := kind.open(t)
	a.server = server
	for n := 1; n <= hosts; n++ {
		h := &host{name: fmt.Sprintf("web%d", n), n: n}
		h.space, h.group = newSpace(t, h.name), newGroup(t, kind.name+"-"+h.name)
		gateway, _ := cable(t, a.sw, h.space, n)
		l := a.sw.listen(t, gateway+":0")
		h.proxy = newProxy(t, l, target)
		keys, consumers := file(a.journal, h)
		h.Daemon = rig.NewDaemon(t, keys+head(l.Addr().String())+"consumers:\n"+consumers)
		a.hosts = append(a.hosts, h)
	}
	for _, h := range a.hosts {
		h.boot()
	}
	return a
}

// boot starts the host's daemon, and returns when that answers.
func (h *host) boot() { h.StartWith(slices.Concat(h.group.words(), h.space.words())...) }

// log is what the daemon has logged.
func (h *host) log() string { return rig.Tail(h.Path("daemon.log"), 1<<30) }

// process is the pid of the daemon's keeper or engine.
func (h *host) process(keeper bool) int {
	h.T.Helper()
	var st rig.Status
	rig.Eventually(h.T, rig.Patience, h.name+" answers", func() (ok bool) { st, ok = h.Status(); return ok })
	if keeper {
		return st.Daemon.KeeperPID
	}
	return st.Daemon.EnginePID
}

func (h *host) signal(pid int, sig syscall.Signal) {
	h.T.Helper()
	if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
		h.T.Fatalf("signal %d: %v", pid, err)
	}
}

// fleetView is what `status --fleet --json` says, as far as it matters here.
type fleetView []struct {
	State string `json:"state"`
	Slots []struct {
		Slot string `json:"slot"`
		Host string `json:"host"`
	} `json:"slots"`
	Hosts   []hostView `json:"hosts"`
	Missing []hostView `json:"missing"`
}

type hostView struct {
	Host      string `json:"host"`
	State     string `json:"state"`
	Consumers []struct {
		Name    string `json:"name"`
		Running int    `json:"running"`
		Wanted  int    `json:"wanted"`
		Able    bool   `json:"able"`
	} `json:"consumers"`
}

// sees lists the hosts that a host sees, with their states: "web1 here, web2 silent".
func (h *host) sees() string {
	h.T.Helper()
	var v fleetView
	h.JSON(&v, "status", "--fleet")
	var list []string
	for _, l := range v {
		part := (shared + len(l.Hosts) - 1) / max(1, len(l.Hosts)) // at most, of each
		for _, o := range slices.Concat(l.Hosts, l.Missing) {
			state := o.State
			for _, c := range o.Consumers {
				switch {
				case c.Name != "work":
				case !c.Able:
					state += " but not able"
				case o.Host == h.name && c.Wanted > part:
					state += " but has not heard of the others"
				}
			}
			if len(o.Consumers) == 0 {
				state += " but says nothing"
			}
			list = append(list, o.Host+" "+state)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// everybody is what every host sees when all is well.
func (a *arena) everybody() string {
	var list []string
	for _, h := range a.hosts {
		list = append(list, h.name+" here")
	}
	return strings.Join(list, ", ")
}

// settle waits until all hosts see each other, every slot runs once, and the shared
// ones are spread. For that the workers are renewed: they are busy, and busy ones
// are left where they are.
func (a *arena) settle() {
	a.t.Helper()
	rig.Eventually(a.t, rig.Patience, "the hosts see each other", func() bool {
		return !slices.ContainsFunc(a.hosts, func(h *host) bool { return h.sees() != a.everybody() })
	})
	whole := func() bool {
		return a.journal.Count(a.t, "work", "") == shared && a.journal.Count(a.t, "solo", "") == exclusive
	}
	rig.Eventually(a.t, rig.Patience, "every slot runs once", whole)
	if !a.spread() {
		for _, h := range a.hosts {
			h.Must("stop-workers", "work")
		}
	}
	rig.Eventually(a.t, rig.Patience, "the slots are spread, and every one runs", func() bool { return a.spread() && whole() })
}

func (a *arena) spread() bool {
	for _, h := range a.hosts {
		if n := a.journal.Count(a.t, "work", h.name); n < shared/len(a.hosts) {
			return false
		}
	}
	return true
}

// busiest is the host that has the most exclusive slots.
func (a *arena) busiest() *host {
	return slices.MaxFunc(a.hosts, func(x, y *host) int {
		return a.journal.Count(a.t, "solo", x.name) - a.journal.Count(a.t, "solo", y.name)
	})
}

// held are the processes that act on a host now.
func (a *arena) held(h *host) []witness.Life {
	return slices.DeleteFunc(a.journal.Acting(a.t), func(l witness.Life) bool { return l.Host != h.name || l.Slot == "idle/0" })
}

// takenOver says how long after a moment each of the lives was followed by one on
// another host; false: not all were, by now.
func (a *arena) takenOver(had []witness.Life, since time.Duration) (map[string]time.Duration, bool) {
	took := map[string]time.Duration{}
	for _, next := range a.journal.Lives(a.t) {
		for _, l := range had {
			if _, known := took[l.Slot]; !known && next.Slot == l.Slot && next.Host != l.Host && next.From > since {
				took[l.Slot] = next.From - since
			}
		}
	}
	return took, len(took) == len(had)
}
