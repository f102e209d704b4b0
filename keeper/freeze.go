package keeper

import (
	"time"

	"golang.org/x/sys/unix"

	"qsuper/proc"
)

const (
	// maxFreeze is how long processes stand still at most: who asked for it must
	// have looked by then, or is gone.
	maxFreeze = 40 * time.Second
	// frostTime is how long they may take to stand still. One that is in the
	// middle of a call which cannot be interrupted takes as long as that.
	frostTime = time.Second
	// frostLook is the time between two looks whether they do.
	frostLook = 2 * time.Millisecond
	// shakeTime is when those that stand still by signal are let go for an instant: a
	// vfork whose child was stopped before its exec would hold its parent for ever.
	shakeTime = 50 * time.Millisecond
)

// frost is the standing still of a run.
type frost struct {
	lookAt time.Duration // when to look whether all stand still; never: they do, or none is wanted
	failAt time.Duration // when that has taken too long
	thawAt time.Duration // when they go on in any case; never: they do
	shake  time.Duration // when they are let go for an instant
	calm   time.Duration // until then; twice as long each time, for finding all of them may take longer
}

var warm = frost{lookAt: never, failAt: never, thawAt: never, shake: never}

func (f *frost) next() time.Duration { return min(f.lookAt, f.thawAt) }

// freeze lets the processes of a run stand still, or go on. Frozen answers when
// they stand still, and also why they cannot.
func (k *keeper) freeze(f FreezeRequest) error {
	r := k.current(f.Slot, f.Run)
	switch {
	case r == nil || r.p == nil || r.exit != nil || r.drainBy != never:
	case !f.On:
		r.thaw()
	case r.frost.thawAt == never:
		now := proc.Boottime()
		r.frost = frost{lookAt: now, failAt: now + frostTime, thawAt: now + maxFreeze, shake: now + shakeTime, calm: shakeTime}
		r.stand(true)
		r.chill(now)
	}
	return nil
}

// stand stops all processes of the run, or continues them.
func (r *run) stand(still bool) {
	if g := r.slot.group; g != nil {
		if g.Freeze(still) == nil {
			return
		}
	}
	sig := unix.SIGCONT
	if still {
		sig = unix.SIGSTOP
	}
	_ = r.p.SignalGroup(sig) // one that is gone already will be seen
	for _, m := range r.kin(func(int) bool { return false }) {
		_ = m.Signal(sig)
		m.Close()
	}
}

// chill looks whether all processes of the run stand still by now.
func (r *run) chill(now time.Duration) {
	if still, pids := r.still(); still {
		r.frost.lookAt = never
		r.slot.k.engine.tell(frameFrozen, Frozen{Slot: r.slot.name, Run: r.id, PIDs: pids})
	} else if now >= r.frost.failAt {
		r.thaw()
		r.slot.k.engine.tell(frameFrozen, Frozen{Slot: r.slot.name, Run: r.id, Err: "its processes do not stand still within " + frostTime.String()})
	} else {
		if now >= r.frost.shake && r.slot.group == nil {
			r.frost.calm *= 2
			r.stand(false)
			r.stand(true)
			r.frost.shake = proc.Boottime() + r.frost.calm
		}
		r.frost.lookAt = now + frostLook
	}
	r.slot.k.poll.at(r.frost.next())
}

// still says whether all processes of the run stand still, and lists them.
func (r *run) still() (bool, []int) {
	if g := r.slot.group; g != nil {
		frozen, err := g.Frozen()
		if err != nil || !frozen {
			return false, nil
		}
		pids, err := g.Procs()
		return err == nil, pids
	}
	return r.stopped()
}

// stopped is still where there is no cgroup: what is found to move is stopped, too,
// until a look finds nothing that does. Who stands still does not fork.
func (r *run) stopped() (bool, []int) {
	all, pids := r.p.Stopped(), []int{r.p.PID}
	for _, m := range r.kin(func(int) bool { return false }) {
		if !m.Stopped() {
			all = false
			_ = m.Signal(unix.SIGSTOP)
		}
		pids = append(pids, m.PID)
		m.Close()
	}
	return all, pids
}

func (r *run) thaw() {
	if r.frost.thawAt == never {
		return
	}
	r.frost = warm
	if r.exit == nil {
		r.stand(false)
	}
}

// frosty does what is due.
func (r *run) frosty(now time.Duration) {
	switch {
	case r.frost.thawAt <= now:
		r.slot.k.log.Warn("processes stood still for too long, and go on", "slot", r.slot.name, "run", r.id)
		r.thaw()
	case r.frost.lookAt <= now:
		r.chill(now)
	}
}

// endIdle ends a run that holds no message, as it stands. One that has gone on by now, as
// the engine took too long to say so, may hold one again: that is said.
func (r *run) endIdle() {
	if r.frost.thawAt == never || r.frost.lookAt != never {
		r.slot.k.engine.tell(frameFrozen, Frozen{Slot: r.slot.name, Run: r.id, Err: "its processes have gone on"})
		return
	}
	r.idle = true
	r.kill()
}
