package main

import (
	"context"
	"slices"
	"time"

	"qsuper/control"
	"qsuper/internal/kind"
	"qsuper/runner"
	"qsuper/slot"
)

// jobs answers for the jobs among names.
func (d *daemon) jobs(names []string, detail runner.Detail) ([]control.JobStatus, error) {
	shots, err := d.runner.Jobs(names, detail)
	if err != nil {
		return nil, err
	}
	list := make([]control.JobStatus, 0, len(shots))
	for _, s := range shots {
		list = append(list, jobStatus(s, detail.Slots))
	}
	return list, nil
}

func jobStatus(s runner.JobSnapshot, all bool) control.JobStatus {
	j := control.JobStatus{
		Name: s.Config.Name, Group: s.Config.Group, Schedule: s.Config.Schedule.String(), Timezone: s.Config.Schedule.Zone().String(),
		State: string(s.State), Healthy: s.Healthy, Code: string(s.Reason.Code), Reason: s.Reason.String(),
		Running: s.Running > 0, Skipped: s.Skipped, Note: s.Next.Note,
	}
	if !s.Next.At.IsZero() && s.State != runner.JobStopped {
		starts := s.Next.At.Add(s.Delay)
		j.Next, j.Starts = &s.Next.At, &starts
	}
	for _, o := range s.History {
		if end := jobEnd(o); o.Class == slot.ClassElsewhere {
			j.Elsewhere = &end
		} else {
			j.Last = &end
		}
	}
	if s.Config.Shared() {
		j.Lock = s.Config.Lock
	}
	if s.Skip.Count > 0 {
		j.Skip = &control.JobSkip{At: s.Skip.At, Count: s.Skip.Count, Code: string(s.Skip.Code), Reason: slot.Reason{Code: s.Skip.Code, Text: s.Skip.Text}.String()}
	}
	for _, f := range s.Open {
		j.Open = append(j.Open, jobFire(f))
	}
	if all {
		for _, o := range slices.Backward(s.History) {
			j.History = append(j.History, jobEnd(o))
		}
	}
	return j
}

func jobFire(f runner.Fire) control.JobFire {
	return control.JobFire{At: f.At, Manual: f.Manual, Note: f.Note, Try: f.Try, PID: f.PID()}
}

func jobEnd(o runner.Ended) control.JobEnd {
	return control.JobEnd{
		At: o.At, Manual: o.Manual, Note: o.Note, Tries: o.Try, Code: o.Code, Signal: slot.SignalName(o.Signal),
		Class: string(o.Class), Ended: o.Ended, Seconds: o.Seconds, Detail: o.Detail,
		Host: o.Host, Begun: o.Begun,
	}
}

// RunJob implements control.Daemon.
func (d *daemon) RunJob(ctx context.Context, j control.JobRun) (control.JobReply, error) {
	if limit := j.Limit(); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	r, err := d.runner.RunJob(ctx, j.Name, j.By, j.Wait)
	if err != nil {
		return control.JobReply{}, apiError(err)
	}
	reply := control.JobReply{Fire: jobFire(r.Fire), Skipped: r.Skipped, Waits: r.Waits}
	if r.End != nil {
		end := jobEnd(*r.End)
		reply.End = &end
	}
	return reply, nil
}

// ExplainJob implements control.Daemon.
func (d *daemon) ExplainJob(q control.JobSpan) (control.JobExplain, error) {
	cfg, _, _ := d.runner.Config()
	for _, job := range cfg.Jobs {
		if job.Name != q.Name {
			continue
		}
		if q.From.IsZero() {
			q.From = time.Now()
		}
		if q.Limit == 0 {
			q.Limit = control.MaxFires
		}
		return firesOf(job, q.From, q.For, q.Limit), nil
	}
	var known []string
	for _, job := range cfg.Jobs {
		known = append(known, job.Name)
	}
	return control.JobExplain{}, &control.NotFound{Name: q.Name, Kind: "job", Suggestion: kind.Nearest(q.Name, known)}
}

// explainJob is Explain for a job.
func (d *daemon) explainJob(s runner.JobSnapshot) control.Explain {
	status := jobStatus(s, true)
	x := control.Explain{
		Consumer: s.Config.Name, State: string(s.State), Wanted: len(s.Open), Running: s.Running, Reason: s.Reason.String(),
		Slots: []control.SlotExplain{}, Exits: []control.SlotExit{}, Job: &status,
	}
	gate := control.Gate{Name: "schedule", State: "closed", Evidence: "next fire at " + clock(s.Next.At) + due(s)}
	switch {
	case len(s.Open) > 0:
		gate.State, gate.Evidence = "open", "the fire of "+clock(s.Open[0].At)+" is due"
	case s.Next.At.IsZero():
		gate.Evidence = "no fire is to come"
	}
	x.Gates = append(gatesOf(s.Gates), gate)
	for _, u := range s.Slots {
		x.Slots = append(x.Slots, control.SlotExplain{
			Slot: u.Slot, Phase: u.State.Phase.String(), Want: u.State.Want.String(),
			Code: string(u.State.Reason.Code), Reason: u.State.Reason.String(), Gates: []control.Gate{},
		})
	}
	for _, o := range slices.Backward(s.History) {
		x.Exits = append(x.Exits, control.SlotExit{ExitStatus: control.ExitStatus{
			Code: o.Code, Signal: slot.SignalName(o.Signal), Class: string(o.Class), At: o.Ended, Seconds: o.Seconds,
			Detail: fireDetail(o),
		}})
	}
	return x
}

func fireDetail(o runner.Ended) string {
	text := "fire of " + clock(o.At)
	if o.Host != "" {
		text += ", " + o.Detail
	}
	return text
}

func due(s runner.JobSnapshot) string {
	if s.Delay == 0 {
		return ""
	}
	return ", starts " + humane(s.Delay.Round(time.Second)) + " later for its jitter"
}
