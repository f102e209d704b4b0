package hosts

import (
	"os"
	"strings"
	"time"

	"qsuper/test/rig"
)

// orders says with which faults commands to the fleet are tried, too.
func orders(f fault) bool { return f.frozen || f.name == "cut off (reset)" }

// answerLimit is how long an order may take: two looks of every host, 5 s for those
// that do not come, and what the machine needs.
const answerLimit = 2*ttl/3 + 5*time.Second + 3*time.Second

func (h *host) ordersCarriedOut() int {
	log, _ := os.ReadFile(h.Path("daemon.log"))
	return strings.Count(string(log), "carried out for the fleet")
}

// order asks the whole fleet for something while a host is away: who is there does
// it, and who is not is named, in time.
func (a *arena) order(f fault, h *host) {
	a.t.Helper()
	if !orders(f) {
		return
	}
	h.carried = h.ordersCarriedOut()
	other := a.hosts[2-h.n] // of two
	r := other.Run("pause", "--fleet", "idle")
	if r.Code != 1 || strings.Count(r.Stdout, "accepted") != 1 || !strings.Contains(r.Stdout, h.name+" ") || !strings.Contains(r.Stdout, "no answer yet") || r.Took > answerLimit {
		a.t.Errorf("%s: pause --fleet: %+v", f.name, r)
	}
	if f.frozen {
		return
	}
	// From the host itself nobody is reached, and it says so soon.
	r = h.Run("pause", "--fleet", "idle")
	if r.Code != 1 || strings.Contains(r.Stdout, "accepted") || !strings.Contains(r.Stdout, "does not answer") || r.Took > answerLimit {
		a.t.Errorf("%s: pause --fleet on the host that is cut off: %+v", f.name, r)
	}
}

// ordered gives another order when the host is known to be away, lets it come back,
// and expects both to have been carried out there, in their order.
func (a *arena) ordered(f fault, h *host) {
	a.t.Helper()
	if !orders(f) {
		return
	}
	rig.Eventually(a.t, rig.Patience, h.name+" has done what it was asked for", func() bool {
		return h.ordersCarriedOut() >= h.carried+2
	})
	// The instance that was asked to end for the first of them may still be at it, and
	// says why: what counts is the gate.
	var x rig.Explain
	h.JSON(&x, "explain", "idle")
	if x.Gate("paused").State != "open" {
		a.t.Errorf("%s: it was paused, and resumed after that, and is paused: %+v", f.name, x)
	}
}

// missed checks what is seen of a host that is away for good, and asks again.
func (a *arena) missed(f fault, h *host) {
	a.t.Helper()
	if !orders(f) {
		return
	}
	other := a.hosts[2-h.n]
	if got, want := other.sees(), h.name+" silent"; !strings.Contains(got, want) {
		a.t.Errorf("%s: status --fleet says %s, not %s", f.name, got, want)
	}
	r := other.Run("resume", "--fleet", "idle")
	if r.Code != 1 || strings.Count(r.Stdout, "accepted") != 1 || !strings.Contains(r.Stdout, "silent for") || r.Took > answerLimit {
		a.t.Errorf("%s: resume --fleet: %+v", f.name, r)
	}
}
