package runner

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"strings"
	"time"

	"qsuper/config"
	"qsuper/keeper"
	"qsuper/plan"
	"qsuper/schedule"
	"qsuper/slot"
)

// job is what a consumer with a schedule has beside its slots. Its owner is the
// crew's loop.
type job struct {
	c      *consumer
	w      *crew
	conf   *config.Job
	rule   plan.Job
	rec    *record   // the ledger's
	told   slot.Code // why fires in a row were skipped, which is logged once
	opened bool      // what an earlier engine has left is settled
	due    time.Time
	next   schedule.Fire
}

// onceMark begins the tag of what must not be started a second time: the next
// keeper tells of it even when it has ended.
const onceMark = keeper.OnceTag

// take takes the words of the file.
func (j *job) take(conf *config.Job) {
	j.conf = conf
	j.rule = plan.Job{
		Table: conf.Schedule, Overlap: plan.Overlap(conf.Overlap), RunOnce: conf.Missed == config.MissedRunOnce,
		Slots: conf.Instances.Max, Jitter: ownDelay(conf),
	}
	j.due = j.w.clock.Now() // look at it
}

// ownDelay is the part of `jitter` that this job has on this host. It is always
// the same, so that the time between two runs is that between their fires.
func ownDelay(conf *config.Job) time.Duration {
	if conf.Jitter <= 0 {
		return 0
	}
	h := fnv.New64a()
	host, _ := os.Hostname()
	h.Write([]byte(host + "/" + conf.Name))
	return time.Duration(h.Sum64() % uint64(conf.Jitter)).Truncate(time.Millisecond)
}

// handle takes what only a job is told.
func (j *job) handle(m any, now time.Time) {
	switch m := m.(type) {
	case rescheduled:
		j.take(m.job)
		j.c.reconfigure(m.job.Consumer, now)
	case claimed:
		j.claimed(m, now)
	}
}

// attach finds what is remembered of the job. Numbers of runs go on from there,
// whatever has become of the keeper that knew them.
func (j *job) attach() {
	if j.rec != nil {
		return
	}
	j.rec = j.w.ledger.of(j.c.name)
	for _, u := range j.c.units {
		u.state.Run = max(u.state.Run, j.rec.Runs[u.n])
	}
}

// schedule is what a record remembers of the timetable: another one is another
// set of fires.
func (j *job) schedule() string {
	return j.conf.Schedule.String() + " " + j.conf.Schedule.Zone().String()
}

// policy is the slot's, with the tries that are left for its fire.
func (j *job) policy(p slot.Policy, u *unit) slot.Policy {
	p.Timeout, p.Restart = j.conf.Timeout, slot.Never
	if u.fire != nil && u.fire.Try <= j.conf.Retries.Times && !j.c.shutdown && !j.c.removed && j.c.human.Stopped == "" {
		p.Restart = slot.Unexpected
	}
	return p
}

// ripe says whether something is due by the clock.
func (j *job) ripe(wall time.Time) bool { return !j.due.IsZero() && !wall.Before(j.due) }

// stepped follows that somebody has set the clock. After a long way the job goes
// on from here; what lies between is no time in which it was missed.
func (j *job) stepped(by time.Duration) {
	j.due = j.w.wall
	if !j.opened || !plan.Rebase(by) {
		return
	}
	j.base()
	text := fmt.Sprintf("the clock was set by %s: goes on from %s", by.Round(time.Second), j.w.wall.Format(time.DateTime))
	j.tell(slot.Reason{Code: slot.Clock, Text: text})
}

// base has everything up to this moment decided on.
func (j *job) base() {
	j.w.ledger.note(entry{Op: "base", Job: j.c.name, At: j.w.wall, Text: j.schedule()})
}

