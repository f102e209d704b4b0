package plan

import (
	"fmt"
	"math"
	"slices"
	"time"

	"qsuper/slot"
)

// crashWindow is how close together crashes must be to have one cause: crashes
// of half of a fleet are spread over no more by a dependency that goes away.
const crashWindow = 30 * time.Second

// BreakerPhase says what a breaker does.
type BreakerPhase uint8

// The phases of a breaker.
const (
	Watching BreakerPhase = iota // starts are free
	Holding                      // nothing starts until a pause is over
	Trying                       // one instance may start, and has to live
	Ramping                      // it lived: more and more may start
)

// Breaker holds the starts of a consumer whose instances crash together, so
// that one start a pause tells what a storm of them would. It touches nothing
// that runs, and never gives up. The zero value watches.
type Breaker struct {
	Phase   BreakerPhase
	Crashes []Crash       // the latest of each instance within crashWindow, oldest first
	Trips   int           // holds in a row; the pause grows with them
	Until   time.Time     // Holding: its end
	Since   time.Time     // Trying, Ramping: what starts from then on was let through; Watching: since when
	Let     int           // instances that may have been started since then
	Step    time.Time     // Ramping: when more may
	Proof   time.Duration // Trying: how long the first has to live
	Lived   bool          // Trying: an instance let through has ended well
	Cause   string        // of the latest hold, in words
	Credit  int           // crashes that runs which ended well make up for, at most one an instance
	Good    time.Time     // when one did
	N, Of   int           // Holding for the first time: so many of so many instances crashed
}

// Crash is the latest crash of an instance.
type Crash struct {
	Slot    int
	At      time.Time
	Started time.Time // of the run that crashed
}

// Failed records that a run has crashed.
func (b *Breaker) Failed(n int, started, now time.Time) {
	b.forgive(n)
	b.Crashes = append(b.Crashes, Crash{n, now, started})
	b.Credit = max(0, b.Credit-1)
}

// Ended records that a run of one of so many instances has ended without a
// crash. For one that was let through that is as good as to live. And it makes
// up for one crash to come: where most runs end well, those that do not have no
// cause in common, however many there are in half a minute.
func (b *Breaker) Ended(n, of int, started, now time.Time) {
	if b.Phase == Trying && !started.Before(b.Since) {
		b.Lived = true
	}
	b.forgive(n)
	b.Credit, b.Good = min(b.Credit+1, of), now
}

// Recall is what the last exit of an instance, of a time before this breaker, would
// have told it.
func (b *Breaker) Recall(n int, e slot.ExitRecord, now time.Time) {
	if now.Sub(e.At) >= crashWindow {
		return
	}
	switch {
	case e.Class.Failed():
		b.Failed(n, e.At.Add(-e.Ran), e.At)
		slices.SortFunc(b.Crashes, func(x, y Crash) int { return x.At.Compare(y.At) })
	case e.Class != slot.ClassStopped:
		b.Credit++
		if e.At.After(b.Good) {
			b.Good = e.At
		}
	}
}

// forgive forgets the crash of an instance.
func (b *Breaker) forgive(n int) {
	if i := slices.IndexFunc(b.Crashes, func(c Crash) bool { return c.Slot == n }); i >= 0 {
		b.Crashes = slices.Delete(slices.Clone(b.Crashes), i, i+1)
	}
}

// advance moves the breaker on. wanted is the number of instances that should
// be up.
func (b *Breaker) advance(p Program, wanted int, slots []Slot, now time.Time) {
	if p.Max < 2 { // its backoff says it all
		*b = Breaker{}
		return
	}
	for len(b.Crashes) > 0 && now.Sub(b.Crashes[0].At) >= crashWindow {
		b.Crashes = b.Crashes[1:]
	}
	if now.Sub(b.Good) >= crashWindow {
		b.Credit = 0
	}
	switch b.Phase {
	case Watching:
		if b.Trips > 0 && now.Sub(b.Since) >= p.Policy.ResetAfter {
			b.Trips = 0
		}
		if n := len(b.Crashes); wanted > 1 && n > 1 && 2*n >= wanted && b.Credit == 0 {
			b.trip(p, "", slots, now)
			b.count(n, wanted)
		}
	case Holding:
		if n := len(b.Crashes); b.N > 0 && n > b.N {
			b.count(n, b.Of) // the others of the same storm
		}
		if !now.Before(b.Until) {
			b.Phase, b.Since, b.Let, b.Lived = Trying, now, 1, false
		}
	case Trying:
		if c := b.letThrough(); len(c) > 0 {
			b.trip(p, fmt.Sprintf("the one instance tried crashed after %s", span(c[0].At.Sub(c[0].Started))), slots, now)
		} else if at, ok := b.proved(slots); b.Lived || ok && !now.Before(at) {
			b.Phase, b.Step = Ramping, now
			b.ramp(p, wanted, now)
		}
	case Ramping:
		if n := len(b.letThrough()); n > 0 && 2*n >= b.Let && b.Credit == 0 {
			b.trip(p, fmt.Sprintf("%d of %d instances let through crashed", n, b.Let), slots, now)
		} else {
			b.ramp(p, wanted, now)
		}
	}
}

