package plan

import (
	"math"
	"slices"
	"time"

	"qsuper/slot"
)

// ration limits how many of the slots that are wanted may start now: by the
// breaker, and while a connection has just come back. It holds others back in
// their place and never touches what runs.
func ration(r *Result, p Program, o Observed, slots []Slot, now time.Time) {
	b := &r.Memory.Breaker
	wanted := 0
	for _, d := range r.Decisions {
		if d.Want == slot.Up {
			wanted++
		}
	}
	b.advance(p, wanted, slots, now)
	free, why, shown := b.free(slots), slot.Reason{}, ""
	if free < math.MaxInt {
		r.Rationed = true
		why, shown = b.reason(), b.evidence(now)
		r.Next = Sooner(r.Next, b.next(slots))
	}
	if n, conn, next := ramp(o, slots, now); conn != nil {
		r.Rationed = true
		r.Next = Sooner(r.Next, next)
		if n < free {
			free, why = n, rampReason(conn)
			shown = why.Text
		}
	}
	if !r.Rationed {
		return
	}
	line := candidates(r, slots, now)
	if free >= len(line) {
		return
	}
	for _, i := range line[free:] {
		r.Decisions[i] = Decision{slot.Hold, why}
	}
	r.Reason = slot.Reason{Code: why.Code, Text: shown}
}

// candidates lists the slots that are wanted and not up, in the order in which
// they are let through: who has its turn in the start rate keeps it, then those
// that could start at once, then those whose own wait ends first.
func candidates(r *Result, slots []Slot, now time.Time) []int {
	var line []int
	for i := range slots {
		if r.Decisions[i].Want == slot.Up && !slots[i].Phase.Alive() {
			line = append(line, i)
		}
	}
	rank := func(i int) int {
		s := &slots[i]
		switch {
		case s.Want == slot.Up && s.Reason.Code == slot.StartRate:
			return 0
		case !s.Deadline.After(now):
			return 1
		}
		return 2
	}
	slices.SortStableFunc(line, func(a, b int) int {
		if d := rank(a) - rank(b); d != 0 || rank(a) == 1 {
			return d
		}
		return slots[a].Deadline.Compare(slots[b].Deadline)
	})
	return line
}

// startedSince counts the processes there are that began at t or later.
func startedSince(slots []Slot, t time.Time) int {
	n := 0
	for i := range slots {
		if beganSince(&slots[i], t) {
			n++
		}
	}
	return n
}

// beganSince says whether a slot has a process that began at t or later.
func beganSince(s *Slot, t time.Time) bool {
	began := s.Started
	if s.Phase == slot.Spawning {
		began = s.Since
	}
	return s.Phase.Alive() && !began.IsZero() && !began.Before(t)
}
