package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"qsuper/slot"
)

// Signal is something whose change makes the processes out of date that were
// there before it.
type Signal struct {
	Name     string    // as the file has it, in a few words
	Since    time.Time // when it was last seen to have changed; zero: it has not
	At       time.Time // of the last look; zero: nobody has looked yet
	Err      string    // why nobody knows how it is now; "" = it is known
	Schedule bool      // a schedule: each slot has its own moment, and the rest is empty
}

// Renewal is a wave of replacements.
type Renewal struct {
	At    time.Time // when the latest one began; zero: there was none
	Seen  time.Time // the change that it is for: later ones have to wait
	Waves int       // how many have followed one another without a rest
}

// Waves are spaced out, so that something that changes all the time becomes no
// storm of restarts: each pause is twice the one before, and a longer rest ends the
// series.
const (
	wavePause = 10 * time.Second
	waveMost  = 10 * time.Minute
	waveRest  = 3 // pauses, from one wave to the next
)

func (w Renewal) pause() time.Duration {
	if w.Waves == 0 {
		return 0
	}
	return min(wavePause<<min(w.Waves-1, 10), waveMost)
}

// renewShare is the part of the instances that may be away at a time.
const renewShare = 4

// stale is why a process is out of date, and since when.
type stale struct {
	n     int
	since time.Time
	why   string
}

// outdated lists the slots that are to be asked to finish now because of
// restart_on: idle ones first, and a quarter at a time, of which each must have
// come back and lived for min_uptime before others follow. Where a gate keeps it
// from coming back nobody is asked: what runs is better than nothing.
func outdated(r *Result, p Program, o Observed, slots []Slot, now time.Time) {
	all := staleSlots(r, o, slots, now)
	if len(all) == 0 || !mayReturn(r, o) {
		return
	}
	m := &r.Memory.Renewal
	newest := slices.MaxFunc(all, func(a, b stale) int { return a.since.Compare(b.since) })
	if newest.since.After(m.Seen) {
		if at := m.At.Add(m.pause()); m.Waves > 0 && now.Before(at) {
			r.Next = Sooner(r.Next, at)
		} else {
			if m.Waves++; now.Sub(m.At) >= waveRest*(Renewal{Waves: m.Waves - 1}).pause() {
				m.Waves = 1
			}
			m.At, m.Seen = now, newest.since
		}
	}
	all = slices.DeleteFunc(all, func(s stale) bool { return !slots[s.n].Launched.Before(m.Seen) })
	if len(all) > 1 && o.Sifted.Before(m.At) {
		r.Sift = true
		return
	}
	room := max(1, size(r, slots)/renewShare) - away(r, p, slots, now)
	order(all, slots)
	for _, s := range all[:min(max(0, room), len(all))] {
		r.Outdated = append(r.Outdated, s.n)
		r.Renewed = slot.Reason{Code: slot.RestartOn, Text: s.why}
	}
	r.Pending = len(all) > len(r.Outdated)
}

// staleSlots are those whose process was there before a change.
func staleSlots(r *Result, o Observed, slots []Slot, now time.Time) []stale {
	var list []stale
	for i := range slots {
		s := &slots[i]
		if s.Phase != slot.Running || r.Decisions[i].Want == slot.Down {
			continue
		}
		if !s.Expires.IsZero() && now.Before(s.Expires) {
			r.Next = Sooner(r.Next, s.Expires)
		}
		if s.Again.Code != "" {
			continue
		}
		found := stale{n: i}
		for _, g := range o.Signals {
			if g.Since.After(s.Launched) && g.Since.After(found.since) {
				found.since, found.why = g.Since, g.Name+" changed"
			}
		}
		if !s.Expires.IsZero() && !now.Before(s.Expires) && s.Expires.After(found.since) {
			found.since, found.why = s.Expires, "restart_on schedule"
		}
		if !found.since.IsZero() {
			list = append(list, found)
		}
	}
	return list
}

// mayReturn says whether what is asked to finish could come back: no outage is under
// way.
func mayReturn(r *Result, o Observed) bool {
	for _, c := range o.Conns {
		if c.State != ConnUp {
			return false
		}
	}
	return r.Reason.Code != slot.LockStore
}

// size is how many instances there are or should be.
func size(r *Result, slots []Slot) (n int) {
	for i := range slots {
		if slots[i].Phase.Alive() || r.Decisions[i].Want == slot.Up {
			n++
		}
	}
	return n
}

// away counts the slots whose renewal is not over. Where nobody waits for a
// successor it is over with the end of the process.
func away(r *Result, p Program, slots []Slot, now time.Time) (n int) {
	for i := range slots {
		s, d := &slots[i], r.Decisions[i]
		gone := !s.Phase.Alive() && (d.Want == slot.Down || d.Want == slot.Hold && (d.Reason.Code == slot.Surplus || d.Reason.Code == slot.Empty))
		if !s.Renewing || gone {
			continue
		}
		if s.Phase == slot.Running && s.Again.Code == "" {
			at := s.Started.Add(p.Policy.MinUptime)
			if !now.Before(at) {
				continue
			}
			r.Next = Sooner(r.Next, at)
		}
		n++
	}
	return n
}

// order puts idle ones first, the longest idle at the head; then the oldest.
func order(all []stale, slots []Slot) {
	slices.SortStableFunc(all, func(a, b stale) int {
		x, y := &slots[a.n], &slots[b.n]
		if idle := x.Quiet.IsZero(); idle != y.Quiet.IsZero() {
			if idle {
				return 1
			}
			return -1
		}
		if d := x.Quiet.Compare(y.Quiet); d != 0 {
			return d
		}
		return x.Launched.Compare(y.Launched)
	})
}

// signalGate informs: what changes does not keep anything from starting.
func signalGate(o Observed, m Memory, now time.Time) Gate {
	g := Gate{Name: "restart_on", State: Skipped, Evidence: "nothing to restart on is given"}
	if len(o.Signals) == 0 {
		return g
	}
	g.State = Open
	var list []string
	for _, s := range o.Signals {
		text := s.Name
		switch {
		case s.Schedule:
		case s.Err != "":
			g.State, text = Unknown, text+" unknown: "+s.Err
		case s.At.IsZero():
			g.State, text = Unknown, text+" has not been looked at yet"
		case s.Since.IsZero():
			text += " has not changed"
		default:
			text += fmt.Sprintf(" changed %s ago", ago(now.Sub(s.Since)))
		}
		list = append(list, text)
	}
	g.Evidence = strings.Join(list, "; ")
	if at := m.Renewal.At.Add(m.Renewal.pause()); m.Renewal.Waves > 0 && now.Before(at) {
		g.Evidence += fmt.Sprintf("; the next change has to wait for %s", ago(at.Sub(now)))
	}
	return g
}
