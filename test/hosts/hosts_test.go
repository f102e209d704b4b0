package hosts

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"qsuper/test/rig"
	"qsuper/test/witness"
)

// slack is what a loaded machine may need beyond the promise: a process to be
// started by a daemon that is itself not run at once, and to write its first line,
// while the tests of other packages want the processors as well.
const slack = 1500 * time.Millisecond

// TestHosts has two hosts share eight slots and two exclusive ones through a lock
// server of each type, harms them, and holds what comes of it against the promises.
func TestHosts(t *testing.T) {
	var all reports
	t.Run("types", func(t *testing.T) {
		for _, kind := range lockTypes {
			t.Run(kind.name, func(t *testing.T) {
				t.Parallel()
				a := newArena(t, kind, 2)
				defer all.add(a.report)
				for _, f := range faults {
					if wanted := os.Getenv("QSUPER_HOSTS"); f.quick && wanted == "" || wanted == "all" || wanted == f.name {
						a.suffer(f)
					}
				}
				a.end()
			})
		}
	})
	all.show(t)
}

// end lets everything settle, and judges it.
func (a *arena) end() {
	a.t.Helper()
	a.settle()
	a.pass(a.judge())
	for _, h := range a.hosts {
		h.StopAll()
	}
}

// suffer lets one fault befall the host that has the most, and sees what the others do.
func (a *arena) suffer(f fault) {
	a.t.Helper()
	a.settle()
	h := a.busiest()
	had := a.held(h)
	a.t.Logf("%s: %s has %d slots", f.name, h.name, len(had))
	before := len(h.log())
	w := a.strike(f, h)
	a.report.rounds++
	switch {
	case f.moves:
		a.order(f, h)
		a.takeover(f, h, w, had)
		a.missed(f, h)
	case f.server:
		a.outage(f, w)
		return
	default:
		a.hold(w, ttl+2*time.Second)
	}
	a.heal(w, h)
	if f.moves {
		a.ordered(f, h)
		return
	}
	if f.renewed {
		<-after(2 * time.Second) // what a keeper ends that was stopped it ends at once
		if text := h.log()[before:]; strings.Contains(text, "lease runs out") || strings.Contains(text, "code=lease_lost") {
			a.t.Errorf("%s: something has ended for want of its lease:\n%s", f.name, text)
		}
		// Idle ones may move meanwhile where they are too many.
		had = slices.DeleteFunc(had, func(l witness.Life) bool { return strings.HasPrefix(l.Slot, "solo/") })
	}
	a.stays(f, had)
	a.report.took(f.name, 0, 0)
}

// hold waits until a fault has lasted so long.
func (a *arena) hold(w *harm, d time.Duration) {
	<-after(w.from + d - witness.Boottime())
}

// takeover waits until all of a host's slots run elsewhere, and asserts the promise.
func (a *arena) takeover(f fault, h *host, w *harm, had []witness.Life) {
	a.t.Helper()
	var took map[string]time.Duration
	rig.Eventually(a.t, rig.Patience, f.name+": others run what "+h.name+" had", func() (ok bool) {
		took, ok = a.takenOver(had, w.from)
		return ok
	})
	worst := map[string]time.Duration{}
	for slot, d := range took {
		name, _, _ := strings.Cut(slot, "/")
		worst[name] = max(worst[name], d)
	}
	a.report.took(f.name, worst["work"], worst["solo"])
	promise := ttl + time.Second + a.kind.late
	if f.heard {
		promise += ttl
	}
	if worst["work"] > promise+slack {
		a.t.Errorf("%s: shared slots ran elsewhere after %s, promised are %s and %s for this machine\n%s", f.name, worst["work"], promise, slack, a.logsOf(w))
	}
	if promise += a.kind.holdOff; worst["solo"] > promise+slack {
		a.t.Errorf("%s: exclusive slots ran elsewhere after %s, promised are %s and %s for this machine\n%s", f.name, worst["solo"], promise, slack, a.logsOf(w))
	}
	if !f.parted || f.frozen {
		return
	}
	acting := a.journal.Acting(a.t)
	for _, l := range had {
		lives := slices.ContainsFunc(acting, func(x witness.Life) bool { return x.PID == l.PID })
		if strings.HasPrefix(l.Slot, "work/") != lives {
			a.t.Errorf("%s: %+v acts: %v", f.name, l, lives)
		}
	}
}

// logsOf is what the daemons have logged since something befell one of them.
func (a *arena) logsOf(w *harm) string {
	var b strings.Builder
	for i, h := range a.hosts {
		b.WriteString(h.name + ":\n" + h.log()[w.logged[i]:])
	}
	return b.String()
}

// stays checks that nothing was interrupted.
func (a *arena) stays(f fault, had []witness.Life) {
	a.t.Helper()
	for _, l := range had {
		rig.Eventually(a.t, rig.Patience, f.name+": "+l.Slot+" goes on", func() bool {
			return slices.ContainsFunc(a.journal.Acting(a.t), func(x witness.Life) bool { return x.PID == l.PID })
		})
	}
}

// outage is a server that does not answer, and is back. What need not be exclusive
// goes on, also if the server has forgotten everything; exclusive ones end in time.
func (a *arena) outage(f fault, w *harm) {
	a.t.Helper()
	all := a.journal.Lives(a.t)
	lasting := f.name == "server stopped"
	if lasting {
		a.hold(w, ttl+2*time.Second)
		for _, l := range a.journal.Acting(a.t) {
			if strings.HasPrefix(l.Slot, "solo/") {
				a.t.Errorf("%s: %+v acts when its lease is over", f.name, l)
			}
		}
	}
	a.heal(w, a.hosts[0])
	back := w.to
	var work []witness.Life
	for _, l := range all {
		if strings.HasPrefix(l.Slot, "work/") && l.To > w.from-15*witness.Tick {
			work = append(work, l)
		}
	}
	a.stays(f, work)
	var again time.Duration
	rig.Eventually(a.t, rig.Patience, f.name+": exclusive slots run again", func() bool {
		n := 0
		for _, l := range a.journal.Acting(a.t) {
			// Those that ran before end when a server that has forgotten them says so.
			if strings.HasPrefix(l.Slot, "solo/") && (l.From > w.from || !a.kind.forgets) {
				n++
				if l.From > w.from {
					again = max(again, l.From-back)
				}
			}
		}
		return n == exclusive
	})
	a.report.took(f.name, 0, again)
}
