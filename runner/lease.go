package runner

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"qsuper/keeper"
	"qsuper/lease"
	"qsuper/plan"
	"qsuper/slot"
)

// holding is a slot's part in the leases of this host.
type holding struct {
	fleet *lockStore // where it was asked for; nil: nowhere
	token uint64     // of the grant under which its process runs; 0: none
}

// leased tells a consumer that something about its leases has changed.
type leased struct{}

// margin is what a start may take before the lease must still be good.
const margin = 500 * time.Millisecond

func leaseKey(u *unit) string { return lease.SlotPrefix + u.key }

// view is what the planner sees of a slot.
func (c *consumer) view(u *unit) plan.Slot {
	c.reckon(u)
	v := u.view()
	v.Foreign = c.foreignLock(u)
	if c.fleet == nil {
		return v
	}
	if c.fleet.loop.Get(leaseKey(u)).Held {
		v.Lease = plan.LeaseHere
	} else if by := c.fleet.holder(leaseKey(u)); by != "" {
		v.Lease, v.By = plan.LeaseElsewhere, lease.Host(by)
	}
	return v
}

// observeFleet is what the planner sees of the hosts that share the slots.
func (c *consumer) observeFleet(now time.Time) *plan.Fleet {
	if c.fleet == nil {
		return nil
	}
	o := c.fleet.observe(c.name, now)
	o.Exclusive = c.cfg.Exclusive
	for _, u := range c.units {
		if c.fleet.loop.Get(leaseKey(u)).Held {
			o.Here++
		}
	}
	o.Least = min(o.Least, o.Here)
	return o
}

// publish tells the other hosts how it stands here.
func (c *consumer) publish(now time.Time) {
	if c.fleet == nil {
		return
	}
	f := c.observed.Fleet
	sum := plan.Summarize(c.prog, c.result, c.views, now)
	able := c.result.Able && sum.State != plan.Held && sum.State != plan.Stopped && !c.shutdown && !c.removed
	c.fleet.share(c.name, part{
		State: string(sum.State), Able: able, Here: f.Here, Wanted: c.result.Target, Running: sum.Running, Healthy: sum.Healthy, Short: c.short(able),
		Code: string(sum.Reason.Code), Reason: reasonFor(sum.Reason),
		Stopped: c.human.Stopped, Paused: c.human.Paused,
	})
	c.uneven.Store(f.Here > c.result.Target)
	c.fleet.want(c.name, able && f.Elsewhere > 0 && (c.cfg.Exclusive || c.result.Target > f.Here))
}

// short is how many slots others should make room for: none while what runs here, or
// should, is in trouble.
func (c *consumer) short(able bool) int {
	if !able {
		return 0
	}
	for _, u := range c.units {
		if s := &u.state; s.Final || s.Phase == slot.Waiting && troubles[s.Reason.Code] {
			return 0
		}
	}
	return c.result.Short
}

// troubles are why a slot waits that another host might run with more luck.
var troubles = map[slot.Code]bool{slot.Backoff: true, slot.Paced: true, slot.Locked: true, slot.Host: true}

// reasonFor is what other hosts are told: nothing if all is well, and no more than
// a line, as there may be a thousand consumers.
func reasonFor(why slot.Reason) string {
	if why.Code == slot.OK {
		return ""
	}
	text := []rune(why.String())
	return string(text[:min(len(text), 200)])
}

// admit says whether a slot has its lease. If not it is asked for, and the answer
// wakes the slot.
func (c *consumer) admit(u *unit, now time.Time) (why slot.Reason, again time.Time, ok bool) {
	if u.lease.fleet != nil && u.lease.fleet != c.fleet {
		u.lease.fleet.loop.Leave(leaseKey(u))
		u.lease = holding{}
	}
	if c.fleet == nil {
		return why, again, true
	}
	if c.job != nil {
		return c.job.admit(u, now)
	}
	f := c.fleet
	u.lease.fleet = f
	f.loop.Want(leaseKey(u), c.cfg.Exclusive)
	s, boot := f.loop.Get(leaseKey(u)), c.r.boot()
	switch {
	case !s.Held && s.By != "":
		return slot.Reason{Code: slot.Elsewhere, Text: lease.Host(s.By) + " has it"}, now.Add(time.Minute), false
	case !s.Held:
		text := "asking " + f.name + " for the slot"
		if shy := f.loop.Shy(); boot < shy {
			text = fmt.Sprintf("%s was away or has forgotten who has the slot: who had it may ask first, until %s", f.name, now.Add(shy-boot).Format("15:04:05"))
		}
		return slot.Reason{Code: slot.LockStore, Text: text}, now.Add(time.Minute), false
	case !c.cfg.Exclusive:
	case boot < s.From:
		text := fmt.Sprintf("the slot is this host's; starts at %s, when no other host can still believe that it has it", now.Add(s.From-boot).Format("15:04:05"))
		return slot.Reason{Code: slot.HoldOff, Text: text}, now.Add(s.From - boot), false
	case boot >= s.Until-lease.KillTime-c.cfg.Fence()-margin:
		return slot.Reason{Code: slot.LockStore, Text: f.name + " has not renewed the slot in time"}, now.Add(time.Minute), false
	}
	return why, again, true
}

