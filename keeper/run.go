package keeper

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/internal/failpoint"
	"qsuper/lock/backends/file"
	"qsuper/proc"
)

const (
	killAgain = 2 * time.Second       // between two SIGKILLs of what does not die
	wakeTime  = 20 * time.Millisecond // between the stop signal and SIGCONT
	// shellKilled is what a shell exits with whose command was ended by SIGKILL.
	shellKilled = 128 + int(syscall.SIGKILL)
	drainTime   = 2 * time.Second // how long the last output may take to be written
)

// run is one process in a slot, its group, and the ladder that ends them. It is
// over when the last of the group is gone.
type run struct {
	slot *slot
	id   uint64
	spec *Spec
	p    *proc.Process // nil: it is being started
	lock *file.Lock    // while it is being started; nil: the slot has none
	at   time.Time

	serial    string // part of QSUPER_RUN_ID: no other run of this boot has it; "" = not known
	uid       int    // whom the process was started as
	output    int    // while it is being started: the pipe, opened for it; 0: none
	step      string
	stopping  Stop          // the ladder under way
	asked     bool          // for a stop, or one had begun before the process exited
	deadline  time.Duration // CLOCK_BOOTTIME: end of the grace, then of the wait for the next SIGKILL
	signalled bool
	awaited   bool          // counted in keeper.awaited
	wakeAt    time.Duration // when SIGCONT follows
	signalAt  time.Duration // when the signal is sent though the stop command has not ended
	command   *proc.Process // nil: none runs
	killed    bool          // something has died of SIGKILL at the end of the ladder
	adopted   bool          // started by an earlier keeper
	lookAt    time.Duration // when the status of an adopted process is looked for again
	giveUp    time.Duration // when it is taken for unknown

	missed    string // which limits do not hold, and why; "" = all do
	ooms      int    // the slot's count of out-of-memory kills when it began
	oom       bool   // one of them was it
	frost     frost
	unsafe    bool // the grace ended before a safe point came
	idle      bool // ended at a moment when it held no message
	follows   bool // it is being started by a standing order
	fenced    bool // ended because the lease runs out
	relief    relief
	early     *Stop // asked for while the process was being started
	earlyKill bool

	exit      *proc.Exit // nil: the process runs
	exitAt    time.Time
	ran       time.Duration
	toldAt    time.Duration   // when the group had the signal; 0: not known
	told      []int           // besides the process itself, who had the signal for the whole tree
	members   map[int]*member // left of the run after the process
	leftovers int             // how many there have been
	counted   []int           // of these, by the keeper before an upgrade; they may be gone
	drainBy   time.Duration   // never: the run is not over
	drain     atomic.Int32    // waiting, drained
}

// Values of run.drain.
const (
	waiting = 1
	drained = 2
)

func newRun(s *slot, id uint64, spec *Spec) *run {
	return &run{
		slot: s, id: id, spec: spec, uid: spec.uid(),
		frost: warm, deadline: never, signalAt: never, wakeAt: never, drainBy: never, lookAt: never, giveUp: never,
	}
}

// member is a process of the run that outlived the main process.
type member struct {
	run *run
	proc.Member
}

// begun is called when the process has been started, or has not.
func (r *run) begun(p *proc.Process, err error) {
	s, k := r.slot, r.slot.k
	if r.follows {
		r.follows = false
		k.following--
	}
	if err == nil {
		if err = k.poll.add(p.PidFD(), unix.EPOLLIN|unix.EPOLLONESHOT, r); err != nil {
			k.discard(p)
			err = fmt.Errorf("watch the process: %w", err)
		}
	}
	// The process holds the lock from here on, and whatever inherits it. A second
	// copy here would guard nothing more, as the slot is known to be taken, but
	// each descriptor makes every later fork dearer.
	r.unlock()
	if err != nil {
		s.run = nil
		k.live--
		r.unsay()
		s.startFailed(r.id, err)
		k.expectQuit()
		return
	}
	k.burst.Started()
	r.p, r.at = p, time.Now()
	k.pids[p.PID] = struct{}{}
	failpoint.Hit(failpoint.ForkBeforeRecord)
	r.record()
	k.poll.at(r.fenceAt())
	started := Started{Slot: s.name, Run: r.id, PID: p.PID, At: r.at, Pipe: s.stream != nil, Missed: r.missed}
	if k.starting > 0 { // an engine that is woken for each takes the processor from the next
		k.engine.tellLater(frameStarted, started)
	} else {
		k.engine.tell(frameStarted, started)
	}
	switch {
	case r.earlyKill:
		r.kill()
	case r.early != nil:
		r.begin(*r.early)
	}
}

