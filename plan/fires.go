package plan

import (
	"fmt"
	"time"

	"qsuper/schedule"
	"qsuper/slot"
)

// Overlap says what becomes of a fire while its job still runs.
type Overlap string

// The ways to deal with it.
const (
	OverlapSkip    Overlap = "skip"
	OverlapQueue   Overlap = "queue" // one waits, others are skipped
	OverlapAllow   Overlap = "allow"
	OverlapReplace Overlap = "replace"
)

// Job is what the file says about when a job runs.
type Job struct {
	Table   *schedule.Timetable
	Overlap Overlap
	RunOnce bool          // missed fires run once, the latest for all; else not at all
	Jitter  time.Duration // by which its starts are later than its fires
	Slots   int           // runs at once
}

const (
	// OnTime is how late a fire may be decided on without counting as missed.
	OnTime = time.Minute
	// maxStep is the longest step of the wall clock, either way, after which a job
	// goes on from where it was.
	maxStep = 3 * time.Hour
	// countMissed bounds the fires that are gone through one by one.
	countMissed = 1000
)

// Fired is what becomes of one fire, or of several that were missed.
type Fired struct {
	At    time.Time // the fire; of several the last
	Start bool      // else it is skipped, for Why
	Why   slot.Reason
	Note  string // of a start: what is special about it
	Count int    // fires that this is about; for a start those that were missed and are made up for
}

// Fires decides on every fire that has come due since the last decision. upto is
// the last fire that has been decided on; open is how many fires run or are
// about to. shut is why none may start now; its Code is "" when they may.
func (j Job) Fires(upto, now time.Time, open int, shut slot.Reason) (list []Fired) {
	missed, last, present := j.due(upto, now)
	if n := len(present); n > 1 && j.Overlap != OverlapQueue && j.Overlap != OverlapAllow {
		missed, last, present = missed+n-1, present[n-2], present[n-1:] // one of them can run: the latest
	}
	if missed > 0 {
		f := Fired{At: last.At, Count: missed, Why: slot.Reason{Code: slot.Missed, Text: missedText(missed)}}
		switch {
		case shut.Code != "":
			f.Why = shut
		case j.RunOnce && len(present) > 0:
			f.Why.Text += "; the next one runs for all"
		case j.RunOnce:
			f = j.overlapped(Fired{At: last.At, Count: missed, Note: f.Why.Text}, &open)
		}
		list = append(list, f)
	}
	for _, fire := range present {
		f := Fired{At: fire.At, Count: 1, Note: fire.Note, Why: shut}
		if shut.Code == "" {
			f = j.overlapped(f, &open)
		}
		list = append(list, f)
	}
	return list
}

// Manual decides on a fire that a person asks for.
func (j Job) Manual(now time.Time, open int) Fired {
	return j.overlapped(Fired{At: now, Count: 1}, &open)
}

// due lists the fires between two moments: how many of them come too late and
// the last of those, and one by one those that are on time.
func (j Job) due(upto, now time.Time) (missed int, last schedule.Fire, present []schedule.Fire) {
	now = now.Add(-j.Jitter)
	late := now.Add(-OnTime)
	f := j.Table.Next(upto)
	for ; !f.At.IsZero() && f.At.Before(late); f = j.Table.Next(f.At) {
		if missed, last = missed+1, f; missed == countMissed {
			last = j.latest(late, f)
			f = j.Table.Next(last.At)
			break
		}
	}
	for ; !f.At.IsZero() && !f.At.After(now); f = j.Table.Next(f.At) {
		present = append(present, f)
	}
	return missed, last, present
}

// latest is the last fire before a moment; known is one before it.
func (j Job) latest(before time.Time, known schedule.Fire) schedule.Fire {
	for back := time.Minute; ; back *= 2 {
		from := before.Add(-back)
		all := !from.After(known.At)
		if all {
			from = known.At
		}
		var last schedule.Fire
		for f := j.Table.Next(from); !f.At.IsZero() && f.At.Before(before); f = j.Table.Next(f.At) {
			last = f
		}
		if !last.At.IsZero() {
			return last
		}
		if all {
			return known
		}
	}
}

func missedText(n int) string {
	switch {
	case n == 1:
		return "nobody was there when it was due"
	case n >= countMissed:
		return fmt.Sprintf("nobody was there for %d fires or more", n)
	}
	return fmt.Sprintf("nobody was there for %d fires", n)
}

// overlapped decides on a fire that may start. One that is to replace, or to
// wait for, another is started as well: it gets its turn when that has ended.
func (j Job) overlapped(f Fired, open *int) Fired {
	switch {
	case *open == 0, j.Overlap == OverlapReplace, j.Overlap == OverlapQueue && *open == 1, j.Overlap == OverlapAllow && *open < j.Slots:
		f.Start = true
		if j.Overlap != OverlapReplace {
			*open++
		} else {
			*open = 1
		}
		return f
	case j.Overlap == OverlapQueue:
		f.Why = slot.Reason{Code: slot.Overlap, Text: "it still runs, and another fire waits already"}
	case j.Overlap == OverlapAllow:
		f.Why = slot.Reason{Code: slot.Overlap, Text: fmt.Sprintf("%d of %d runs go on", *open, j.Slots)}
	default:
		f.Why = slot.Reason{Code: slot.Overlap, Text: "it still runs"}
	}
	return f
}

// Next is when the next fire has to be decided on; zero: never.
func (j Job) Next(upto time.Time) (due time.Time, f schedule.Fire) {
	f = j.Table.Next(upto)
	if f.At.IsZero() {
		return f.At, f
	}
	return f.At.Add(j.Jitter), f
}

// Rebase says whether a job has to begin anew at the present moment: the clock
// has been put so far that what lies between is no time that was missed.
func Rebase(step time.Duration) bool { return step > maxStep || step < -maxStep }

// JobSlot is a slot of a job as the planner sees it.
type JobSlot struct {
	Slot
	Fire  bool        // it has one
	Begun bool        // its run has been started
	Text  string      // which fire, in words
	Leave slot.Reason // another takes its place; Code "" = no
}

// DecideJob says what is wanted of each slot of a job. p has no queue and no
// window. idle is what to say of those without a fire.
func DecideJob(p Program, o Observed, slots []JobSlot, idle slot.Reason, now time.Time) Result {
	r := Result{Decisions: make([]Decision, len(slots)), Reason: idle}
	want, why := shut(p, o, now)
	for i, s := range slots {
		if s.Fire {
			r.Target++
			r.Reason = slot.Reason{Code: slot.Due, Text: s.Text}
		}
		d := Decision{slot.Up, slot.Reason{Code: slot.Due, Text: s.Text}}
		switch {
		case want == slot.Down && why.Code != slot.Paused:
			d = Decision{slot.Down, why}
		case s.Leave.Code != "":
			d = Decision{slot.Down, s.Leave}
		case !s.Fire:
			d = Decision{slot.Down, idle}
		case want != slot.Up && !s.Begun:
			d = Decision{slot.Hold, why}
		}
		r.Decisions[i] = d
	}
	if want != slot.Up && (r.Target > 0 || want == slot.Down) {
		r.Reason = why
	}
	return r
}
