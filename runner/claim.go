package runner

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"qsuper/lease"
	"qsuper/plan"
	"qsuper/slot"
	"qsuper/trace"
)

// claim is what is known of a fire that hosts share, beside what the ledger keeps.
type claim struct {
	pending bool           // the store is asked
	err     string         // what came of it the last time; "" = nothing has gone wrong
	by      string         // the host that has it; "" = not known
	held    map[int]string // slots in which it cannot run, and the hosts that have them
	seat    *lockStore     // where this host has the place of the fire that waits; nil: it has not
}

// claimed is the answer to a bid.
type claimed struct {
	bid
	mine bool
	by   string // owner id of the host that has the fire
	err  error
}

// bid asks a store for a fire.
type bid struct {
	c     *consumer
	store *lockStore
	fire  lease.Fire
}

// claimMargin is how far the clocks of two hosts may be apart without a fire being
// run twice: more than a clock can be set without a job beginning anew.
const claimMargin = 4 * time.Hour

// forGood is how long a claim is kept when no other fire is to come.
const forGood = 35 * 24 * time.Hour

// ask makes a bid, and tells the job of the answer.
func (b bid) ask(ctx context.Context) {
	mine, by, err := b.store.loop.Claim(ctx, b.fire)
	if !errors.Is(err, lease.ErrEnded) && ctx.Err() == nil {
		b.c.box.put(claimed{b, mine, by, err})
	}
}

// share prepares a fire for its claim. What tells it from others must be on the
// disk before a store hears of it: an engine that follows goes on with it.
func (j *job) share(f *fire) {
	if j.c.fleet != nil && !f.Manual && f.Mark == "" {
		f.Mark = strings.ToLower(rand.Text()[:10])
	}
	if f.Manual {
		return
	}
	for _, o := range append([]*fire(nil), j.rec.Open...) {
		if o != f && j.stale(o) { // the latest runs for all
			j.skip(skip{At: o.At, Count: 1, Code: slot.Missed, Text: j.unclear(o) + "; another host may have run it, and the next one is due"})
			j.free(o)
		}
	}
}

// stale says that a fire has waited for so long, without anybody knowing whose it
// is, that another takes its place.
func (j *job) stale(f *fire) bool {
	if j.c.fleet == nil || f.Manual || f.Claimed != "" || f.Run != 0 || f.claim.pending && f.claim.err == "" {
		return false
	}
	return !j.w.wall.Before(j.staleAt(f))
}

func (j *job) staleAt(f *fire) time.Time { return f.At.Add(plan.OnTime + j.rule.Jitter) }

// trouble is what the store has answered last, if that was none; "" = it answers.
func (j *job) trouble(f *fire) string {
	err := f.claim.err
	if v := j.c.fleet.loop.View(); v.Err != nil {
		err = v.Err.Error()
	}
	if err == "" {
		return ""
	}
	return j.c.fleet.name + " does not answer: " + err
}

// unclear is why nobody knows whose a fire is.
func (j *job) unclear(f *fire) string {
	switch {
	case j.trouble(f) != "":
		return j.trouble(f)
	case f.unit != nil:
		return "it could not start here: " + f.unit.state.Reason.String()
	}
	return "it still ran here"
}

// open is how many fires run or are about to.
func (j *job) open() (n int) {
	for _, f := range j.rec.Open {
		if !j.stale(f) {
			n++
		}
	}
	return n
}

// settleClaims gives up the fires that are not this host's.
func (j *job) settleClaims() {
	if j.c.fleet == nil {
		return
	}
	for _, f := range append([]*fire(nil), j.rec.Open...) {
		switch {
		case f.claim.by != "":
			j.elsewhere(f)
		case f.unit != nil && f.claim.held[f.unit.n] != "":
			j.outrun(f)
		case !j.rule.RunOnce && j.stale(f) && j.trouble(f) != "":
			j.skip(skip{At: f.At, Count: 1, Code: slot.Missed, Text: j.unclear(f) + "; another host may have run it"})
			j.free(f)
		}
	}
}

// elsewhere records that another host has a fire.
func (j *job) elsewhere(f *fire) {
	host := lease.Host(f.claim.by)
	text := "runs on " + host
	if f.claim.by == j.c.fleet.loop.Owner() {
		text = "has run on this host before"
	}
	j.w.ledger.note(entry{Op: "end", Job: j.c.name, End: &outcome{
		At: f.At, Note: f.Note, Try: f.Try, Class: slot.ClassElsewhere, Ended: j.w.wall, Detail: text, Host: host,
	}})
	j.record(trace.Fire{At: f.At, Did: trace.FireElsewhere}, slot.Reason{Code: slot.Elsewhere, Text: text})
	j.c.r.journal.add(Event{At: time.Now(), Consumer: j.c.name, Slot: -1, Reason: slot.Reason{Code: slot.Elsewhere, Text: fireText(f.At) + " " + text}})
	j.c.r.log.Debug("job", "job", j.c.name, "code", slot.Elsewhere, "reason", fireText(f.At)+" "+text)
	j.free(f)
}

// outrun deals with a fire of this host whose slot another host has: with overlap:
// allow it may run in another one.
func (j *job) outrun(f *fire) {
	held := f.claim.held
	host := held[f.unit.n]
	j.free(f)
	for _, u := range j.c.units {
		if u.fire == nil && !u.state.Phase.Alive() && u.n < j.conf.Instances.Max && held[u.n] == "" {
			return // assign finds it
		}
	}
	text := "it still runs on " + host
	if j.rule.Overlap == plan.OverlapQueue {
		text += ", and another fire waits already"
	} else if j.conf.Instances.Max > 1 {
		text = fmt.Sprintf("%d runs go on, over all hosts", j.conf.Instances.Max)
	}
	j.skip(skip{At: f.At, Manual: f.Manual, Count: 1, Code: slot.Overlap, Text: text})
}