// ready is called when the process has exited.
func (r *run) ready(uint32) {
	if r.exit != nil {
		return
	}
	k := r.slot.k
	if r.adopted {
		r.look(proc.Boottime())
		return
	}
	exit, ok, err := r.p.Reap(true)
	if !ok && err == nil {
		_ = k.poll.change(r.p.PidFD(), unix.EPOLLIN|unix.EPOLLONESHOT) // it is in there
		return
	}
	r.unawait()
	r.exit, r.exitAt, r.ran = &exit, time.Now(), proc.Boottime()-r.p.Started
	if exit.Signal == syscall.SIGKILL || exit.Code == shellKilled {
		r.oom = r.slot.oomKills() > r.ooms
	}
	r.asked = r.asked || r.step != StepNone
	r.killed = r.step == StepKill && exit.Signal == syscall.SIGKILL
	delete(k.pids, r.p.PID)
	k.poll.forget(r.p.PidFD()) // it is told once only
	if r.asked {
		k.reaped = append(k.reaped, r)
	} else {
		r.exited()
	}
}

// exited follows the reaping, at once or, when a fleet is being stopped, as soon
// as there is nothing else to reap.
func (r *run) exited() {
	r.p.Close()
	if r.command == nil && r.alone() {
		r.over()
		return
	}
	r.leave()
}

// leave deals with what the process has left behind: the rest of the grace, or
// a ladder of their own, and in the end SIGKILL, until nothing is left.
func (r *run) leave() {
	k := r.slot.k
	found := r.find()
	if len(found) == 0 && len(r.members) == 0 {
		if r.command == nil {
			r.over()
		}
		return
	}
	if r.members == nil {
		r.members = map[int]*member{}
	}
	for _, m := range found {
		m := &member{r, m}
		if err := k.poll.add(m.PidFD(), unix.EPOLLIN, m); err != nil {
			k.log.Error("process not watched", "slot", r.slot.name, "pid", m.PID, "error", err)
		}
		r.members[m.PID] = m
		if !slices.Contains(r.counted, m.PID) {
			r.leftovers++
		}
		switch {
		case r.step == StepKill:
			m.kill()
		case r.signalled && !r.hadSignal(m):
			m.ask()
		}
	}
	if r.step == StepNone {
		own := r.spec.Stop
		own.Command = nil // it is for the process, which is gone
		r.begin(own)
	}
}

// hadSignal says whether the stop signal has reached a member already. One that was
// forked after it, by a process that was just being asked, has not had it.
func (r *run) hadSignal(m *member) bool {
	if r.stopping.Scope == scopeTree {
		return slices.Contains(r.told, m.PID)
	}
	group, err := syscall.Getpgid(m.PID)
	return r.stopping.Scope == scopeGroup && err == nil && group == r.p.PID && (r.toldAt == 0 || m.ForkedBefore(r.toldAt))
}

// ready is called when the member has exited.
func (m *member) ready(uint32) {
	r := m.run
	if !m.Gone() {
		return
	}
	r.slot.k.poll.remove(m.PidFD())
	m.Close()
	delete(r.members, m.PID)
	if len(r.members) == 0 {
		r.leave()
	}
}

func (m *member) ask() {
	_ = m.Signal(m.run.stopping.signal()) // one that is gone already will be seen
	_ = m.Signal(syscall.SIGCONT)
}

func (m *member) kill() {
	if m.Signal(syscall.SIGKILL) == nil {
		m.run.killed = true
	}
}

// over is called once: nothing of the run is left.
func (r *run) over() {
	if r.drainBy != never {
		return
	}
	k := r.slot.k
	if r.frost.thawAt != never && r.slot.group != nil {
		_ = r.slot.group.Freeze(false) // or the next in it would stand still
	}
	r.frost = warm
	r.drainBy, r.deadline, r.signalAt = proc.Boottime()+drainTime, never, never
	r.wakeAt = never
	if r.slot.stream == nil {
		r.finish()
		return
	}
	// It is called from here when there is no output to take, else by the pump.
	r.slot.stream.EndOfRun(func() {
		if r.drain.Swap(drained) == waiting {
			k.poll.post(r.finish)
		}
	})
	if r.drain.Swap(waiting) == drained {
		r.finish()
	} else {
		k.poll.at(r.drainBy)
	}
}

