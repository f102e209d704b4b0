package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/logs"
	"qsuper/pidfile"
	"qsuper/proc"
)

const (
	// answerTime is how long the engine has to answer Terminate before the keeper
	// stops everything by itself, and how long it has to quit once nothing runs.
	answerTime = 10 * time.Second
	// closeTime is how long the engine has to exit when the keeper is done.
	closeTime = 2 * time.Second
	// stayAwake is how long the loop looks for the engine's answer to an exit
	// before it sleeps. The answer is most often the start of a successor and
	// comes within 100 µs, which is about what it takes to wake a sleeping core.
	stayAwake = 200 * time.Microsecond
	// lullTime is how long, in milliseconds, the engine is left asleep for the
	// start of a successor, or after the latest exit that it has asked for.
	lullTime = 1
	// maxReaped bounds what is reaped before what follows from it is done.
	maxReaped = 4096
	// spawnerFrom is the number of live processes from which each start goes through
	// the spawner: below, handing over a single one costs more than the keeper's own table.
	spawnerFrom = 64
	// reserved is room for the descriptors of some 1,300 processes: 32 KiB of the
	// kernel's memory. A larger fleet stands still once for twice as many.
	reserved = 4096
	// sweepTime is how long zombies that were re-parented to the keeper wait, and
	// strangerTime how long the first ones do: as long as there have been none the
	// keeper does not hear of exits by signal, but looks now and then.
	sweepTime    = 100 * time.Millisecond
	strangerTime = 10 * time.Second
)

// keeper is the state of the one event loop; nothing in it is shared.
type keeper struct {
	opt    Options
	log    *slog.Logger
	poll   *poller
	pump   *logs.Pump
	runs   *pidfile.Runs
	memos  *pidfile.Memos // nil: they cannot be kept
	engine engine
	slots  map[string]*slot
	taken  map[string]uint64 // bytes of streams that are gone, by consumer
	live   int               // slots in which something runs

	starting  int           // of these, in the hands of the spawner
	following int           // of these, by a standing order
	reaped    []*run        // asked to end and just reaped, see run.exited
	awaited   int           // processes that have had their stop signal and have not exited
	spawner   *proc.Spawner // nil: not possible here
	burst     Burst         // of starts

	pids      map[int]struct{} // unreaped children that the loop waits for by pidfd
	last      *Spec            // the specification that came last, see Spec.share
	null      int
	contained string             // see Hello
	tree      *proc.Cgroups      // nil: processes are held together by their sessions only
	deaf      bool               // nobody counts out-of-memory kills in the groups
	refused   map[string]refusal // controllers that cannot be had
	kin       kin                // what this turn of the loop knows of processes without a cgroup
	oom       *proc.OOM          // nil: the keeper is not protected
	since     time.Time          // the keeper's start
	id        string             // part of QSUPER_RUN_ID that no other keeper has
	serial    uint64             // of the latest start

	awake       time.Duration // until when the loop looks for events without sleeping
	sigs        *signals
	sweepAt     time.Duration
	sweepDue    bool
	strangers   bool          // there have been some; PID 1 expects them
	terminating bool          // no more starts
	tookOver    bool          // the keeper itself stops everything
	answerBy    time.Duration // when it does so, or quits
	quit        bool          // the engine asked for it
	code        int
	closing     bool // the engine is to go now
	closeBy     time.Duration
	upgrade     upgrade
	store       storage
}

// Run keeps until everything has been stopped or the engine asks to quit, and
// returns the exit status for the process. The error is *pidfile.Held if another
// daemon has the state directory; nothing has been touched then. It must be
// called once in a process: it becomes the reaper of orphans and takes TERM, INT,
// HUP and USR1. When ctx is done that is a TERM.
func Run(ctx context.Context, opt Options) (code int, err error) {
	opt.complete()
	owner, err := opt.own()
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, owner.Release()) }()
	k, err := open(opt)
	if err != nil {
		return 1, err
	}
	defer k.close()
	if opt.Ending && k.idle() {
		unmarkEnding(opt.StateDir)
		return 0, nil
	}

	helpCtx, stopHelp := context.WithCancel(context.Background())
	var help sync.WaitGroup
	var pumpErr error
	help.Go(func() {
		if pumpErr = k.pump.Run(helpCtx); pumpErr != nil {
			k.poll.post(func() { k.log.Error("log capture ended", "error", pumpErr) })
		}
	})
	if k.spawner != nil {
		help.Go(func() { _ = k.spawner.Run(helpCtx) }) // Ready tells the error
		if err := k.spawner.Ready(); err != nil {
			k.noSpawner(err)
		}
	}
	stopCtx := context.AfterFunc(ctx, func() { k.poll.post(func() { k.signal(syscall.SIGTERM) }) })
	k.sigs.start(k)
	k.listen()
	k.sweepFirst()

	k.burst.Begin()
	k.engine.start()
	help.Go(func() { proc.ReserveDescriptors(reserved) }) // while the engine gets ready
	k.settle()
	err = k.loop()

	if err == nil && k.upgrade.leaving {
		k.pump.Leave()
		stopHelp()
		help.Wait()
		return 1, k.become(owner)
	}
	stopCtx()
	k.sigs.stop()
	stopHelp()
	help.Wait()
	if err != nil {
		return 1, err
	}
	k.clearMemos()
	unmarkEnding(opt.StateDir)
	return k.code, pumpErr
}

