package runner

import (
	"context"
	"fmt"
	"slices"
	"time"

	"qsuper/config"
	"qsuper/plan"
	"qsuper/schedule"
	"qsuper/slot"
)

// employ makes the crew when there are jobs.
func (r *Runner) employ(cfg *config.Config) (err error) {
	if r.crew == nil && len(cfg.Jobs) > 0 {
		r.crew, err = newCrew(r, cfg, r.clock)
	}
	return err
}

// reschedule is the part of a reload that concerns jobs. It is called with mu held.
func (r *Runner) reschedule(jobs []*config.Job) (order []string) {
	for _, conf := range jobs {
		order = append(order, conf.Name)
		switch c := r.consumers[conf.Name]; {
		case c == nil:
			r.consumers[conf.Name] = r.crew.add(conf)
		case c.job == nil:
			r.turned(c)
		default:
			c.box.put(rescheduled{conf})
		}
	}
	return order
}

// turned is for a name that was a consumer's and is now a job's, or the other way
// round: what runs has to end first.
func (r *Runner) turned(c *consumer) {
	c.box.put(gone{})
	r.log.Warn("is another kind of entry now: it begins with the reload that follows the end of what runs", "name", c.name)
}

// JobSnapshot is one job at one moment.
type JobSnapshot struct {
	Config  *config.Job
	State   plan.State
	Reason  slot.Reason
	Healthy bool          // false: a fire is due, and something keeps it from starting
	Next    schedule.Fire // At zero: there is none
	Delay   time.Duration // by which its starts are later than its fires
	Open    []Fire        // fires that run or are about to, oldest first
	Running int
	History []Ended // newest last, up to ten
	Skipped int     // fires, ever
	Skip    Skip    // the latest; Count 0: none
	Slots   []SlotSnapshot
	Gates   []plan.Gate // nil unless asked for
}

// Fire, Skip and Ended are what the ledger says of fires.
type (
	Fire  = fire
	Skip  = skip
	Ended = outcome
)

// PID is that of the run; 0: there is none now.
func (f fire) PID() int { return f.pid }

// The states of a job are those of a consumer.
const (
	JobRunning  = plan.Running
	JobWaiting  = plan.Waiting  // for its next fire, or for a gate
	JobRetrying = plan.Backoff  // a run has failed and will be tried again
	JobStopping = plan.Stopping // told to end, not gone yet
	JobStopped  = plan.Stopped
	JobPaused   = plan.Held
)

// Jobs shows the jobs that names mean; all of them without names.
func (r *Runner) Jobs(list []string, d Detail) ([]JobSnapshot, error) {
	targets, err := r.resolve(list)
	if err != nil {
		return nil, err
	}
	var shots []JobSnapshot
	for _, t := range targets {
		var s JobSnapshot
		if t.c.job != nil && r.query(t.c, func(c *consumer) { s = c.job.snapshot(t, d) }) {
			shots = append(shots, s)
		}
	}
	return shots, nil
}

func (j *job) snapshot(t target, d Detail) JobSnapshot {
	now, c := time.Now(), j.c
	c.decide(now)
	s := JobSnapshot{
		Config: j.conf, Next: j.next, Delay: j.rule.Jitter, Reason: c.result.Reason, Healthy: true,
		History: slices.Clone(j.rec.History), Skipped: j.rec.Skipped, Skip: j.rec.Skip,
	}
	for _, f := range j.rec.Open {
		shown := *f
		if f.unit != nil {
			shown.pid = f.unit.state.PID
		}
		s.Open = append(s.Open, shown)
	}
	s.State = JobWaiting
	alive := 0
	for _, u := range c.units {
		if t.means(u.n) {
			s.Slots = append(s.Slots, SlotSnapshot{Slot: u.n, State: u.state, RSS: u.usage.rss, CPU: u.usage.share * 100, Output: u.output})
		}
		switch p := u.state.Phase; {
		case p == slot.Running || p == slot.Spawning:
			s.Running++
		case u.fire != nil && p == slot.Waiting && u.state.Reason.Code == slot.Backoff:
			s.State, s.Reason = JobRetrying, u.state.Reason
		case u.fire != nil && p == slot.Waiting:
			s.Reason = u.state.Reason
			s.Healthy = s.Healthy && !keepsJob[u.state.Reason.Code] && (u.state.Reason.Code != slot.LockStore || c.fleet.answers())
		}
		if u.state.Phase.Alive() {
			alive++
		}
	}
	switch shut := j.shut(); {
	case (shut.Code == slot.Stopped || c.shutdown) && alive > 0:
		s.State = JobStopping
	case shut.Code == slot.Stopped:
		s.State, s.Reason = JobStopped, shut
	case s.Running > 0:
		s.State = JobRunning
	case shut.Code == slot.Paused:
		s.State, s.Reason = JobPaused, shut
	}
	if d.Gates {
		s.Gates = append(plan.JobGates(c.prog, c.observed, now), c.rateGate())
	}
	return s
}