// sayKilled logs what the engine may not live to sum up.
func (s *slot) sayKilled() {
	if s.k.opt.Ended != nil {
		return // somebody lists them
	}
	consumer, number := s.name, -1
	if i := strings.LastIndexByte(s.name, '/'); i >= 0 {
		consumer = s.name[:i]
		number, _ = strconv.Atoi(s.name[i+1:])
	}
	s.k.log.Warn("had to be killed", "consumer", consumer, "slot", number, "after", s.exit.Ran.Round(time.Millisecond).String())
}

// finish frees the slot and tells.
func (r *run) finish() {
	s := r.slot
	if s.run != r {
		return // the output took too long, and now comes late
	}
	s.run = nil
	s.k.live--
	e := r.exit
	s.exit = &Exited{
		Slot: s.name, Run: r.id, PID: r.p.PID,
		Code: e.Code, Signal: int(e.Signal), Core: e.Core, Step: r.endedBy(),
		At: r.exitAt, Ran: r.ran, CPU: e.CPU, MaxRSS: e.MaxRSS,
		Leftovers: r.leftovers, ExecError: e.ExecError, OOM: r.oom, Fenced: r.fenced, Held: r.unsafe && r.killed, Why: r.stopping.Why,
	}
	if s.k.tookOver && s.exit.Step == StepKill {
		s.k.code = s.k.opt.KilledCode
		s.sayKilled()
	}
	if s.k.opt.Ended != nil {
		s.k.opt.Ended(*s.exit)
	}
	if r.leftovers > 0 || r.step == StepKill {
		s.k.sweepLater(sweepTime) // orphans come to the keeper
	}
	s.exit.Next = s.successor(s.exit)
	if r.asked {
		s.k.engine.tellLater(frameExited, s.exit)
	} else {
		s.k.engine.tell(frameExited, s.exit)
	}
	if next := s.exit.Next; next != 0 {
		if err := s.start(next); err != nil {
			s.startFailed(next, err)
		} else if n := s.run; n != nil && n.p == nil {
			n.follows = true
			s.k.following++
		}
		return
	}
	if !r.asked {
		s.k.awake = proc.Boottime() + stayAwake
	}
	s.k.expectQuit()
}

func (r *run) endedBy() string {
	switch {
	case !r.asked:
		return StepNone
	case r.idle:
		return StepIdle
	case r.killed:
		return StepKill
	}
	return StepSignal
}

// unlock closes what was needed for the start only.
func (r *run) unlock() {
	if r.slot.group != nil {
		r.slot.group.CloseFD()
	}
	if r.output > 0 {
		unix.Close(r.output)
		r.output = 0
	}
	if r.lock != nil {
		_ = r.lock.Release() // closing a lock file has nothing to lose
		r.lock = nil
	}
}

// launchCommand starts the stop command.
func (r *run) launchCommand() {
	k := r.slot.k
	spec := r.slot.process(r, strconv.Itoa(r.p.PID))
	var p *proc.Process
	out, err := r.slot.output()
	if err == nil {
		spec.Output = out
		spec.Path, spec.Argv = r.stopping.Command[0], r.stopping.Command
		p, err = proc.Start(spec)
	}
	if out > 0 {
		unix.Close(out)
	}
	if err == nil {
		if err = k.poll.add(p.PidFD(), unix.EPOLLIN, (*stopCommand)(r)); err != nil {
			k.discard(p)
		}
	}
	if err != nil {
		k.log.Warn("stop command not run", "slot", r.slot.name, "error", err)
		return
	}
	r.command = p
	k.pids[p.PID] = struct{}{}
}

// stopCommand is the run as the source of the end of its stop command.
type stopCommand run

func (c *stopCommand) ready(uint32) {
	r := (*run)(c)
	if r.command == nil {
		return
	}
	exit, ok, err := r.command.Reap(true)
	if !ok && err == nil {
		return
	}
	k := r.slot.k
	if exit.Code != 0 {
		k.log.Warn("stop command failed", "slot", r.slot.name, "code", exit.Code, "signal", int(exit.Signal), "error", exit.ExecError)
	}
	k.poll.remove(r.command.PidFD())
	delete(k.pids, r.command.PID)
	r.command.Close()
	r.command = nil
	switch {
	case r.exit != nil:
		r.leave()
	case r.step == StepSignal && !r.signalled:
		r.signal()
	}
}
