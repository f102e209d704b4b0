package plan

import (
	"fmt"
	"math"
	"time"

	"qsuper/health"
	"qsuper/slot"
)

// settle is how long a new process is given to take its first message. While a
// backend cannot say what is in flight, older ones count as busy.
const settle = 5 * time.Second

// share decides how many instances are wanted and which slots they are.
func share(r *Result, p Program, o Observed, slots []Slot, now time.Time) {
	n := min(p.Max, len(slots))
	target := n
	surplus := "fewer instances are needed"
	r.Reason = slot.Reason{Code: slot.OK}
	if needsDepth(p) {
		busy := settled(slots, now)
		if o.Fleet != nil {
			busy += o.Fleet.Elsewhere // they may be as new, which makes the guess a little high
		}
		switch {
		case p.MaxWait > 0 && o.Queue.State == health.OK:
			target = swift(r, p, o, slots, now)
		case o.Queue.State == health.OK:
			target = Needed(p, *o.Queue, busy)
		default: // it is not there: see queueGate
			target = p.Min
		}
		target = calm(r, p, o, target, slots, now)
	}
	switch ceil := &r.Memory.Pace.Ceiling; {
	case needsDepth(p) && o.Queue.State == health.Missing: // min of them may make it
		r.Reason = slot.Reason{Code: slot.NoQueue, Text: "queue " + p.Queue + " does not exist" + because(o.Queue.Err)}
		surplus = "its queue does not exist"
	case target == 0:
		r.Reason = slot.Reason{Code: slot.Empty, Text: "no messages wait"}
	case p.MaxWait > 0 && ceil.N > 0 && target >= ceil.N:
		surplus = fmt.Sprintf("more than %d instances do not help: %s", ceil.N, ceil.Why)
	}
	if most := useful(o); target > most { // over all hosts
		target = most
		surplus = fmt.Sprintf("more than %d instances would get no messages: that is how many the queue can serve at a time", most)
	}
	r.Memory.Target = target
	if o.Fleet != nil {
		target = local(r, o.Fleet, target, now)
	}
	extra := 0
	if target > 0 {
		extra = min(o.Surge, len(slots)-n)
	}
	r.Wish, r.Floor = target+extra, min(target, p.Min)
	if f := o.Fleet; f != nil {
		r.Floor = min(target, quota(p.Min, f.Hosts, f.Rank))
	}
	all, rest := o.Budget.cut(r, target+extra, slot.Reason{Code: slot.Surplus, Text: surplus})
	r.Target = min(target, all)
	choose(r, slots[:n], 0, r.Target, rest)
	choose(r, slots[:n+min(o.Surge, len(slots)-n)], n, all-r.Target, rest)
	retire(r, p, o, slots[:n], now)
	even(r, o.Fleet, slots[:n], now)
}

// useful is how many instances can have work at a time, such as one for each of a
// topic's partitions.
func useful(o Observed) int {
	if o.Queue == nil || o.Queue.State != health.OK || o.Queue.Useful <= 0 {
		return math.MaxInt
	}
	return int(o.Queue.Useful)
}

// Needed is how many instances the depth asks for, before any cooldown. Fixed:
// never more than there are messages. Else ceil(backlog / per_instance), within
// min and max. busy stands in for what is in flight where the backend cannot
// say.
func Needed(p Program, d Depth, busy int) int {
	flight := int64(busy)
	if d.InFlight != health.NotKnown {
		flight = d.InFlight
	}
	if p.PerInstance == 0 {
		if d.Ready < 1 {
			return 0
		}
		return int(min(int64(p.Max), satAdd(d.Ready, flight)))
	}
	if d.InFlight == health.NotKnown {
		flight = 0
	}
	per := int64(p.PerInstance)
	backlog := satAdd(d.Ready, flight)
	need := backlog / per
	if backlog%per != 0 {
		need++
	}
	return int(max(int64(p.Min), min(int64(p.Max), need)))
}

func satAdd(a, b int64) int64 {
	if a > 1<<62-b {
		return 1 << 62
	}
	return a + b
}

// settled counts the processes that have had time to take a message.
func settled(slots []Slot, now time.Time) int {
	n := 0
	for i := range slots {
		if slots[i].Phase == slot.Running && now.Sub(slots[i].Started) >= settle {
			n++
		}
	}
	return n
}

// choose gives the target to the slots from the first one on that cost least to have up: those that
// run, then those already waiting for a retry (a crash must not jump to the
// next slot to dodge its backoff), then the lowest numbers.
func choose(r *Result, slots []Slot, first, target int, why slot.Reason) {
	left := target
	up := Decision{slot.Up, slot.Reason{Code: slot.OK}}
	rest := Decision{slot.Hold, why}
	if target == 0 && why.Code != slot.Budget {
		rest.Reason = r.Reason
	}
	for i := first; i < len(slots); i++ {
		if slots[i].Final { // it takes nobody's place: only a person can bring it back
			r.Decisions[i] = Decision{slot.Hold, slots[i].Reason}
		}
	}
	for pass := range 5 {
		for i := first; i < len(slots); i++ {
			if slots[i].Stopped != "" || slots[i].Final || rank(slots[i]) != pass {
				continue
			}
			if slots[i].Lease == LeaseElsewhere && !slots[i].Phase.Alive() {
				r.Decisions[i] = Decision{slot.Hold, slot.Reason{Code: slot.Elsewhere, Text: slots[i].By + " has it"}}
				continue
			}
			r.Decisions[i] = rest
			if left > 0 {
				r.Decisions[i] = up
				left--
			}
		}
	}
}

func rank(s Slot) int {
	switch {
	case s.Phase == slot.Checking, s.Phase == slot.Spawning, s.Phase == slot.Running,
		s.Phase.Alive() && s.Want == slot.Up:
		return 0
	case s.Phase == slot.Waiting && !s.Deadline.IsZero():
		return 1
	case s.Phase.Alive(): // on its way out
		return 4
	case s.Lease == LeaseHere:
		return 2
	}
	return 3
}

// retire asks idle instances to finish: when the queue has been empty and
// nothing in flight for idle_timeout. Where the backend cannot say what is in
// flight, the instance itself must have used no CPU for as long: unknown is
// not zero.
func retire(r *Result, p Program, o Observed, slots []Slot, now time.Time) {
	since := r.Memory.EmptySince
	if !p.OnMessages && !p.scaled() || p.IdleTimeout <= 0 || since.IsZero() {
		return
	}
	known := o.Queue.InFlight != health.NotKnown
	text := fmt.Sprintf("idle for %s: queue empty, nothing in flight", p.IdleTimeout)
	for i := range slots {
		s := &slots[i]
		if r.Decisions[i].Want != slot.Hold || s.Phase != slot.Running {
			continue
		}
		from := later(since, s.Started)
		if !known {
			if s.Quiet.IsZero() {
				continue
			}
			from = later(from, s.Quiet)
		}
		if until := from.Add(p.IdleTimeout); now.Before(until) {
			r.Next = Sooner(r.Next, until)
			continue
		}
		r.Decisions[i] = Decision{slot.Down, slot.Reason{Code: slot.Idle, Text: text}}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Sooner is the earlier of two moments, of which zero is never.
func Sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