// keepsJob are the reasons for which a fire that is due does not start, and
// somebody must be told.
var keepsJob = map[slot.Code]bool{slot.Connection: true, slot.Locked: true, slot.Host: true}

// JobReply says what became of a run by hand.
type JobReply struct {
	Fire    Fire
	Skipped string // why it does not run; "" = it does
	Waits   string // what it waits for at this moment; "" = nothing
	End     *Ended // nil: it has not ended yet
}

// RunJob has a job run now, within what its overlap allows. With wait it returns
// when the run, with its retries, has ended; a ctx that ends takes nothing back.
func (r *Runner) RunJob(ctx context.Context, name, by string, wait bool) (JobReply, error) {
	targets, err := r.resolve([]string{name})
	if err != nil {
		return JobReply{}, err
	}
	c := targets[0].c
	if len(targets) > 1 || c.job == nil {
		return JobReply{}, &UsageError{fmt.Sprintf("%q is not one job", name), "name a job: `qsuper jobs` lists them"}
	}
	if r.Stopping() {
		return JobReply{}, ErrStopping
	}
	var reply JobReply
	begun, done := make(chan struct{}), make(chan struct{})
	c.box.put(intended{func(c *consumer, _ time.Time) {
		reply = c.job.byHand(by)
		close(begun)
	}})
	select {
	case <-begun:
	case <-c.done:
		return JobReply{}, ErrStopping
	}
	if reply.Skipped != "" {
		return reply, nil
	}
	at := reply.Fire.At
	c.box.put(watcher{func(c *consumer) bool {
		f := c.job.find(at)
		return f == nil || !wait && c.job.decided(f)
	}, done})
	select {
	case <-done:
	case <-c.done:
	case <-ctx.Done():
	}
	r.query(c, func(c *consumer) { c.job.report(&reply, at) })
	return reply, nil
}

func (j *job) byHand(by string) JobReply {
	if shut := j.shut(); shut.Code != "" {
		return JobReply{Skipped: "it is " + shut.Text}
	}
	f := j.rule.Manual(j.w.wall, j.open())
	if !f.Start {
		return JobReply{Skipped: f.Why.Text}
	}
	for j.find(f.At) != nil {
		f.At = f.At.Add(1) // a moment names one fire only
	}
	j.begin(&fire{At: f.At, Manual: true, Note: "by " + by, Try: 1})
	return JobReply{Fire: fire{At: f.At, Manual: true}}
}

// find is the open fire of a moment; nil: there is none.
func (j *job) find(at time.Time) *fire {
	for _, f := range j.rec.Open {
		if f.At.Equal(at) {
			return f
		}
	}
	return nil
}

// report fills in what has become of a fire.
func (j *job) report(reply *JobReply, at time.Time) {
	for _, f := range j.rec.Open {
		if !f.At.Equal(at) {
			continue
		}
		if reply.Fire = *f; f.unit == nil {
			reply.Waits = "another run to end"
		} else if s := f.unit.state; !s.Phase.Alive() {
			reply.Waits = s.Reason.String()
		} else {
			reply.Fire.pid = s.PID
		}
	}
	for _, o := range j.rec.History {
		if o.At.Equal(at) {
			reply.End = &o
		}
	}
	if s := j.rec.Skip; reply.End == nil && s.At.Equal(at) && j.find(at) == nil {
		reply.Skipped = slot.Reason{Code: s.Code, Text: s.Text}.String()
	}
}
