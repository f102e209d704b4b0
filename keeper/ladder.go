package keeper

import (
	"syscall"
	"time"

	"qsuper/internal/failpoint"
	"qsuper/proc"
)

const (
	scopeGroup = "group"
	scopeTree  = "tree"
	sigkill    = syscall.SIGKILL
)

// scopes are what the record of runs has for them.
var scopes = map[string]uint64{scopeGroup: 1, scopeTree: 2}

func (s *Stop) signal() syscall.Signal {
	if s.Signal == 0 {
		return syscall.SIGTERM
	}
	return syscall.Signal(s.Signal)
}

// begin begins the ladder. When one is under way it can only get shorter: a
// second stop neither repeats the signal, which many consumers take for "now",
// nor gives more time.
func (r *run) begin(s Stop) {
	now := proc.Boottime()
	end := now + max(s.Grace, 0)
	if end < now { // a grace of centuries
		end = never - 1
	}
	switch {
	case r.p == nil:
		if r.early == nil || s.Grace < r.early.Grace {
			r.early = &s
		}
	case r.drainBy != never: // it is over already
	case r.step == StepNone:
		r.step, r.stopping, r.deadline = StepSignal, s, end
		if s.Hold && r.exit == nil {
			r.slot.k.poll.at(end)
			r.record()
			return
		}
		if len(s.Command) > 0 && r.exit == nil {
			r.launchCommand()
		}
		if r.command == nil {
			r.signal()
		} else {
			// A command that hangs must not cost the process its signal.
			r.signalAt = now + (end-now)/2
			r.slot.k.poll.at(r.signalAt)
			r.record()
		}
		r.slot.k.poll.at(end)
		if r.exit != nil {
			r.tell()
		}
	case r.step == StepSignal:
		if end < r.deadline {
			r.deadline = end
			r.slot.k.poll.at(end)
			r.record()
		}
		if r.stopping.Hold && !s.Hold { // nobody waits for a better moment any more
			r.stopping.Hold = false
			r.thaw()
			r.signal()
		}
	}
}

// signal asks the process to end, and soon wakes it if it is stopped: a stopped
// process takes no signal but SIGKILL.
func (r *run) signal() {
	r.signalled, r.signalAt = true, never
	sig := r.stopping.signal()
	for _, m := range r.members {
		m.ask()
	}
	if r.exit != nil {
		return
	}
	switch r.stopping.Scope { // one that is gone already will be seen
	case scopeTree:
		r.signalTree(sig)
	case scopeGroup:
		r.toldAt = proc.Boottime()
		_ = r.p.SignalGroup(sig)
	default:
		_ = r.p.Signal(sig)
	}
	r.await()
	failpoint.Hit(failpoint.TermBeforeTimer)
	r.record() // not before it: who has not been asked must not be killed
	r.wakeAt = proc.Boottime() + wakeTime
	r.slot.k.poll.at(r.wakeAt)
}

// await counts a process that has just had its stop signal, until it has exited.
func (r *run) await() {
	if !r.awaited {
		r.awaited = true
		r.slot.k.awaited++
	}
}

func (r *run) unawait() {
	if r.awaited {
		r.awaited = false
		r.slot.k.awaited--
	}
}

// wake lets a process that is stopped take the signal. Most are gone by then and
// need no second one.
func (r *run) wake() {
	r.wakeAt = never
	switch {
	case r.exit != nil:
	case r.stopping.Scope == scopeTree:
		r.wakeTree()
	case r.stopping.Scope == scopeGroup:
		_ = r.p.SignalGroup(syscall.SIGCONT)
	default:
		_ = r.p.Signal(syscall.SIGCONT)
	}
}

// kill ends everything, and again every few seconds: a process that does not
// die of it is stuck in the kernel, and holds its slot.
func (r *run) kill() {
	if r.p == nil || r.drainBy != never {
		r.earlyKill = r.p == nil
		return
	}
	first := r.step != StepKill
	r.step, r.signalAt = StepKill, never
	r.deadline = proc.Boottime() + killAgain
	r.slot.k.poll.at(r.deadline)
	r.killTree()
	if r.command != nil {
		_ = r.command.SignalGroup(sigkill)
	}
	if first && !r.idle {
		r.tell()
	}
	if r.exit != nil {
		r.leave() // those that were forked meanwhile
	}
}

// expire does what is due.
func (r *run) expire(now time.Duration) {
	if r.drainBy <= now {
		r.slot.k.log.Warn("output of a run not written in time", "slot", r.slot.name, "run", r.id)
		r.finish()
		return
	}
	if r.lookAt <= now {
		r.look(now)
	}
	r.fence(now)
	if r.frost.next() <= now {
		r.frosty(now)
	}
	if r.signalAt <= now {
		r.signal()
	}
	if r.wakeAt <= now {
		r.wake()
	}
	if r.deadline <= now {
		r.unsafe = r.unsafe || r.stopping.Hold && r.step == StepSignal && r.exit == nil
		r.kill()
	}
	r.slot.k.poll.at(min(r.signalAt, r.wakeAt, r.deadline, r.drainBy, r.lookAt, r.frost.next(), r.fenceAt()))
}

func (r *run) tell() {
	r.slot.k.engine.tell(frameStopping, Stopping{
		Slot: r.slot.name, Run: r.id, Step: r.step,
		Remaining: r.remaining(proc.Boottime()), Leftovers: len(r.members), Fenced: r.fenced,
	})
}

// discard ends a process that cannot be watched.
func (k *keeper) discard(p *proc.Process) {
	_ = p.SignalGroup(syscall.SIGKILL)
	p.Wait()
	p.Close()
}