// look deals with runs that have ended, with fires that have come due, and gives
// open ones a slot. It is called at the beginning of each turn.
func (j *job) look(now time.Time) {
	wall := j.w.wall
	if !j.opened {
		j.recover(wall)
	}
	if j.rec.Schedule != j.schedule() {
		j.base()
	}
	j.reap(now)
	j.settleClaims()
	if !j.c.shutdown && !j.c.removed {
		for _, f := range j.rule.Fires(j.rec.Upto, wall, j.open(), j.shut()) {
			j.fired(f)
		}
	}
	j.drop()
	j.assign(now, wall)
	if j.due, j.next = j.rule.Next(j.rec.Upto); j.c.shutdown || j.c.removed {
		j.due = time.Time{}
		return
	}
	for _, f := range j.rec.Open {
		if f.unit == nil && f.Again.After(wall) {
			j.due = plan.Sooner(j.due, f.Again)
		}
		if at := j.staleAt(f); j.c.fleet != nil && !j.rule.RunOnce && at.After(wall) {
			j.due = plan.Sooner(j.due, at)
		}
	}
}

// shut is why a fire may not start at all now.
func (j *job) shut() slot.Reason {
	switch h := j.c.human; {
	case h.Stopped != "":
		return slot.Reason{Code: slot.Stopped, Text: "stopped " + h.Stopped}
	case h.Paused != "":
		return slot.Reason{Code: slot.Paused, Text: "paused " + h.Paused}
	}
	return slot.Reason{}
}

func (j *job) fired(f plan.Fired) {
	if !f.Start {
		if o := j.rec.waits(); o != nil && f.Why.Code == slot.Overlap {
			f.Why.Text = fireText(o.At.In(j.conf.Schedule.Zone())) + " still waits"
		}
		j.skip(skip{At: f.At, Count: f.Count, Code: f.Why.Code, Text: f.Why.Text})
		return
	}
	j.begin(&fire{At: f.At, Note: f.Note, Try: 1})
}

// begin opens a fire. With overlap: replace those before it are to end.
func (j *job) begin(f *fire) {
	j.share(f)
	j.w.ledger.note(entry{Op: "due", Job: j.c.name, Fire: f})
	j.told = ""
	j.c.replan = true
	if j.conf.Overlap != config.OverlapReplace {
		return
	}
	for _, o := range append([]*fire(nil), j.rec.Open...) {
		switch {
		case o == f:
		case o.unit != nil && o.unit.state.Phase.Alive():
			o.unit.leave = slot.Reason{Code: slot.Replaced}
		default:
			j.skip(skip{At: o.At, Manual: o.Manual, Count: 1, Code: slot.Replaced})
			j.free(o)
		}
	}
}

// skip records that a fire does not start, and says so.
func (j *job) skip(s skip) {
	j.w.ledger.note(entry{Op: "skip", Job: j.c.name, Skip: &s})
	why := slot.Reason{Code: s.Code, Text: s.Text}
	j.recordSkip(s)
	j.tell(slot.Reason{Code: s.Code, Text: fireText(s.At) + " skipped: " + why.String()})
	j.told = s.Code
}

// tell puts something that is no transition of a slot into journal and log.
func (j *job) tell(why slot.Reason) {
	j.c.r.journal.add(Event{At: time.Now(), Consumer: j.c.name, Slot: -1, Reason: why})
	level := slog.LevelInfo
	if why.Code == j.told { // one that lasts longer than its interval would fill the log
		level = slog.LevelDebug
	}
	j.c.r.log.Log(context.Background(), level, "job", "job", j.c.name, "code", string(why.Code), "reason", why.Text)
}

func fireText(at time.Time) string { return "fire of " + at.Format("2006-01-02 15:04:05 MST") }

