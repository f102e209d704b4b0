package keeper

import (
	"errors"
	"time"

	"qsuper/pidfile"
)

// fenceKill is how long before the end of its lease a process is killed: what it
// takes until it is seen to be gone.
const fenceKill = 2 * time.Second

// errLease means that nothing may be started any more under a lease.
var errLease = errors.New("this host's lease on the slot is about to run out")

// stopAt is when a process that has the lease is asked to end.
func (l *Lease) stopAt() time.Duration { return l.killAt() - l.Fence }

// killAt is when it is killed.
func (l *Lease) killAt() time.Duration { return l.Until - fenceKill }

// holds says whether a process may be started. A nil lease always holds.
func (l *Lease) holds(now time.Duration) error {
	if l != nil && now >= l.stopAt() {
		return errLease
	}
	return nil
}

func (l *Lease) record() *pidfile.Lease {
	if l == nil {
		return nil
	}
	return &pidfile.Lease{Token: l.Token, Until: max(l.Until, 0), Fence: l.Fence}
}

// fenceAt is when the lease next asks for something.
func (r *run) fenceAt() time.Duration {
	l := r.slot.lease
	switch {
	case l == nil || r.drainBy != never || r.step == StepKill:
		return never
	case r.fenced:
		return l.killAt()
	}
	return l.stopAt()
}

// fence ends a process whose lease runs out: nobody else may have noticed. There is
// no way back, for the engine may be told of a renewal that is over by then.
func (r *run) fence(now time.Duration) {
	if r.fenceAt() > now {
		return
	}
	l := r.slot.lease
	first := !r.fenced
	r.fenced, r.slot.again = true, nil
	if now >= l.killAt() {
		r.kill()
		return
	}
	if !first {
		return
	}
	r.slot.k.log.Warn("lease runs out; the process is asked to end", "slot", r.slot.name, "run", r.id, "seconds", l.Fence.Seconds())
	stop := r.spec.Stop
	stop.Hold, stop.Grace = false, min(stop.Grace, l.killAt()-now)
	r.begin(stop)
	if r.p != nil {
		r.tell()
	}
}

// extend takes later ends of leases. Those that are recorded are for the keeper
// that may follow this one.
func (k *keeper) extend(e ExtendRequest) error {
	for name, token := range e.Tokens {
		s := k.slots[name]
		if s == nil || s.lease == nil || s.lease.Token != token || e.Until <= s.lease.Until {
			continue
		}
		l := *s.lease
		l.Until = e.Until
		s.lease = &l
		if s.run != nil && s.run.p != nil {
			s.run.record()
		}
	}
	return nil
}
