package hosts

import (
	"syscall"
	"time"

	"qsuper/test/rig"
	"qsuper/test/witness"
)

// fault is something that befalls a host, or the server.
type fault struct {
	name  string
	quick bool // worth running with every change
	moves bool // others take over what the host had

	// What is admitted of the host while it lasts, and until it has noticed that it
	// is over: that what is not exclusive runs beside its successors.
	parted bool
	// The server hears the host, and grants what nobody is told of, for a ttl more.
	heard bool
	// Nothing exclusive is ended for want of its lease, although it lasts for longer than one.
	renewed bool
	// Everything of the host stands still: see docs/shared-slots.md.
	frozen bool
	server bool // it befalls the server, and so everybody

	strike func(a *arena, h *host)
	heal   func(a *arena, h *host)
}

func weatherFault(name string, w weather, quick bool) fault {
	return fault{
		name: name, quick: quick, moves: w != slug, parted: w != slug, heard: w == deaf,
		strike: func(_ *arena, h *host) { h.proxy.set(w) },
		heal:   func(_ *arena, h *host) { h.proxy.set(fair) },
	}
}

func lossFault(name string, what int) fault {
	return fault{
		name: name, moves: true, parted: true, heard: what == loseAnswers,
		strike: func(a *arena, h *host) { lose(a.t, a.sw, h.n, what) },
		heal:   func(a *arena, h *host) { lose(a.t, a.sw, h.n, loseNothing) },
	}
}

var faults = []fault{
	{
		name: "host killed", quick: true, moves: true,
		strike: func(a *arena, h *host) { h.group.set(a.t, "cgroup.kill", "1") },
		heal: func(a *arena, h *host) {
			rig.Eventually(a.t, rig.Patience, "the keeper is gone", h.Over)
			h.group.renew(a.t)
			h.boot()
		},
	},
	weatherFault("cut off (reset)", cut, true),
	{
		name: "host frozen", quick: true, moves: true, parted: true, frozen: true,
		strike: func(a *arena, h *host) {
			h.group.set(a.t, "cgroup.freeze", "1")
			h.group.await(a.t, "frozen 1")
		},
		heal: func(a *arena, h *host) { h.group.set(a.t, "cgroup.freeze", "0") },
	},
	weatherFault("nothing passes, connections stay", hole, false),
	weatherFault("answers do not pass", deaf, false),
	lossFault("packets lost", loseAll),
	lossFault("packets of answers lost", loseAnswers),
	weatherFault("slow", slug, false),
	{
		name: "engine stopped", moves: true, parted: true,
		strike: func(a *arena, h *host) { h.stopped = h.process(false); h.signal(h.stopped, syscall.SIGSTOP) },
		heal:   func(a *arena, h *host) { h.signal(h.stopped, syscall.SIGCONT) },
	},
	{
		name: "keeper stopped", quick: true, renewed: true,
		strike: func(a *arena, h *host) { h.stopped = h.process(true); h.signal(h.stopped, syscall.SIGSTOP) },
		heal:   func(a *arena, h *host) { h.signal(h.stopped, syscall.SIGCONT) },
	},
	{
		name:   "engine killed",
		strike: func(a *arena, h *host) { h.signal(h.process(false), syscall.SIGKILL) },
		heal:   func(*arena, *host) {},
	},
	{
		name: "keeper killed, and started again",
		strike: func(a *arena, h *host) {
			h.signal(h.process(true), syscall.SIGKILL)
			rig.Eventually(a.t, rig.Patience, "the keeper is gone", h.Over)
			h.boot()
		},
		heal: func(*arena, *host) {},
	},
	{
		name: "server stopped", server: true,
		strike: func(a *arena, _ *host) { a.server.Pause(a.t, true) },
		heal:   func(a *arena, _ *host) { a.server.Pause(a.t, false) },
	},
	{
		name: "server killed, and started again", quick: true, server: true,
		strike: func(a *arena, _ *host) { a.server.Kill(a.t) },
		heal:   func(a *arena, _ *host) { a.server.Start(a.t) },
	},
}

// harm is a fault that has befallen somebody.
type harm struct {
	fault
	host     string        // "" = the server
	from, to time.Duration // CLOCK_BOOTTIME; to is zero while it lasts
	still    time.Duration // a frozen host: when everything had come to stand
	logged   []int         // how long the log of each host was when it began
}

// strike lets a fault begin. It is noted as of before its first effect.
func (a *arena) strike(f fault, h *host) *harm {
	a.t.Helper()
	var logged []int
	for _, h := range a.hosts {
		logged = append(logged, len(h.log()))
	}
	w := &harm{fault: f, host: h.name, from: witness.Boottime(), logged: logged}
	if f.server {
		w.host = ""
	}
	a.harm = append(a.harm, w)
	f.strike(a, h)
	w.still = witness.Boottime()
	return w
}

// heal ends it. What was frozen goes on after it is noted, anything else before.
func (a *arena) heal(w *harm, h *host) {
	a.t.Helper()
	thaw := witness.Boottime()
	w.fault.heal(a, h)
	w.to = witness.Boottime()
	if w.frozen {
		w.to = thaw
	}
}
