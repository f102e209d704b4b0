package plan

import (
	"fmt"
	"slices"
	"time"

	"qsuper/health"
	"qsuper/slot"
)

// stuck follows since when messages have waited without getting fewer, on
// connections that answered all the time. An outage, an unknown depth, an empty
// queue and every message that goes begin it anew.
func stuck(r *Result, p Program, o Observed, now time.Time) {
	m := &r.Memory
	is := backlog(o.Queue)
	still := p.Stall > 0 && is != health.NotKnown && o.Queue.Ready > 0
	for _, c := range o.Conns {
		still = still && c.State == ConnUp
	}
	if !still {
		m.StuckSince = time.Time{}
		return
	}
	blind := o.Queue.InFlight == health.NotKnown
	if m.StuckSince.IsZero() || is < m.Stuck || blind != m.Blind {
		m.StuckSince = now
	}
	m.Stuck, m.Blind = is, blind
	for _, c := range o.Conns {
		m.StuckSince = later(m.StuckSince, c.Back)
	}
}

// deaf lists the instances that have done nothing for `stall` while messages
// were stuck, the quietest first: as far as depth and processor tell. One of them
// is to be asked to finish, one at a time and no more than one in `stall`.
func deaf(r *Result, p Program, slots []Slot, now time.Time) {
	m := &r.Memory
	if m.StuckSince.IsZero() {
		return
	}
	for i := range slots {
		if s := &slots[i]; s.Again.Code == slot.Stall || s.Phase.Alive() && s.Reason.Code == slot.Stall {
			return
		}
	}
	quiet := func(i int) time.Time { return later(slots[i].Started, slots[i].Quiet) }
	for i := range slots {
		s := &slots[i]
		if s.Phase != slot.Running || s.Quiet.IsZero() || s.Again.Code != "" || r.Decisions[i].Want == slot.Down {
			continue
		}
		at := later(later(m.StuckSince, m.StalledAt), quiet(i)).Add(p.Stall)
		if now.Before(at) {
			r.Next = Sooner(r.Next, at)
			continue
		}
		r.Deaf = append(r.Deaf, i)
	}
	slices.SortStableFunc(r.Deaf, func(a, b int) int { return quiet(a).Compare(quiet(b)) })
}

// StallReason says why an instance is taken to be deaf.
func StallReason(p Program, o Observed) slot.Reason {
	return slot.Reason{Code: slot.Stall, Text: fmt.Sprintf("%d messages wait and none went for %s, without output or CPU use", o.Queue.Ready, p.Stall)}
}