// open makes everything that Run needs and starts nothing.
func open(opt Options) (*keeper, error) {
	k := &keeper{
		opt: opt, log: opt.Log, slots: map[string]*slot{}, taken: map[string]uint64{}, pids: map[int]struct{}{},
		null: -1, oom: proc.OpenOOM(), since: time.Now(),
		id: strconv.FormatInt(int64(proc.Boottime()), 36), sigs: newSignals(), strangers: os.Getpid() == 1,
		sweepAt: never, answerBy: never, closeBy: never, upgrade: upgrade{by: never, out: -1, err: -1},
	}
	k.engine = engine{k: k, conn: -1, startAt: never, pulse: noPulse}
	forgetIgnored()
	// What the keeper itself inherited by accident stops here. An older kernel
	// (before 5.11) refuses, and consumers inherit it too.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	// The first process of a container is that anyway, also where it is emulated and
	// cannot ask (qemu, for another architecture).
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil && os.Getpid() != 1 {
		return nil, fmt.Errorf("become the reaper of orphans: %w", err)
	}
	if err := proc.Supported(); err != nil {
		return nil, err
	}
	var err error
	if k.null, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("open /dev/null: %w", err)
	}
	var left []pidfile.Run
	if k.runs, left, err = pidfile.OpenRuns(opt.StateDir); err == nil {
		if k.pump, err = logs.NewPump(opt.Out); err == nil {
			k.poll, err = newPoller((*timer)(k))
		}
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(k.null))
	}
	if k.spawner, err = proc.NewSpawner(k.poll.post); err != nil {
		k.noSpawner(err)
	}
	k.watchLogs()
	if !opt.Ending {
		unmarkEnding(opt.StateDir)
	}
	k.openTree()
	k.openMemos()
	k.store = k.openStorage(opt.Store)
	k.inherit(left)
	k.store.receive(opt.Store)
	return k, nil
}

// spawns says whether the next start goes through the spawner.
func (k *keeper) spawns() bool {
	return k.spawner != nil && (k.live >= spawnerFrom || k.starting > 0 || k.engine.behind > 0)
}

func (k *keeper) noSpawner(err error) {
	k.spawner = nil
	k.log.Debug("large fleets will start slower", "error", err)
}

func (k *keeper) close() {
	if k.upgrade.trial != nil {
		k.discard(k.upgrade.trial)
	}
	k.poll.close()
	k.store.close()
	unix.Close(k.null)
	k.oom.Close()
	k.runs.Close()
	if k.memos != nil {
		k.memos.Close()
	}
	for _, s := range k.slots {
		s.prune()
	}
	if k.tree != nil {
		k.tree.Close()
	}
}

// loop is the keeper's only thread of control.
func (k *keeper) loop() error {
	more := false
	for (!k.closing || k.engine.p != nil) && !k.upgrade.due(k) {
		timeout := -1
		switch {
		case len(k.reaped) > 0 && k.awaited > 0 && !more:
			timeout = lullTime // what follows an exit takes the processor from those that are to exit
		case more || len(k.reaped) > 0 || proc.Boottime() < k.awake:
			timeout = 0
		case k.following > 0 || k.engine.late != 0 && len(k.engine.out) > 0 && !k.engine.waiting:
			timeout = lullTime
		}
		before := k.following
		k.kin = kin{}
		if err := k.poll.poll(timeout); err != nil {
			return err
		}
		if k.poll.idle || len(k.reaped) >= maxReaped {
			for _, r := range k.reaped {
				r.exited()
			}
			k.reaped = k.reaped[:0]
		}
		more = k.engine.handle()
		if k.starting == 0 {
			k.settled()
		}
		// Telling the engine wakes it, and it would take the processor that the
		// successor is being started on.
		if k.following <= before && !k.engine.canWait() {
			k.engine.flush()
		}
		k.endIfDone()
	}
	return nil
}

