package hosts

import (
	"strings"
	"time"

	"qsuper/test/witness"
)

const (
	// thawed is how long an exclusive process may act that was frozen beyond the end
	// of its lease: until its keeper gets the processor. docs/shared-slots.md says
	// some milliseconds; a busy machine with two cores needs a few turns for that.
	thawed = 250 * time.Millisecond

	// noticed is how long a host may need to notice that it is back: a request that
	// waits in vain, the pause after it, one that is answered; and its process, to end.
	noticed = 2*ttl/6 + time.Second + 2*time.Second
)

// overlap is two processes that have acted in one slot at the same time.
type overlap struct {
	a, b     witness.Life
	from, to time.Duration
}

// verdict is what the oracle found.
type verdict struct {
	lives    int
	wrong    []overlap     // never
	thawed   []overlap     // exclusive, admitted
	parted   []overlap     // not exclusive, admitted
	longest  time.Duration // of thawed
	doubled  time.Duration // sum of parted
	backward [][2]witness.Life
}

// judge looks at everything that has acted. All harm must be over.
func (a *arena) judge() verdict {
	a.t.Helper()
	lives := a.journal.Lives(a.t)
	v := verdict{lives: len(lives)}
	pieces := a.pieces(lives)
	for i, y := range pieces {
		for _, x := range pieces[:i] {
			if x.Slot != y.Slot || x.PID == y.PID {
				continue
			}
			if x.Host != y.Host && x.From < y.From && x.Token >= y.Token && !resumed(x, y, lives) {
				v.backward = append(v.backward, [2]witness.Life{x, y})
			}
			o := overlap{x, y, max(x.From, y.From), min(x.To, y.To)}
			if o.to < o.from {
				continue
			}
			a.weigh(&v, o)
		}
	}
	return v
}

// pieces cuts lives where their host stood still: nothing acts there.
func (a *arena) pieces(lives []witness.Life) []witness.Life {
	for _, w := range a.harm {
		if !w.frozen {
			continue
		}
		for i := range lives {
			if l := &lives[i]; l.Host == w.host && l.From < w.still && l.To >= w.to {
				rest := *l
				rest.From, l.To = w.to, w.still
				lives = append(lives, rest)
			}
		}
	}
	return lives
}

// resumed says whether y is the rest of a life that began before x, on a host that
// stood still meanwhile: its token is the older one, and that is what tokens are for.
func resumed(x, y witness.Life, lives []witness.Life) bool {
	for _, l := range lives {
		if l.PID == y.PID && l.Slot == y.Slot && l.Host == y.Host && l.From < x.From {
			return true
		}
	}
	return false
}

// weigh decides whether an overlap is admitted.
func (a *arena) weigh(v *verdict, o overlap) {
	switch thaw, frozen := a.thawedAt(o); {
	case o.a.Host == o.b.Host: // each host has a lock of its own on the slot
	case strings.HasPrefix(o.a.Slot, "solo/"):
		if frozen {
			v.thawed = append(v.thawed, o)
			v.longest = max(v.longest, o.to-thaw)
			return
		}
	case a.apart(o):
		v.parted = append(v.parted, o)
		v.doubled += o.to - o.from
		return
	}
	v.wrong = append(v.wrong, o)
}

// thawedAt is when a host went on that acted for a moment beyond its lease.
func (a *arena) thawedAt(o overlap) (at time.Duration, yes bool) {
	for _, w := range a.harm {
		if of := o.a.Host == w.host || o.b.Host == w.host; w.frozen && of && o.from >= w.to && o.to <= w.to+thawed {
			return w.to, true
		}
	}
	return 0, false
}

// apart says whether the two hosts could not know of each other for as long as they
// acted: one of them was away from the store, or that from both, or what had been
// was not noticed yet when the next came.
func (a *arena) apart(o overlap) bool {
	at := o.from
	for moved := true; moved && at < o.to; {
		moved = false
		for _, w := range a.harm {
			of := w.server || w.parted && (o.a.Host == w.host || o.b.Host == w.host)
			if end := w.to + noticed; of && w.from <= at && end > at {
				at, moved = end, true
			}
		}
	}
	return at >= o.to
}

// pass reports a verdict, and fails the test for what must never be.
func (a *arena) pass(v verdict) {
	a.t.Helper()
	for _, o := range v.wrong {
		a.t.Errorf("two at a time for %s:\n%+v\n%+v\n%s", o.to-o.from, o.a, o.b, a.harmAround(o))
	}
	for _, p := range v.backward {
		a.t.Errorf("the token does not grow:\n%+v\n%+v", p[0], p[1])
	}
	a.report.judged(v)
}

// harmAround tells what was done at about the time of an overlap.
func (a *arena) harmAround(o overlap) string {
	var b strings.Builder
	for _, w := range a.harm {
		if w.from <= o.to+time.Second && w.to >= o.from-2*ttl {
			b.WriteString(w.name + " on " + w.host + " from " + w.from.String() + " to " + w.to.String() + "\n")
		}
	}
	return b.String()
}