// drop gives up fires that may not start any more: what a person stops before it
// runs does not run, nor what is no longer in the file.
func (j *job) drop() {
	shut := slot.Reason{Code: slot.Removed}
	if !j.c.removed {
		if shut = j.shut(); shut.Code != slot.Stopped {
			return
		}
	}
	for _, f := range append([]*fire(nil), j.rec.Open...) {
		if f.unit == nil || !f.unit.state.Phase.Alive() {
			j.skip(skip{At: f.At, Manual: f.Manual, Count: 1, Code: shut.Code, Text: shut.Text})
			j.free(f)
		}
	}
}

func (j *job) free(f *fire) {
	if u := f.unit; u != nil {
		j.leaveSeat(f)
		u.fire, u.leave, f.unit = nil, slot.Reason{}, nil
		j.c.replan = true
		j.c.leaveUnless(u, time.Now())
	}
}

// assign gives open fires the slots that are free, the oldest first.
func (j *job) assign(now, wall time.Time) {
	for _, f := range j.rec.Open {
		if f.unit != nil || f.Again.After(wall) {
			continue
		}
		for _, u := range j.c.units {
			if u.fire != nil || u.state.Phase.Alive() || u.n >= j.conf.Instances.Max || f.claim.held[u.n] != "" {
				continue
			}
			f.unit, u.fire = u, f
			j.c.step(u, now, slot.Retry{}) // whatever became of the run before
			u.state.Failures = f.Try - 1
			j.c.replan = true
			break
		}
	}
}

// reap records the runs that have ended.
func (j *job) reap(now time.Time) {
	ended := false
	for _, u := range j.c.units {
		f := u.fire
		if f == nil || f.Run == 0 || u.state.Phase.Alive() {
			continue
		}
		ended = true
		switch s := &u.state; {
		case s.Last.Run != f.Run: // it never ran: the slot was held, or the host is out of something
			f.Run = 0
			j.w.ledger.note(entry{Op: "again", Job: j.c.name, Fire: f})
		case s.Phase == slot.Waiting && s.Reason.Code == slot.Backoff && u.leave.Code == "":
			f.Try, f.Run, f.Again = f.Try+1, 0, j.w.wall.Add(s.Deadline.Sub(now))
			j.w.ledger.note(entry{Op: "again", Job: j.c.name, Fire: f})
		default:
			j.close(f, s.Last)
		}
	}
	if ended { // before the keeper is told that it may forget them
		j.w.trouble(j.w.ledger.flush())
	}
}

// close records how a fire has ended.
func (j *job) close(f *fire, e slot.ExitRecord) {
	j.w.ledger.note(entry{Op: "end", Job: j.c.name, End: &outcome{
		At: f.At, Manual: f.Manual, Note: f.Note, Try: f.Try, Code: e.Code, Signal: e.Signal, Class: e.Class, Begun: f.Begun,
		Ended: e.At, Seconds: e.Ran.Seconds(), Detail: e.Detail(),
	}})
	j.free(f)
}

// lost is the end of a fire that was started, as far as anybody can know.
func (j *job) lost(f *fire, why string) {
	j.tell(slot.Reason{Code: slot.Exit, Text: fireText(f.At) + ": " + why})
	j.close(f, slot.ExitRecord{Run: f.Run, Code: -1, Class: slot.ClassUnknown, At: j.w.wall, Note: why})
}

// recover settles what an earlier engine has left, after the keeper has told what
// runs: a fire whose run it does not know has never been started.
func (j *job) recover(wall time.Time) {
	j.opened = true
	for _, f := range append([]*fire(nil), j.rec.Open...) {
		switch {
		case f.unit != nil:
		case f.Run != 0 && f.Boot != j.w.ledger.boot:
			j.lost(f, "the host went down while it ran")
		case !j.rule.RunOnce && f.Run == 0 && f.Again.IsZero() && !f.Manual && wall.Sub(f.At) > plan.OnTime+j.rule.Jitter:
			j.skip(skip{At: f.At, Count: 1, Code: slot.Missed, Text: "nobody was there to start it"})
		default:
			f.Run = 0
		}
	}
	switch ahead := j.rec.Upto.Sub(wall); {
	case j.rec.Upto.IsZero(): // it is new
		j.base()
	case plan.Rebase(ahead) && ahead > 0:
		j.base()
		j.tell(slot.Reason{Code: slot.Clock, Text: "the clock is far behind its last fire: goes on from " + wall.Format(time.DateTime)})
	}
}

