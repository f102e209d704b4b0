package main

import (
	"time"

	"qsuper/config"
	"qsuper/control"
	"qsuper/health"
	"qsuper/plan"
	"qsuper/runner"
	"qsuper/slot"
)

// consumers converts them, with what all their instances together use.
func (d *daemon) consumers(shots []runner.Snapshot, q control.StatusQuery) []control.ConsumerStatus {
	var printed map[string]uint64
	if q.Usage {
		printed = d.printed()
	}
	list := make([]control.ConsumerStatus, 0, len(shots))
	for _, shot := range shots {
		c := consumerStatus(shot)
		if n := printed[c.Name]; printed != nil {
			c.LogBytes = &n
		}
		if q.Usage {
			c.RSSBytes = new(int64)
			for _, u := range c.Slots {
				*c.RSSBytes += u.RSSBytes
			}
		}
		if !q.Slots {
			c.Slots = nil
		}
		list = append(list, c)
	}
	return list
}

func consumerStatus(s runner.Snapshot) control.ConsumerStatus {
	c := control.ConsumerStatus{
		Name: s.Config.Name, Group: s.Config.Group, State: string(s.Summary.State), Healthy: s.Summary.Healthy,
		Wanted: s.Result.Target, Running: s.Summary.Running, Max: s.Max,
		Code: string(s.Summary.Reason.Code), Since: s.Summary.Since,
		Starts: s.Tally.Starts, ExitClasses: map[string]uint64{}, StopSteps: s.Tally.Stops,
	}
	c.Exits, c.Crashes = s.Tally.All()
	for class, n := range s.Tally.Exits {
		c.ExitClasses[string(class)] = n
	}
	if s.Summary.Reason.Code != slot.OK {
		c.Reason = s.Summary.Reason.String()
	}
	if q := s.Config.Queue; q != nil {
		c.Queue = queueStatus(q, s.Observed.Queue)
	}
	if c.Output = outputState(s.Output); c.Output != nil {
		c.Output.Slots = s.Unkept
	}
	c.LimitsMissed = s.Missed
	if s.Exclusive {
		left := max(0, s.Margin.Seconds())
		c.LeaseMargin = &left
	}
	for _, g := range s.Observed.Signals {
		c.RestartOn = append(c.RestartOn, signalStatus(g))
	}
	for _, u := range s.Slots {
		c.Slots = append(c.Slots, slotStatus(u))
	}
	return c
}

func signalStatus(g plan.Signal) control.SignalStatus {
	s := control.SignalStatus{Name: g.Name, Error: g.Err}
	if !g.Since.IsZero() {
		s.ChangedAt = &g.Since
	}
	return s
}

func queueStatus(q *config.Queue, d *plan.Depth) *control.QueueStatus {
	s := &control.QueueStatus{Connection: q.Connection, Name: q.Name, State: string(health.Unknown)}
	if d == nil {
		s.Error = "not measured yet"
		return s
	}
	s.State, s.MeasuredAt, s.Error = string(d.State), d.At, d.Err
	if d.State != health.OK {
		return s
	}
	s.Ready = &d.Ready
	s.InFlight, s.Delayed, s.Consumers = known64(d.InFlight), known64(d.Delayed), known64(d.Consumers)
	s.OldestSeconds = knownSeconds(d.Oldest)
	return s
}

func known64(n int64) *int64 {
	if n == health.NotKnown {
		return nil
	}
	return &n
}

func knownSeconds(d time.Duration) *float64 {
	if d == health.NotKnown {
		return nil
	}
	seconds := d.Seconds()
	return &seconds
}

func slotStatus(u runner.SlotSnapshot) control.SlotStatus {
	s := control.SlotStatus{
		Slot: u.Slot, Phase: u.State.Phase.String(), PID: u.State.PID, Since: u.State.Since, Run: u.State.Run,
		Failures: u.State.Failures, Code: string(u.State.Reason.Code), Adopted: u.State.Adopted,
		RSSBytes: u.RSS, CPUPercent: u.CPU, CPUSeconds: u.Used.Seconds(), Outdated: u.Outdated, Output: outputState(u.Output), DroppedBytes: u.Output.Lost,
	}
	if u.State.Phase == slot.Running {
		s.Code = string(slot.OK)
	} else {
		s.Reason = u.State.Reason.String()
	}
	if !u.State.Deadline.IsZero() {
		s.Deadline = &u.State.Deadline
	}
	if u.State.Last.Run != 0 || u.State.Last.Class != "" {
		e := exitStatus(u.State.Last)
		s.LastExit = &e
	}
	return s
}

func outputState(o runner.Output) *control.OutputState {
	if o.Trouble == "" {
		return nil
	}
	return &control.OutputState{Error: o.Trouble, Since: o.Since}
}

func exitStatus(e slot.ExitRecord) control.ExitStatus {
	return control.ExitStatus{
		Run: e.Run, Code: e.Code, Signal: slot.SignalName(e.Signal), Class: string(e.Class), Step: e.Step,
		At: e.At, Seconds: e.Ran.Seconds(), StopSeconds: e.Took.Seconds(), Detail: e.Note,
	}
}
