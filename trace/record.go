// Package trace keeps what was decided and on what: one line of JSON in a bounded
// file whenever a decision changes. The lines hold everything that plan.Decide was
// given, so that they can be replayed against another file.
package trace

import (
	"encoding/json"
	"slices"
	"time"

	"qsuper/plan"
	"qsuper/slot"
)

// Every is how far apart the records of a consumer are that changes its mind all the
// time: what is true then is kept.
const Every = time.Second

// Record is one decision about one consumer with its inputs, or about one fire of
// a job, which has only Observed and the reason in Was.
type Record struct {
	At       time.Time
	Consumer string
	Queue    string // "orders on broker"; "" = none
	Observed plan.Observed
	Memory   plan.Memory // before the decision
	Slots    []Slots     // in their order
	Was      Verdict
	Job      *Fire  // nil: it is about a consumer
	Missed   uint64 // records lost before this one, because they could not be written
}

// Fire is what has been decided about a moment at which a job is due.
type Fire struct {
	At     time.Time // the moment
	Manual bool      // a person asked for it
	Did    Did
	Note   string // what is special about it, such as those that were missed and are made up for
	Count  int    // skipped: fires, of which At is the last
	Try    int    // started or waiting: from 1
	Slot   int    // started
	Run    uint64 // started
}

// Did is what has been decided about a fire.
type Did string

// The decisions about fires.
const (
	FireStarted   Did = "started"
	FireWaits     Did = "waits" // it is due, and something keeps it from starting now
	FireSkipped   Did = "skipped"
	FireElsewhere Did = "elsewhere" // another host has it
)

// Slots are neighbours about which the planner knew the same.
type Slots struct {
	N int
	plan.Slot
}

// Verdict is what was decided.
type Verdict struct {
	Target int // instances wanted
	Ending int // processes there are that are to end
	Reason slot.Reason
	Slots  []Decided // in their order
}

// Decided are neighbours about which the same was decided.
type Decided struct {
	N int
	plan.Decision
}

// Up is how many slots are to run.
func (v Verdict) Up() int {
	n := 0
	for _, d := range v.Slots {
		if d.Want == slot.Up {
			n += d.N
		}
	}
	return n
}

// NewRecord copies what a decision rests on.
func NewRecord(p plan.Program, o plan.Observed, before plan.Memory, slots []plan.Slot, r plan.Result, now time.Time) *Record {
	rec := &Record{At: now.Round(0), Consumer: p.Name, Queue: p.Queue, Observed: o, Memory: before, Was: verdict(r, slots)}
	rec.Memory.Breaker.Crashes = slices.Clone(before.Breaker.Crashes) // its owner goes on with them
	rec.Memory.Deaths = slices.Clone(before.Deaths)
	renewals := len(o.Signals) > 0 || before.Renewal != (plan.Renewal{}) ||
		slices.ContainsFunc(slots, func(s plan.Slot) bool { return !s.Expires.IsZero() })
	for i := range slots {
		s := needed(slots[i], renewals, now)
		if n := len(rec.Slots); n > 0 && rec.Slots[n-1].Slot == s {
			rec.Slots[n-1].N++
		} else {
			rec.Slots = append(rec.Slots, Slots{1, s})
		}
	}
	return rec
}

func verdict(r plan.Result, slots []plan.Slot) Verdict {
	v := Verdict{Target: r.Target, Reason: r.Reason}
	for i, d := range r.Decisions {
		if d.Want == slot.Down && slots[i].Phase.Alive() {
			v.Ending++
		}
		if n := len(v.Slots); n > 0 && v.Slots[n-1].Decision == d {
			v.Slots[n-1].N++
		} else {
			v.Slots = append(v.Slots, Decided{1, d})
		}
	}
	return v
}

// needed leaves out of a slot what no decision looks at. A thousand instances that
// started at different moments would be a thousand entries: moments that are long
// past are rounded down, to what their age leaves of their weight.
// Only when a process was asked for counts to the moment, where something calls for
// others.
func needed(s plan.Slot, renewals bool, now time.Time) plan.Slot {
	s.Run, s.PID, s.Adopted, s.Failures, s.Quick, s.Asked = 0, 0, false, 0, 0, time.Time{}
	s.Wish, s.Last = slot.Reason{}, slot.ExitRecord{}
	if s.Phase == slot.Running && !s.Final {
		s.Reason = slot.Reason{Code: s.Reason.Code}
	}
	if s.Phase != slot.Spawning {
		s.Since = time.Time{}
	}
	s.Since, s.Started, s.Quiet = rounded(s.Since, now), rounded(s.Started, now), rounded(s.Quiet, now)
	if s.Launched = s.Launched.Round(0); !renewals {
		s.Launched = time.Time{}
	}
	s.Expires = s.Expires.Round(0)
	s.Deadline = s.Deadline.Round(0) // a moment of this process' clock means nothing to others
	return s
}

func rounded(t, now time.Time) time.Time {
	switch age := now.Sub(t); {
	case t.IsZero():
		return t
	case age > 10*time.Minute:
		return t.Truncate(time.Minute)
	case age > 10*time.Second:
		return t.Truncate(time.Second)
	}
	return t.Truncate(100 * time.Millisecond)
}

// line is a record as it is written.
func (r *Record) line() ([]byte, error) {
	text, err := json.Marshal(pruned(r))
	return append(text, '\n'), err
}
