package keeper

import (
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/logs"
	"qsuper/pidfile"
	"qsuper/proc"
)

const (
	// FIFODir holds the slots' pipes, in the state directory.
	FIFODir = "fifo"
	// unseenTime is how long the status of an adopted process is waited for: its
	// new parent has to reap it first.
	unseenTime = 500 * time.Millisecond
	// lookTime is the time between two looks at it.
	lookTime = 10 * time.Millisecond
)

// FIFOPath is where the pipe of a slot is: the next keeper must find it before
// any engine has told it anything.
func FIFOPath(stateDir, slot string) string {
	i := strings.LastIndexByte(slot, '/')
	return filepath.Join(stateDir, FIFODir, slot[:i]+"."+slot[i+1:])
}

// takeOverFrom adopts what an earlier keeper has left behind: processes that
// live, and what is left of the group of those that do not.
func (k *keeper) takeOverFrom(left []pidfile.Run) {
	if len(left) == 0 {
		return
	}
	sessions := proc.Sessions()
	for _, was := range left {
		p, err := proc.Adopt(was.PID, was.Began, was.Started)
		alive := err == nil
		group := k.populated(was.Slot)
		if !alive && was.PID > 0 && (group != nil || sessions[was.PID] || k.carried(was)) { // pid 0: see foretell
			p = proc.Gone(was.PID, was.Began, was.Started)
		}
		if strings.IndexByte(was.Slot, '/') < 1 {
			k.runs.Forget(was.Slot)
			continue
		}
		if p == nil {
			k.lastWords(was.Slot)
			if once(was.Tag) {
				k.slotOf(was.Slot).ghost = &was
			} else {
				k.runs.Forget(was.Slot)
			}
			continue
		}
		k.slotOf(was.Slot).group = group
		k.slotOf(was.Slot).limits = Limits{PIDs: -1} // not known
		r := k.slotOf(was.Slot).adopt(was, p)
		switch {
		case !alive:
			r.unseen(proc.Exit{Code: -1})
		default:
			r.stand(false) // whoever was looking at it is gone
			err = k.poll.add(p.PidFD(), unix.EPOLLIN|unix.EPOLLONESHOT, r)
		}
		if alive && err != nil {
			k.log.Error("process of an earlier daemon not watched; its slot stays locked until it ends", "slot", was.Slot, "pid", was.PID, "error", err)
			continue
		}
		if r.slot.run == r {
			k.log.Warn("process of an earlier daemon adopted", "slot", was.Slot, "pid", was.PID, "alive", alive)
		}
	}
}

// populated is the cgroup of a slot, if there is one with processes in it.
func (k *keeper) populated(slot string) *proc.Cgroup {
	if k.tree == nil {
		return nil
	}
	g := k.tree.Find(slot)
	if lives, err := g.Populated(); err != nil || !lives {
		return nil
	}
	return g
}

// carried says whether a process has the mark of a run. With cgroups it would be in
// the run's.
func (k *keeper) carried(was pidfile.Run) bool {
	return k.tree == nil && was.Serial != "" && len(k.everywhere(runVariable+"="+runID(was.Slot, was.Run, was.Serial))) > 0
}

func (k *keeper) slotOf(name string) *slot {
	s := k.slots[name]
	if s == nil {
		s = &slot{k: k, name: name}
		k.slots[name] = s
	}
	return s
}

// adopt puts a process that runs already into its slot. Its pipe is held open
// from here on, so that what it prints before it dies is not lost, and read once
// the engine has said where that belongs.
func (s *slot) adopt(was pidfile.Run, p *proc.Process) *run {
	now := proc.Boottime()
	spec := &Spec{Tag: was.Tag, Stop: Stop{Signal: was.Signal, Grace: was.Grace}}
	for scope, n := range scopes {
		if n == was.Scope {
			spec.Stop.Scope = scope
		}
	}
	r := newRun(s, was.Run, spec)
	r.p, r.at, r.adopted = p, time.Now().Add(was.Started-now), true
	r.serial, r.uid = was.Serial, was.UID
	s.run = r
	if l := was.Lease; l != nil {
		s.lease = &Lease{Token: l.Token, Until: l.Until, Fence: l.Fence}
		s.k.poll.at(r.fenceAt())
	}
	s.k.live++
	s.k.pids[p.PID] = struct{}{}
	s.holdOpen()
	r.resume(was)
	return r
}

// holdOpen keeps a pipe from losing what is in it while nobody reads it.
func (s *slot) holdOpen() {
	if path := FIFOPath(s.k.opt.StateDir, s.name); s.hold == 0 && unix.Access(path, unix.F_OK) == nil {
		if fd, err := openFIFO(path); err == nil {
			s.hold = fd
		}
	}
}

// lastWords keeps what a process has printed that ended while no keeper was
// there: it is in the pipe as long as an engine without a keeper holds that.
func (k *keeper) lastWords(name string) {
	s := k.slots[name]
	if s == nil {
		s = &slot{k: k, name: name}
	}
	s.holdOpen()
	if n, err := unix.IoctlGetInt(s.hold, unix.TIOCINQ); s.hold == 0 || err != nil || n == 0 {
		s.letGo()
		return
	}
	k.slots[name] = s
}

// adopted tells the keeper what only the engine knows of a process that an
// earlier keeper had started.
func (k *keeper) adopted(a AdoptRequest) error {
	s := k.slots[a.Slot]
	if s == nil {
		return nil
	}
	r := s.run
	if r != nil && r.adopted && r.id == a.Run {
		s.spec, s.specID, r.spec = &a.Spec, 0, &a.Spec
		if err := s.remember(a.Memo); err != nil {
			return err
		}
	}
	if s.hold == 0 {
		return nil
	}
	way := (*logs.Pump).Attach
	if r == nil { // nobody lives who would end the line in the file
		way = (*logs.Pump).AttachAfter
	}
	if err := s.attach(&a.Spec, way); err != nil {
		k.log.Error("output of an adopted process not captured", "slot", a.Slot, "error", err)
		return nil
	}
	s.letGo()
	return nil
}

// letGo ends the holding of a pipe that is read now, or never will be.
func (s *slot) letGo() {
	if s.hold > 0 {
		unix.Close(s.hold)
		s.hold = 0
	}
}

// unseen records the end of an adopted process.
func (r *run) unseen(exit proc.Exit) {
	delete(r.slot.k.pids, r.p.PID)
	r.unawait()
	r.exit, r.exitAt, r.ran = &exit, time.Now(), proc.Boottime()-r.p.Started
	r.lookAt, r.giveUp = never, never
	r.asked = r.asked || r.step != StepNone
	r.killed = r.step == StepKill
	r.exited()
}

// look asks for the status of an adopted process that has exited, until it is
// there or has been waited for long enough.
func (r *run) look(now time.Duration) {
	if r.giveUp == never {
		r.giveUp = now + unseenTime
	}
	exit, ok, _ := r.p.Reap(now >= r.giveUp)
	if ok {
		r.slot.k.poll.forget(r.p.PidFD())
		r.unseen(exit)
		return
	}
	r.lookAt = now + lookTime
	r.slot.k.poll.at(r.lookAt)
}
