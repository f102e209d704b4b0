package keeper

import (
	"errors"
	"time"

	"qsuper/pidfile"
)

// fenceKill is how long before the end of its lease a process is killed: what it
// takes until it is seen to be gone.
const fenceKill = 2 * time.Second

const (
	// fenceLate is by how much the keeper may miss the moment at which a process is
	// asked to end: beyond it the keeper has stood still, and perhaps the whole host.
	fenceLate = 250 * time.Millisecond
	// fenceRelief is how long an engine that has stood still with it may take to renew
	// the lease. It comes out of the grace, of which it is half at most.
	fenceRelief = 2 * time.Second
)

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
	case r.relief.until == l.Until:
		return r.relief.at
	}
	return l.stopAt()
}

// relief puts off the moment at which a process is asked to end.
type relief struct {
	until time.Duration // of the lease that it is for
	at    time.Duration
}

// relieved says whether an engine that could not renew the lease, as the keeper could
// not look either, is given a moment for that.
func (r *run) relieved(now time.Duration) bool {
	l := r.slot.lease
	if r.relief.until == l.Until || now < l.stopAt()+fenceLate || now >= l.killAt() {
		return false
	}
	r.relief = relief{l.Until, now + min(fenceRelief, (l.killAt()-now)/2)}
	return true
}

// fence ends a process whose lease runs out: nobody else may have noticed. There is
// no way back, for the engine may be told of a renewal that is over by then.
func (r *run) fence(now time.Duration) {
	if r.fenceAt() > now {
		return
	}
	first := !r.fenced
	if first { // a keeper that has stood still may have a renewal to read
		r.slot.k.engine.listen(now)
		if r.fenceAt() > now || r.relieved(now) {
			return
		}
	}
	l := r.slot.lease
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

// maxUnread bounds what is read of an engine before its requests are carried out, in
// bytes. More than that does not fit into a socket.
const maxUnread = 4 << 20

// listen takes the extensions out of what the engine has sent until now, once for
// each moment. They are taken again in their turn, which changes nothing.
func (e *engine) listen(now time.Duration) {
	if e.conn < 0 || e.listened == now {
		return
	}
	e.listened = now
	for len(e.in) < maxUnread {
		if n, _ := e.fill(); n <= 0 {
			break
		}
	}
	for rest := e.in; ; {
		t, body, after, ok, err := nextFrame(rest)
		if !ok || err != nil {
			return // an end, or an error, is found in its turn
		}
		if rest = after; t != frameExtend {
			continue
		}
		if x, err := decode[ExtendRequest](body); err == nil {
			_ = e.k.extend(x) // it has no other error
		}
	}
}
