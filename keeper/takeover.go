package keeper

import (
	"maps"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"qsuper/pidfile"
	"qsuper/proc"
)

// own takes the state directory, from the keeper before this one if there was one
// in this process.
func (o *Options) own() (*pidfile.Lock, error) {
	if o.Heir == nil {
		return pidfile.Acquire(o.StateDir)
	}
	if lock, err := pidfile.Inherit(o.StateDir, o.Heir.lock); err == nil {
		return lock, nil
	}
	return pidfile.Acquire(o.StateDir)
}

// describe is what the next keeper has to know. With through the descriptors that
// belong to it survive the exec that is next.
func (k *keeper) describe(through bool) *handover {
	h := &handover{
		Version: handoverVersion, StateDir: k.opt.StateDir, Carry: k.opt.Carry, Argv: os.Args, Home: k.opt.Binary,
		Engines: k.engine.count, Since: k.since, Strangers: k.strangers, Slots: make([]heldSlot, 0, len(k.slots)),
	}
	for _, s := range k.slots {
		h.Slots = append(h.Slots, s.describe(through))
	}
	return h
}

func (s *slot) describe(through bool) heldSlot {
	h := heldSlot{Name: s.name, Spec: s.spec, Memo: s.memo, Exit: s.exit, Hold: s.hold > 0, Group: s.group != nil, Spent: s.spent, Limits: s.limits, Lease: s.lease}
	if s.stream != nil {
		h.FIFO, h.Log, h.Stored = s.fifo, s.log, s.k.store.holds(s)
		if through { // the pump has ended; in a trial it goes on
			h.Output = s.stream.Begun()
		}
	}
	if s.run != nil && s.run.p != nil {
		h.Run = s.run.describe(through)
	}
	return h
}

func (r *run) describe(through bool) *heldRun {
	h := &heldRun{
		ID: r.id, Process: r.p.Keep(through), Adopted: r.adopted, At: r.at,
		Step: r.step, Stopping: r.stopping, Asked: r.asked, Signalled: r.signalled, Killed: r.killed,
		Deadline: r.deadline, SignalAt: r.signalAt, WakeAt: r.wakeAt,
		OOMs: r.ooms, OOM: r.oom, Exit: r.exit, ExitAt: r.exitAt, Ran: r.ran,
		Leftovers: r.leftovers - len(r.members), Left: slices.Sorted(maps.Keys(r.members)),
		Serial: r.serial, UID: &r.uid, ToldAt: r.toldAt, Told: r.told, Missed: r.missed, Unsafe: r.unsafe, Idle: r.idle, Fenced: r.fenced, Frozen: r.frost.thawAt != never,
	}
	if r.spec != r.slot.spec {
		h.Spec = r.spec
	}
	if r.command != nil {
		c := r.command.Keep(through)
		h.Command = &c
	}
	return h
}

// inherit goes on where the keeper before this one has left off. What of it
// cannot be used is adopted as if that had died.
func (k *keeper) inherit(left []pidfile.Run) {
	h := k.opt.Heir
	if h == nil || h.err != nil {
		if h != nil {
			k.log.Error("upgrade: what was handed over cannot be used; adopting what runs", "error", h.err)
		}
		k.takeOverFrom(left)
		return
	}
	st := &h.state
	k.since, k.engine.count = st.Since, st.Engines // its id stays its own, as its serials begin again
	k.strangers = k.strangers || st.Strangers
	known := map[string]bool{}
	for i := range st.Slots {
		s := &st.Slots[i]
		if k.restore(s) || s.Run == nil {
			known[s.Name] = true
		}
	}
	// A run that is recorded but was not handed over is none of this keeper's
	// making: it is looked at as after a death.
	var rest []pidfile.Run
	for _, was := range left {
		if !known[was.Slot] {
			rest = append(rest, was)
		}
	}
	k.takeOverFrom(rest)
	k.log.Info("upgrade: taken over", "slots", len(st.Slots), "processes", k.live, "binary", st.Binary)
	k.opt.Heir.state.Slots = nil
}

// restore puts a slot and what runs in it back. It is false when the process could
// not be taken back: then it is adopted from the record.
func (k *keeper) restore(h *heldSlot) bool {
	s := k.slotOf(h.Name)
	s.spec, s.exit, s.lease = h.Spec, h.Exit, h.Lease
	s.keepMemo(h.Memo)
	if h.Group && k.tree != nil {
		s.group, s.spent, s.limits = k.tree.Find(h.Name), h.Spent, h.Limits
	}
	if h.FIFO != "" {
		if err := s.reattach(h); err != nil {
			k.log.Error("upgrade: output not captured", "slot", s.name, "error", err)
		}
	}
	if h.Hold {
		s.holdOpen()
	}
	if h.Run == nil {
		return true
	}
	if h.Run.Spec == nil {
		h.Run.Spec = s.spec
	}
	if h.Run.Spec == nil {
		return false
	}
	if err := s.retake(h.Run); err != nil {
		k.log.Error("upgrade: process not taken over; looking for it in the record", "slot", s.name, "pid", h.Run.Process.PID, "error", err)
		return false
	}
	return true
}