// claimed takes the answer of a store. One that comes too late is for nobody: the
// fire has been given up, and no other host runs it either.
func (j *job) claimed(m claimed, now time.Time) {
	for _, f := range j.rec.Open {
		if !f.At.Equal(m.fire.At) || f.Mark != m.fire.Mark || f.Manual {
			continue
		}
		f.claim.pending = false
		switch {
		case m.err != nil:
			f.claim.err = m.err.Error()
		case m.mine:
			f.claim.err, f.Claimed = "", m.store.name
			j.w.ledger.note(entry{Op: "claim", Job: j.c.name, Fire: f})
		default:
			f.claim.by = m.by
			return
		}
		if f.unit != nil {
			j.c.step(f.unit, now, slot.Unlocked{})
		}
	}
}

// admit says whether the fire of a slot may start as far as other hosts are
// concerned: it must be this host's, and so must be the slot.
func (j *job) admit(u *unit, now time.Time) (why slot.Reason, again time.Time, ok bool) {
	f, store, later := u.fire, j.c.fleet, now.Add(time.Minute)
	switch {
	case f == nil:
		return slot.Reason{Code: slot.Scheduled}, later, false
	case f.claim.by != "" || f.claim.held[u.n] != "": // it is about to be given up
		return slot.Reason{Code: slot.Elsewhere}, later, false
	case !f.Manual && f.Claimed != store.name:
		return j.bid(f), later, false
	}
	u.lease.fleet = store
	store.loop.Want(leaseKey(u), false)
	s := store.loop.Get(leaseKey(u))
	switch host := lease.Host(s.By); {
	case s.Held:
		j.leaveSeat(f)
		return why, again, true
	case s.By == "":
		return j.asking(f, "whether it still runs on another host"), later, false
	case f.Try > 1, j.rule.Overlap == plan.OverlapQueue && j.takeSeat(f, store):
		return slot.Reason{Code: slot.Elsewhere, Text: "waits for the run on " + host + " to end"}, later, false
	default:
		if f.claim.held == nil {
			f.claim.held = map[int]string{}
		}
		f.claim.held[u.n] = host
		j.c.box.put(observed{}) // look at it
		return slot.Reason{Code: slot.Elsewhere, Text: "still runs on " + host}, later, false
	}
}

// bid asks for a fire, once at a time. The loop of the store spaces out the tries.
func (j *job) bid(f *fire) slot.Reason {
	store := j.c.fleet
	if !f.claim.pending {
		f.claim.pending = true
		if f.Mark == "" { // it was due before hosts shared the job
			j.share(f)
			j.w.ledger.note(entry{Op: "due", Job: j.c.name, Fire: f})
		}
		keep := forGood
		if next := j.conf.Schedule.Next(f.At); !next.At.IsZero() {
			keep = next.At.Sub(f.At) + j.rule.Jitter + claimMargin
		}
		j.w.bids = append(j.w.bids, bid{j.c, store, lease.Fire{Job: j.c.name, At: f.At, Mark: f.Mark, Keep: keep}})
	}
	return j.asking(f, "which host runs it")
}

func (j *job) asking(f *fire, what string) slot.Reason {
	if text := j.trouble(f); text != "" {
		return slot.Reason{Code: slot.LockStore, Text: text}
	}
	return slot.Reason{Code: slot.LockStore, Text: "asking " + j.c.fleet.name + " " + what}
}

// seat is what the one fire holds that waits for another to end.
func (j *job) seat() string { return lease.SlotPrefix + j.c.name + "/next" }

// takeSeat says whether a fire may be the one that waits.
func (j *job) takeSeat(f *fire, store *lockStore) bool {
	f.claim.seat = store
	store.loop.Want(j.seat(), false)
	s := store.loop.Get(j.seat())
	return s.Held || s.By == ""
}

func (j *job) leaveSeat(f *fire) {
	if f.claim.seat != nil {
		f.claim.seat.loop.Leave(j.seat())
		f.claim.seat = nil
	}
}

// decided says that a fire has been given an answer by the hosts that share it, or
// that none is to be had now.
func (j *job) decided(f *fire) bool {
	if j.c.fleet == nil || f.unit == nil {
		return true
	}
	s := f.unit.state
	return s.Phase != slot.Waiting && s.Phase != slot.Checking && s.Phase != slot.Halted ||
		s.Phase == slot.Waiting && (s.Reason.Code != slot.LockStore || j.c.fleet.loop.View().Err != nil)
}

// publish tells the other hosts how the job stands here.
func (j *job) publish() {
	c := j.c
	if c.fleet == nil {
		return
	}
	p := part{State: string(plan.Waiting), Able: j.shut().Code == "" && !c.shutdown && !c.removed, Here: c.observed.Fleet.Here, Stopped: c.human.Stopped, Paused: c.human.Paused}
	for _, u := range c.units {
		if u.state.Phase.Alive() {
			p.Running++
			p.State = string(plan.Running)
		}
	}
	switch {
	case p.Running > 0:
	case p.Stopped != "":
		p.State = string(plan.Stopped)
	case p.Paused != "":
		p.State = string(plan.Held)
	}
	c.fleet.share(c.name, p)
}