// settled does what has to wait while processes are just being started, whose
// numbers only the spawner knows.
func (k *keeper) settled() {
	for ; k.engine.lists > 0; k.engine.lists-- {
		k.list()
	}
	if k.sweepDue {
		k.sweepDue = false
		k.sweep()
	}
}

func (k *keeper) sweepFirst() {
	switch {
	case k.opt.Heir != nil:
		k.sweepLater(sweepTime) // nobody heard of those that died meanwhile
	case !k.strangers:
		k.sweepLater(strangerTime)
	}
}

// sweep reaps what was re-parented to the keeper.
func (k *keeper) sweep() {
	k.sigs.child(k.strangers)
	n, again := proc.ReapStrangers(func(pid int) bool { _, ok := k.pids[pid]; return ok })
	switch {
	case n > 0 && !k.strangers:
		k.strangers = true
		k.sigs.child(true)
		k.sweepLater(sweepTime) // what died before the signal was heard
	case again:
		k.sweepLater(sweepTime)
	case !k.strangers:
		k.sweepLater(strangerTime)
	}
}

// sweepLater waits before it looks: asking for strangers goes through all
// children, which must not be paid for at every exit.
func (k *keeper) sweepLater(wait time.Duration) {
	k.sigs.child(false)
	k.sweepAt = proc.Boottime() + wait
	k.poll.at(k.sweepAt)
}

// signal is a signal to the keeper itself.
func (k *keeper) signal(sig os.Signal) {
	if k.upgrade.leaving {
		k.upgrade.hear(sig)
		return
	}
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT:
		k.terminate()
	case syscall.SIGHUP:
		k.engine.reload = !k.engine.greeted
		k.engine.send(frameReload, Reload{})
	case syscall.SIGUSR1:
		k.pump.Reopen()
	case syscall.SIGCHLD:
		k.sweepLater(sweepTime)
	}
}

// terminate begins the stop of the whole; the second time it ends it.
func (k *keeper) terminate() {
	if k.terminating {
		k.engine.send(frameTerminate, Terminate{Now: true, At: time.Now()})
		k.takeOver("told twice")
		for _, s := range k.slots {
			if s.run != nil {
				s.run.kill()
			}
		}
		return
	}
	k.terminating = true
	k.markEnding()
	k.engine.send(frameTerminate, Terminate{})
	k.engine.ping() // one that hangs after its answer must not hold up the stop
	if k.engine.p == nil {
		k.takeOver("there is no engine")
		return
	}
	k.answerBy = proc.Boottime() + answerTime
	k.poll.at(k.answerBy)
}

// expectQuit gives an engine that has promised to see to the end a time for it.
func (k *keeper) expectQuit() {
	if k.live == 0 && k.terminating && !k.quit && !k.tookOver {
		k.answerBy = proc.Boottime() + answerTime
		k.poll.at(k.answerBy)
	}
}

// takeOver stops everything without the engine.
func (k *keeper) takeOver(why string) {
	if k.tookOver {
		return
	}
	k.terminating, k.tookOver, k.answerBy = true, true, never
	if k.live > 0 {
		k.log.Warn("keeper stops all processes by itself", "reason", why, "processes", k.live)
	}
	k.stopAll()
}

func (k *keeper) stopAll() {
	for _, s := range k.slots {
		if s.run != nil {
			s.run.begin(s.run.spec.Stop)
		}
	}
}

// engineGone is called when the engine has been reaped.
func (k *keeper) engineGone(pid int, exit proc.Exit) {
	if k.closing || k.upgrade.leaving {
		return
	}
	if !k.quit {
		k.log.Error("engine died", "pid", pid, "code", exit.Code, "signal", int(exit.Signal))
	}
	if k.terminating {
		k.takeOver("the engine is gone")
	}
	k.engine.later()
	if !k.quit {
		k.engine.noteCrash(exit)
	}
}

// endIfDone closes when nothing runs and nothing is to come.
func (k *keeper) endIfDone() {
	if k.closing || !k.quit && !k.tookOver || k.live > 0 {
		return
	}
	k.closing = true
	if k.engine.p == nil {
		return
	}
	k.engine.flush()
	if k.engine.conn >= 0 {
		k.engine.hangUp() // it reads the rest and then the end, and exits
	}
	k.closeBy = proc.Boottime() + closeTime
	k.poll.at(k.closeBy)
}