func (b *Breaker) count(n, of int) {
	b.N, b.Of = n, max(n, of)
	b.Cause = fmt.Sprintf("%d of %d instances crashed within %.0f s", b.N, b.Of, crashWindow.Seconds())
}

// trip begins a hold. The pause is that of a slot after as many crashes, and
// lasts at least until a slot has its own pause behind it.
func (b *Breaker) trip(p Program, cause string, slots []Slot, now time.Time) {
	b.Trips++
	b.Phase, b.Cause, b.N = Holding, cause, 0
	b.Until = now.Add(p.Policy.Delay(uint64(b.Trips), b.Trips))
	first, found := b.Until, false
	for i := range slots {
		if s := &slots[i]; s.Phase == slot.Waiting && (!found || s.Deadline.Before(first)) {
			first, found = s.Deadline, true // zero: it could start at once
		}
	}
	b.Until = later(b.Until, first)
	b.Proof = b.proof(p)
}

// proof is how long an instance has to live to count: five times min_uptime,
// and twice as long as those that crashed had lived, or it would pass for
// healthy before it can have failed. reset_after, which calls any process
// stable, bounds it; and who had lived for longer than that says nothing about
// how long a sick one lives.
func (b *Breaker) proof(p Program) time.Duration {
	stable := max(p.Policy.ResetAfter, time.Second)
	d := 5 * max(p.Policy.MinUptime, time.Second)
	for _, c := range b.Crashes {
		if ran := c.At.Sub(c.Started); ran < stable {
			d = max(d, 2*ran)
		}
	}
	return min(d, stable)
}

// letThrough lists the crashes of runs that were let through.
func (b *Breaker) letThrough() []Crash {
	var list []Crash
	for _, c := range b.Crashes {
		if !c.Started.Before(b.Since) {
			list = append(list, c)
		}
	}
	return list
}

// proved says when an instance that was let through will have lived for long
// enough; false: there is none.
func (b *Breaker) proved(slots []Slot) (time.Time, bool) {
	for i := range slots {
		if s := &slots[i]; s.Phase == slot.Running && beganSince(s, b.Since) {
			return s.Started.Add(b.Proof), true
		}
	}
	return time.Time{}, false
}

// ramp lets more through: 1, then 2, 4, 8 more, a second apart and no quicker
// than min_uptime, so that what dies at once has died before the next ones.
func (b *Breaker) ramp(p Program, wanted int, now time.Time) {
	for !now.Before(b.Step) && b.Let < wanted {
		b.Let = 2*b.Let + 1
		b.Step = b.Step.Add(max(p.Policy.MinUptime, time.Second))
	}
	if b.Let >= wanted {
		*b = Breaker{Trips: b.Trips, Since: now, Credit: b.Credit, Good: b.Good}
	}
}

// free is how many more instances may start.
func (b *Breaker) free(slots []Slot) int {
	switch b.Phase {
	case Watching:
		return math.MaxInt
	case Holding:
		return 0
	}
	return max(0, b.Let-startedSince(slots, b.Since))
}

// next is when the breaker moves on by itself; zero: when something happens.
func (b *Breaker) next(slots []Slot) time.Time {
	switch b.Phase {
	case Holding:
		return b.Until
	case Trying:
		at, _ := b.proved(slots)
		return at
	case Ramping:
		return b.Step
	}
	return time.Time{}
}

// reason is what a slot shows that is held: words that hold for as long as the
// phase does.
func (b *Breaker) reason() slot.Reason {
	text := b.Cause
	switch b.Phase {
	case Holding:
		text += "; starts are held, then one is tried"
	case Trying:
		text += fmt.Sprintf("; one is tried first and has to live for %s", span(b.Proof))
	case Ramping:
		text += "; the one tried lives, the others follow little by little"
	}
	return slot.Reason{Code: slot.Breaker, Text: text}
}

// evidence is the reason as of now.
func (b *Breaker) evidence(now time.Time) string {
	switch b.Phase {
	case Holding:
		return fmt.Sprintf("%s; next try in %s", b.Cause, ago(b.Until.Sub(now)))
	case Ramping:
		return fmt.Sprintf("%s; the one tried lives, %d may run by now", b.Cause, b.Let)
	case Trying:
		return b.reason().Text
	case Watching:
		if n := len(b.Crashes); n > 0 && now.Sub(b.Crashes[n-1].At) < crashWindow {
			return fmt.Sprintf("%d crashed lately, fewer than half", n)
		}
	}
	return "its instances do not crash together"
}

// span is a duration as texts show it.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.3g s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