// underLease is what is started: with the token, and for an exclusive slot with
// what the keeper must know. The error says that the lease is gone.
func (c *consumer) underLease(u *unit) (keeper.Spec, *keeper.Lease, error) {
	spec := *u.spec
	if c.fleet == nil {
		return spec, nil, nil
	}
	s := c.fleet.loop.Get(leaseKey(u))
	if !s.Held {
		return spec, nil, errors.New("the lease on the slot has just been lost")
	}
	u.lease.token = s.Token
	spec.Own = append(slices.Clone(spec.Own), "QSUPER_FENCE_TOKEN="+strconv.FormatUint(s.Token, 10))
	if !c.cfg.Exclusive {
		return spec, nil, nil
	}
	return spec, &keeper.Lease{Token: s.Token, Until: s.Until, Fence: c.cfg.Fence()}, nil
}

// catchUp sends the extension that came between looking and starting.
func (c *consumer) catchUp(u *unit, l *keeper.Lease) {
	if l == nil {
		return
	}
	if s := c.fleet.loop.Get(leaseKey(u)); s.Held && s.Token == l.Token && s.Until > l.Until {
		c.send(c.r.keeper.Extend(keeper.ExtendRequest{Until: s.Until, Tokens: map[string]uint64{u.key: s.Token}}))
	}
}

// leases looks which leases have come and gone.
func (c *consumer) leases(now time.Time) {
	c.replan = true
	for _, u := range c.units {
		f := u.lease.fleet
		if f == nil {
			continue
		}
		s := f.loop.Get(leaseKey(u))
		switch {
		case !u.state.Phase.Alive():
			c.step(u, now, slot.Unlocked{})
		case s.Held && s.Token == u.lease.token:
		case c.job != nil: // a fire that has begun is done to its end
		case c.cfg.Exclusive && u.lease.token == 0:
		case c.cfg.Exclusive: // somebody else may run already
			c.step(u, now, slot.KillNow{Reason: slot.Reason{Code: slot.LeaseLost, Text: f.name + " says that the slot is no longer this host's"}})
		case s.Held: // granted anew, as the store had forgotten it, or the keeper that knew of it was killed
			u.lease.token = s.Token
		case s.By == "": // it is being asked for anew
		default:
			c.step(u, now, slot.Finish{Reason: slot.Reason{Code: slot.LeaseLost, Text: f.name + " says that the slot is " + lease.Host(s.By) + "'s"}})
		}
	}
}

// retryKept is the longest wait for which a slot that has failed is kept: another
// host may have more luck.
const retryKept = 2 * time.Second

// leaveUnless gives a slot back in which nothing runs, unless something is about to.
func (c *consumer) leaveUnless(u *unit, now time.Time) {
	s := &u.state
	if u.lease.fleet == nil || s.Phase.Alive() || u.fire != nil && !c.shutdown {
		return
	}
	switch {
	case s.Want == slot.Up && !s.Final && !c.removed && !c.shutdown:
		failed := s.Reason.Code == slot.Backoff || s.Reason.Code == slot.Paced
		if s.Phase != slot.Waiting || !failed || s.Deadline.Sub(now) <= retryKept {
			return
		}
	case s.Want == slot.Hold && !c.cfg.Exclusive && s.Wish.Code == slot.LockStore:
		return // it goes on with what it has
	}
	u.lease.fleet.loop.Leave(leaseKey(u))
	u.lease = holding{}
}

// resume goes on with the lease of a process that runs already.
func (c *consumer) resume(u *unit, m keeper.SlotInfo) {
	until := time.Duration(0)
	if m.Lease != nil {
		u.lease.token, until = m.Lease.Token, m.Lease.Until
	}
	switch {
	case c.fleet == nil || u.lease.token == 0 && c.cfg.Exclusive:
		return
	case u.lease.token == 0: // what was known of it has died with an earlier keeper
		u.lease.fleet = c.fleet
		c.fleet.loop.Want(leaseKey(u), false)
		return
	}
	u.lease.fleet = c.fleet
	c.fleet.loop.Resume(leaseKey(u), c.cfg.Exclusive, u.lease.token, until)
}

// margin is how long it takes until the keeper asks the first exclusive process to
// end, if the store does not answer any more. ok: there is one.
func (c *consumer) margin() (left time.Duration, ok bool) {
	if c.fleet == nil || !c.cfg.Exclusive {
		return 0, false
	}
	until := time.Duration(math.MaxInt64)
	for _, u := range c.units {
		if s := c.fleet.loop.Get(leaseKey(u)); s.Held && u.state.Phase.Alive() {
			until, ok = min(until, s.Until), true
		}
	}
	return until - lease.KillTime - c.cfg.Fence() - c.r.boot(), ok
}