// reattach captures output where the keeper before has left off.
func (s *slot) reattach(h *heldSlot) error {
	fd, err := openFIFO(h.FIFO)
	if err != nil {
		return err
	}
	way := s.k.pump.Resume
	if h.Run == nil { // nobody lives who would end the line
		way = s.k.pump.ResumeAfter
	}
	if s.stream, err = way(fd, h.Log.options(), h.Output); err != nil {
		return err
	}
	s.fifo, s.fifoFD, s.owner, s.log = h.FIFO, fd, os.Geteuid(), h.Log
	if s.spec != nil {
		s.owner = s.spec.uid()
	}
	if h.Stored {
		s.k.store.stored(s)
	}
	s.k.store.putIn(s)
	return nil
}

// retake puts a run back into its slot, with its ladder where it was.
func (s *slot) retake(h *heldRun) error {
	k := s.k
	r := newRun(s, h.ID, h.Spec)
	r.at, r.adopted = h.At, h.Adopted
	r.step, r.stopping, r.asked, r.signalled, r.killed = h.Step, h.Stopping, h.Asked, h.Signalled, h.Killed
	r.deadline, r.signalAt, r.wakeAt = h.Deadline, h.SignalAt, h.WakeAt
	r.toldAt = h.ToldAt
	r.serial, r.told, r.missed, r.unsafe, r.idle, r.fenced = h.Serial, h.Told, h.Missed, h.Unsafe, h.Idle, h.Fenced
	if h.UID != nil {
		r.uid = *h.UID
	}
	r.ooms, r.oom, r.leftovers, r.counted = h.OOMs, h.OOM, max(h.Leftovers, 0)+len(h.Left), h.Left
	var err error
	switch {
	case h.Exit != nil:
		r.p = proc.Gone(h.Process.PID, h.Process.Began, h.Process.Started)
		r.exit, r.exitAt, r.ran = h.Exit, h.ExitAt, h.Ran
	case h.Adopted:
		if r.p, err = proc.Adopt(h.Process.PID, h.Process.Began, h.Process.Started); err != nil {
			// Somebody else has reaped it meanwhile: how it ended is not known.
			r.p, err = proc.Gone(h.Process.PID, h.Process.Began, h.Process.Started), nil
			s.run = r
			k.live++
			r.unseen(proc.Exit{Code: -1})
			return nil
		}
	default:
		r.p, err = proc.Retake(h.Process)
	}
	if err != nil {
		return err
	}
	if r.exit == nil {
		if err := k.poll.add(r.p.PidFD(), unix.EPOLLIN|unix.EPOLLONESHOT, r); err != nil {
			r.p.Close()
			return err
		}
		k.pids[r.p.PID] = struct{}{}
	}
	s.run = r
	k.live++
	if h.Frozen {
		r.stand(false)
	}
	if h.Command != nil {
		r.retakeCommand(*h.Command)
	}
	if r.exit != nil {
		r.leave() // what it has left behind
	}
	k.poll.at(min(r.signalAt, r.wakeAt, r.deadline, r.fenceAt()))
	return nil
}

// retakeCommand watches a stop command that runs.
func (r *run) retakeCommand(kept proc.Kept) {
	k := r.slot.k
	p, err := proc.Retake(kept)
	if err == nil {
		if err = k.poll.add(p.PidFD(), unix.EPOLLIN, (*stopCommand)(r)); err != nil {
			k.discard(p)
		}
	}
	if err != nil {
		k.log.Warn("upgrade: stop command lost", "slot", r.slot.name, "pid", kept.PID, "error", err)
		if !r.signalled && r.step == StepSignal {
			r.signal()
		}
		return
	}
	r.command = p
	k.pids[p.PID] = struct{}{}
}

// settle tells the first engine what came while nobody was there to hear it.
func (k *keeper) settle() {
	if k.opt.Ending {
		k.terminate()
	}
	h := k.opt.Heir
	if h == nil {
		return
	}
	for range h.state.Terminate {
		k.terminate()
	}
	if h.state.Reload {
		k.signal(syscall.SIGHUP)
	}
	h.state = handover{}
}
