package keeper

import (
	"time"

	"qsuper/pidfile"
)

// record writes down what the next keeper has to know of a run, should this one
// be killed.
func (r *run) record() {
	stop := r.spec.Stop
	was := pidfile.Run{
		Slot: r.slot.name, Run: r.id, PID: r.p.PID, Began: r.p.Began, Started: r.p.Started,
		Signal: stop.Signal, Grace: max(stop.Grace, 0), Scope: scopes[stop.Scope], Tag: r.spec.Tag,
		Serial: r.serial, UID: r.uid, Lease: r.slot.lease.record(),
	}
	if r.step == StepSignal {
		was.Deadline, was.Signalled, was.Held = r.deadline, r.signalled, r.stopping.Hold
	}
	if err := r.slot.k.runs.Put(was); err != nil { // the disk is full: the lock guards the slot all the same
		r.slot.k.log.Warn("run not recorded; a later daemon may not know its process", "slot", r.slot.name, "error", err)
	}
}

// resume goes on with a stop that was under way when the keeper before this one
// died, for what remains of its grace. Where the signal was still to come, as a stop
// command was running, nothing has begun for the process: its stop begins anew.
func (r *run) resume(was pidfile.Run) {
	if was.Deadline == 0 || !was.Signalled && !was.Held {
		return
	}
	r.step, r.stopping, r.signalled = StepSignal, r.spec.Stop, was.Signalled
	r.stopping.Command, r.stopping.Hold = nil, was.Held
	r.deadline = min(was.Deadline, never-1)
	r.slot.k.poll.at(r.deadline)
}

// remaining is what is left of the grace.
func (r *run) remaining(now time.Duration) time.Duration {
	if r.step != StepSignal {
		return 0
	}
	return max(r.deadline-now, 0)
}
