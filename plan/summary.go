package plan

import (
	"fmt"
	"time"

	"qsuper/slot"
)

// State is a consumer as a person sees it.
type State string

// The states of a consumer.
const (
	Running  State = "running"
	Waiting  State = "waiting"  // nothing to do, or a gate is shut
	Backoff  State = "backoff"  // it crashed and will be tried again
	Stopping State = "stopping" // told to end, not gone yet
	Stopped  State = "stopped"  // by a person, or ended for good as `restart` says
	Held     State = "held"     // paused, or an exit forbids another start
)

// Summary is what a table shows in one row.
type Summary struct {
	State   State
	Healthy bool // false: something that should be up is not
	Running int
	Reason  slot.Reason
	Since   time.Time
}

// crashLoop is the number of failures in a row from which a process that runs
// at the moment still counts as crash-looping, until it has proved stable.
const crashLoop = 3

// Summarize reduces slots to one row.
func Summarize(p Program, r Result, slots []Slot, now time.Time) Summary {
	c := count(p, slots, now)
	s := Summary{Running: c.running, Healthy: true, Reason: r.Reason}
	s.State = state(r, slots, c)
	switch {
	case r.Reason.Code == slot.Breaker:
		s.Healthy = false
		s.Reason = hinted(s.Reason, r)
	case c.failing != nil && s.State != Stopping && s.State != Stopped:
		s.Healthy = false
		s.Reason = c.failing.Reason
		if c.failing.Phase == slot.Running {
			s.Reason = slot.Reason{Code: slot.Backoff, Text: fmt.Sprintf("crashed %d times in a row, last: %s", c.failing.Failures, c.failing.Last.Detail())}
		}
		s.Reason = hinted(s.Reason, r)
	case s.State == Held && c.final != nil:
		s.Healthy = c.final.Reason.Code == slot.Ended && !c.final.Last.Class.Failed()
		s.Reason = c.final.Reason
	case s.State == Stopped && c.final != nil && r.Reason.Code != slot.Stopped:
		s.Healthy = !c.final.Last.Class.Failed()
		s.Reason = c.final.Reason
	case c.stuck != nil && s.State != Stopping:
		s.Healthy = false
		s.Reason = c.stuck.Reason
	case unhealthy[r.Reason.Code]:
		s.Healthy = false
	case r.Reason.Code == slot.Ramp && s.State != Stopping: // it will be up in seconds
	case s.State == Running:
		s.Reason = slot.Reason{Code: slot.OK}
		if c.running < r.Target && c.waiting != nil {
			s.Reason = c.waiting.Reason
		}
	case s.State == Stopping && c.draining != nil:
		s.Reason = c.draining.Reason
	case r.Reason.Code == slot.OK && c.waiting != nil:
		s.Reason = c.waiting.Reason
	}
	s.Since = since(slots, s.State)
	return s
}

// hinted is a reason with what crashes have in common, if that is known.
func hinted(why slot.Reason, r Result) slot.Reason {
	if r.Hint != "" {
		why.Text = why.String() + "; " + r.Hint
	}
	return why
}

// unhealthy are the reasons of a whole consumer for which somebody must be
// told: it should run and cannot.
var unhealthy = map[slot.Code]bool{slot.Connection: true, slot.NoQueue: true, slot.QueueUnsure: true, slot.LockStore: true, slot.ForeignUnsure: true}

type counts struct {
	running, alive                           int
	failing, final, stuck, waiting, draining *Slot
}

func count(p Program, slots []Slot, now time.Time) counts {
	var c counts
	for i := range slots {
		s := &slots[i]
		switch {
		case s.Phase == slot.Running:
			c.running++
			if s.Failures >= crashLoop && now.Sub(s.Started) < max(p.Policy.ResetAfter, p.Policy.Pause(s.Failures)) {
				c.failing = s
			}
		case s.Phase == slot.Draining || s.Phase == slot.Killing:
			c.draining = s
		case s.Phase == slot.Waiting && s.Want == slot.Up && s.Reason.Code == slot.Backoff:
			c.failing = s
		case s.Phase == slot.Waiting && s.Want == slot.Up && (s.Reason.Code == slot.Locked || s.Reason.Code == slot.Host):
			c.stuck = s
		case s.Phase == slot.Waiting && s.Want == slot.Up && !s.Deadline.IsZero():
			c.waiting = s
		case s.Phase == slot.Halted && s.Final && s.Stopped == "":
			c.final = s
		}
		if s.Phase.Alive() {
			c.alive++
		}
	}
	return c
}

func state(r Result, slots []Slot, c counts) State {
	code := r.Reason.Code
	switch {
	case code == slot.Stopped || code == slot.Shutdown || code == slot.Paused:
		if c.alive > 0 {
			return Stopping
		}
		if code == slot.Paused {
			return Held
		}
		return Stopped
	case c.running > 0:
		return Running
	case c.failing != nil || code == slot.Breaker && c.alive == 0:
		return Backoff
	case c.alive > 0:
		if c.draining != nil && c.draining.Want == slot.Down {
			return Stopping
		}
		return Running
	case c.final != nil && c.waiting == nil:
		if c.final.Reason.Code == slot.Permanent || c.final.Last.Class.Failed() {
			return Held
		}
		return Stopped
	case len(slots) > 0 && allStopped(slots):
		return Stopped
	}
	return Waiting
}

func allStopped(slots []Slot) bool {
	for i := range slots {
		if slots[i].Stopped == "" {
			return false
		}
	}
	return true
}

// since is when the consumer came into its state, as far as its slots tell.
func since(slots []Slot, st State) time.Time {
	var t time.Time
	for i := range slots {
		s := &slots[i]
		if st == Running && s.Phase != slot.Running || s.Since.IsZero() {
			continue
		}
		if t.IsZero() || st == Running == s.Since.Before(t) {
			t = s.Since
		}
	}
	return t
}
