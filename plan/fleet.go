package plan

import (
	"fmt"
	"time"

	"qsuper/slot"
)

// Fleet is what is known of the hosts that share a consumer's slots.
type Fleet struct {
	Lock      string        // name of the store in the file
	Exclusive bool          // see config
	Known     bool          // the store answers
	Err       string        // why not
	Patience  time.Duration // how long a share that nobody takes is left
	Here      int           // slots this host has
	Elsewhere int           // slots others have
	Others    string        // who they are, for texts: "web2 (3), web3"
	Hosts     int           // that could run it, this one included; at least 1
	Rank      int           // this host's place among them, from 0
	Least     int           // of slots that one of them has
	Short     int           // slots that others lack of their share while all are taken
	Next      time.Time     // when a slot of another host becomes free if that is dead; zero: never
}

// Lease says whose a shared slot is.
type Lease uint8

// The answers. A slot that is not shared, or that nobody has, is free.
const (
	LeaseFree Lease = iota
	LeaseHere
	LeaseElsewhere
)

// Spare remembers the slots that are beyond this host's share and that nobody
// takes: a host that could run them may be unable to all the same.
type Spare struct {
	Since time.Time // zero: there are none
	Extra int       // of them that this host has taken upon itself
	Hosts int       // when that was decided
}

// storeGate keeps shut while the store does not answer. What need not be exclusive
// goes on in the slots that this host has: that another host may take them too is
// waste, and no harm.
func storeGate(_ Program, o Observed, _ time.Time) Gate {
	f := o.Fleet
	switch {
	case f == nil:
		return Gate{Name: "store", State: Skipped, Evidence: "its slots are this host's own"}
	case f.Known:
		text := fmt.Sprintf("%s answers; %s here", f.Lock, slotCount(f.Here))
		if f.Elsewhere > 0 {
			text += ", " + f.Others
		}
		if f.Hosts > 1 {
			text += fmt.Sprintf("; %d hosts share them", f.Hosts)
		}
		return Gate{Name: "store", State: Open, Evidence: text}
	}
	text := f.Lock + " has not answered yet"
	if f.Err != "" {
		text = f.Lock + " does not answer: " + f.Err
	}
	if !f.Exclusive && f.Here > 0 {
		return Gate{Name: "store", State: Open, Evidence: fmt.Sprintf("%s; this host goes on with the %s it has", text, slotCount(f.Here))}
	}
	return Gate{"store", Unknown, text, slot.LockStore}
}

func slotCount(n int) string {
	if n == 1 {
		return "1 slot"
	}
	return fmt.Sprintf("%d slots", n)
}

// quota is what a place among hosts is due of n slots.
func quota(n, hosts, rank int) int {
	q := n / hosts
	if rank < n%hosts {
		q++
	}
	return q
}

// local is how many of the fleet's slots this host should run. It takes no more
// than its share, and gives up no more than it must: a slot moves only when
// another host is short of a whole one.
func local(r *Result, f *Fleet, target int, now time.Time) int {
	if !f.Known {
		return min(target, f.Here)
	}
	share := quota(target, f.Hosts, f.Rank)
	if f.Here+f.Elsewhere >= target {
		r.Short = max(0, share-f.Here)
	}
	if f.Here > share && f.Least >= target/f.Hosts {
		share = min(f.Here, (target+f.Hosts-1)/f.Hosts)
	}
	share += spare(r, f, target, share, now)
	want := max(0, min(share, target-f.Elsewhere))
	if want == 0 && target > 0 {
		r.Reason = slot.Reason{Code: slot.Elsewhere, Text: "other hosts run it: " + f.Others}
		if f.Elsewhere == 0 {
			r.Reason.Text = fmt.Sprintf("%s, and it is another host's turn", slotCount(target))
		}
	}
	return want
}

// spare is how many slots beyond its share a host takes, because the others have
// left them for long enough, and until they want them. What this host has itself nobody else could take: it
// says nothing about the others.
func spare(r *Result, f *Fleet, target, share int, now time.Time) int {
	m := &r.Memory.Spare
	if m.Hosts != f.Hosts {
		*m = Spare{Hosts: f.Hosts}
	}
	m.Extra = max(0, min(m.Extra, target-f.Elsewhere-share-f.Short))
	left := target - f.Elsewhere - max(f.Here, share+m.Extra)
	if left <= 0 {
		m.Since = time.Time{}
		return m.Extra
	}
	if m.Since.IsZero() {
		m.Since = now
	}
	if until := m.Since.Add(f.Patience); now.Before(until) {
		r.Next = Sooner(r.Next, until)
	} else {
		m.Extra, m.Since = target-f.Elsewhere-share, time.Time{}
	}
	return m.Extra
}

// stillness is how long an instance beyond this host's share must have used no
// CPU before it is asked to make room.
const stillness = 10 * time.Second

// even asks instances to finish that are more than this host's share and do
// nothing. Busy ones are left, and not replaced.
func even(r *Result, f *Fleet, slots []Slot, now time.Time) {
	if f == nil || !f.Known || f.Here <= r.Target || f.Hosts < 2 || r.Memory.Target < f.Here+f.Elsewhere {
		return
	}
	for i := range slots {
		s := &slots[i]
		if r.Decisions[i].Want != slot.Hold || s.Phase != slot.Running || s.Quiet.IsZero() {
			continue
		}
		if until := s.Quiet.Add(stillness); now.Before(until) {
			r.Next = Sooner(r.Next, until)
			continue
		}
		r.Decisions[i] = Decision{slot.Down, slot.Reason{Code: slot.Surplus, Text: fmt.Sprintf("idle, and %d hosts share the slots now", f.Hosts)}}
	}
}