// adopt finds the fire of what the keeper tells about a slot.
func (j *job) adopt(u *unit, m keeper.SlotInfo) {
	run := m.Run
	if m.Exit != nil && m.PID == 0 {
		run = m.Exit.Run
	}
	for _, f := range j.rec.Open {
		if f.Run == 0 || f.Slot != u.n || f.Run != run || f.Boot != j.w.ledger.boot {
			continue
		}
		if m.PID == 0 && m.Exit == nil {
			if strings.HasPrefix(m.Tag, onceMark) {
				j.lost(f, "nobody was there to see how it ended")
			}
			return
		}
		f.unit, u.fire = u, f
		return
	}
}

// decide says what is wanted of each slot.
func (j *job) decide(now time.Time) {
	c := j.c
	j.reap(now)
	j.assign(now, j.w.wall)
	c.replan = false
	c.observed = c.observe()
	slots := make([]plan.JobSlot, len(c.units))
	for i, u := range c.units {
		slots[i] = plan.JobSlot{Slot: u.view(), Fire: u.fire != nil, Leave: u.leave}
		if f := u.fire; f != nil {
			slots[i].Begun, slots[i].Text = f.Run != 0, fireText(f.At.In(j.conf.Schedule.Zone()))
		}
	}
	j.publish()
	c.result = plan.DecideJob(c.prog, c.observed, slots, j.idle(), now)
	c.share(c.result.Target, 0, now)
	for i, u := range c.units {
		d := c.result.Decisions[i]
		if c.removed && u.fire == nil {
			d = plan.Decision{Want: slot.Down, Reason: slot.Reason{Code: slot.Removed}}
		}
		if d.Want != u.state.Want || d.Reason != u.state.Wish {
			c.step(u, now, slot.Wish{Want: d.Want, Reason: d.Reason})
		}
	}
	j.recordWaits()
}

// idle is what to say of a slot without a fire.
func (j *job) idle() slot.Reason {
	if j.next.At.IsZero() {
		return slot.Reason{Code: slot.Scheduled, Text: "no fire is to come"}
	}
	return slot.Reason{Code: slot.Scheduled, Text: "next fire at " + j.next.At.Format("2006-01-02 15:04:05 MST")}
}

// spawn has the keeper asked for the process once the ledger knows of it.
func (j *job) spawn(u *unit) {
	f := u.fire
	if f == nil { // nobody wants it any more
		j.c.step(u, time.Now(), slot.SpawnFailed{Run: u.state.Run, Kind: slot.FailHost})
		return
	}
	spec, _, err := j.c.underLease(u) // a job is never exclusive
	if err != nil {
		j.c.step(u, time.Now(), slot.SpawnFailed{Run: u.state.Run, Kind: slot.FailLocked, Reason: err.Error()})
		return
	}
	spec.Own = append(append([]string(nil), spec.Own...),
		"QSUPER_JOB="+j.c.name, "QSUPER_FIRE="+f.At.In(j.conf.Schedule.Zone()).Format(time.RFC3339))
	if f.Begun.IsZero() {
		f.Begun = j.w.wall
	}
	f.Slot, f.Run, f.Boot, f.Again = u.n, u.state.Run, j.w.ledger.boot, time.Time{}
	j.w.ledger.note(entry{Op: "start", Job: j.c.name, Fire: f})
	j.recordStart(f)
	j.w.starts = append(j.w.starts, start{j.c, u, keeper.StartRequest{Slot: u.key, Run: u.state.Run, Spec: spec, Memo: u.memo(nil)}})
}
