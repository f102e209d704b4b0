// Package runner makes decisions happen. It looks at connections and queues,
// asks plan what is wanted, drives every slot through its life, and answers
// what is going on and why.
//
// One goroutine owns one consumer with all its slots; it never waits for
// anything but its mailbox and its next deadline. Processes, locks and output
// are the keeper's.
package runner

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"qsuper/config"
	"qsuper/keeper"
	"qsuper/plan"
	"qsuper/proc"
	"qsuper/trace"
)

// Keeper is what the runner asks of the keeper. No call waits for an answer.
type Keeper interface {
	Start(keeper.StartRequest) error
	Stop(keeper.StopRequest) error
	Again(keeper.AgainRequest) error
	Adopt(keeper.AdoptRequest) error
	Freeze(keeper.FreezeRequest) error
	Extend(keeper.ExtendRequest) error
	Ack(keeper.AckRequest) error
	Drop(keeper.DropRequest) error
	SetLog(keeper.LogRequest) error
	List() error
	Cork()   // keep requests back …
	Uncork() // … until here
}

// Options are what a Runner is made of.
type Options struct {
	Config   *config.Config
	Keeper   Keeper
	Started  time.Time // start of the keeper: what belongs to an earlier one is forgotten
	Log      *slog.Logger
	OnReload func()     // SIGHUP; nil: ignored
	Release  string     // of this binary, for other hosts to see
	Once     bool       // one pass of the gates; see Finished
	Trace    *trace.Log // where decisions are kept; nil: nowhere

	clock wallClock            // nil: the host's
	boot  func() time.Duration // nil: CLOCK_BOOTTIME
}

// Runner is the engine's heart. New starts nothing; Run does.
type Runner struct {
	keeper   Keeper
	log      *slog.Logger
	release  string
	intents  *intents
	permits  permits
	shares   shares
	journal  journal
	trace    *trace.Log
	counted  atomic.Int64 // consumers, for what is shared among them
	board    board
	signals  *signals
	foreign  *foreignLocks
	lookout  lookout
	fleets   lockStores
	memory   memory
	usage    func(pids []int) map[int]procUsage
	onReload func()
	pass     bool          // --once
	again    bool          // guarded by mu: another pass was asked for
	over     bool          // guarded by mu: the last pass has ended
	finished chan struct{} // closed when the one pass is over and nothing runs

	launch  atomic.Pointer[launcher]
	listed  chan struct{} // closed at ListEnd
	running chan struct{} // closed when Run has begun its work
	ended   chan struct{} // closed when Run returns
	once    sync.Once
	loops   sync.WaitGroup
	ctx     context.Context // of Run; consumers and pollers live in it
	orders  chan Termination
	crew    *crew // of jobs; nil: there have been none
	clock   wallClock
	boot    func() time.Duration // CLOCK_BOOTTIME

	mu        sync.Mutex
	config    *config.Config
	loadedAt  time.Time
	refused   string // why a newer file is not in force
	consumers map[string]*consumer
	order     []string
	stopping  bool
}

// Termination is a wish, sent to the daemon as a signal, to stop everything.
type Termination struct {
	Now bool
	At  time.Time // with Now: since when the keeper stops everything by itself
}

// New prepares a runner for a configuration.
func New(o Options) (*Runner, error) {
	known, err := loadIntents(o.Config.Daemon.StateDir, o.Started)
	if err != nil {
		return nil, err
	}
	r := &Runner{
		keeper: o.Keeper, log: o.Log, release: o.Release, intents: known, journal: journal{engine: strconv.FormatInt(time.Now().UnixNano(), 36)}, onReload: o.OnReload, pass: o.Once, finished: make(chan struct{}),
		listed: make(chan struct{}), running: make(chan struct{}), ended: make(chan struct{}), orders: make(chan Termination, 4),
		trace: o.Trace, config: o.Config, loadedAt: time.Now(), consumers: map[string]*consumer{}, usage: proc.UsageOf, clock: o.clock, boot: o.boot,
	}
	if r.boot == nil {
		r.boot = proc.Boottime
	}
	r.signals = newSignals(o.Config.Daemon.StateDir, o.Log)
	r.foreign = newForeignLocks(r)
	r.lookout.changed = make(chan struct{}, 1)
	r.settings(o.Config)
	r.fleets.open(r, o.Config)
	for _, c := range o.Config.Consumers {
		r.consumers[c.Name] = newConsumer(r, c)
		r.order = append(r.order, c.Name)
	}
	r.counted.Store(int64(len(r.order)))
	if err := r.employ(o.Config); err != nil {
		return nil, err
	}
	for _, j := range o.Config.Jobs {
		r.consumers[j.Name] = r.crew.add(j)
		r.order = append(r.order, j.Name)
	}
	return r, nil
}

// settings takes what is not a consumer's own.
func (r *Runner) settings(cfg *config.Config) {
	r.launch.Store(newLauncher(cfg))
	now := time.Now()
	retry := max(cfg.Daemon.Interval.Next(now).Sub(now), 100*time.Millisecond)
	limits := plan.Limits{Processes: cfg.Daemon.Budget.Processes, Memory: cfg.Daemon.Budget.Memory}
	r.shares.configure(limits)
	r.permits.configure(cfg.Daemon.StartRate, limits, min(retry, 5*time.Second))
	r.memory.configure(cfg.Daemon.Budget.MemoryReserve)
}

func (r *Runner) launcher() *launcher { return r.launch.Load() }

// Terminations tells of signals to the daemon.
func (r *Runner) Terminations() <-chan Termination { return r.orders }

// Run adopts what runs and then lives until ctx is done. It stops no consumer:
// Shutdown does.
func (r *Runner) Run(ctx context.Context) error {
	defer close(r.ended)
	if err := r.keeper.List(); err != nil {
		return fmt.Errorf("ask the keeper what runs: %w", err)
	}
	r.settle(r.config)
	select {
	case <-r.listed:
	case <-ctx.Done():
		return nil
	}
	r.mu.Lock()
	r.ctx = ctx
	for _, c := range r.consumers {
		if c.job == nil {
			r.loops.Go(func() { c.loop(ctx) })
		}
	}
	if r.crew != nil {
		r.loops.Go(func() { r.crew.loop(ctx) })
	}
	old, fresh := r.watch(r.config)
	r.mu.Unlock()
	r.loops.Go(func() { r.lookout.run(ctx) })
	r.fleets.run(ctx, &r.loops)
	replace(ctx, old, fresh, &r.loops)
	close(r.running)
	r.loops.Go(func() { r.sample(ctx) })
	if r.pass {
		r.loops.Go(func() { r.onePass(ctx) })
	}
	<-ctx.Done()
	r.loops.Wait()
	return nil
}

// Finished is closed when the one pass of Options.Once is over and nothing runs.
func (r *Runner) Finished() <-chan struct{} { return r.finished }

// Handle takes what the keeper reports. It never waits.
func (r *Runner) Handle(m any) {
	switch m := m.(type) {
	case keeper.Started:
		r.route(m.Slot, m)
	case keeper.StartFailed:
		r.route(m.Slot, m)
	case keeper.LogTrouble:
		r.route(m.Slot, m)
	case keeper.Stopping:
		r.route(m.Slot, m)
	case keeper.Frozen:
		r.route(m.Slot, m)
	case keeper.Exited:
		if !r.route(m.Slot, m) {
			r.strayGone(m)
		}
	case keeper.SlotInfo:
		if c := r.owner(m.Slot); c != nil && m.PID != 0 {
			r.permits.expect(m.Slot, c.shared.Load().Footprint())
		}
		if !r.route(m.Slot, m) {
			r.stray(m)
		}
	case keeper.ListEnd:
		r.once.Do(func() { close(r.listed) })
	case keeper.Terminate:
		select {
		case r.orders <- Termination{Now: m.Now, At: m.At}:
		default: // it has been told often enough
		}
	case keeper.Reload:
		if r.onReload != nil {
			r.onReload()
		}
	}
}

func (r *Runner) route(key string, m any) bool {
	c := r.owner(key)
	if c != nil {
		c.box.put(m)
	}
	return c != nil
}

func slotNumber(key string) (int, bool) {
	i := strings.LastIndexByte(key, '/')
	n, err := strconv.Atoi(key[i+1:])
	return n, i > 0 && err == nil && n >= 0 && n <= maxInstances
}

// Scaled are the consumers whose number of instances was given by hand, until the
// next Apply.
func (r *Runner) Scaled() map[string]int { return r.intents.counts() }

// Apply puts a new configuration into force: what did not change is not
// touched. It waits until Run has begun, and is not called twice at once. While
// everything is being stopped it does nothing and reports false.
func (r *Runner) Apply(cfg *config.Config) bool {
	select {
	case <-r.running:
	case <-r.ended:
		return false
	}
	if r.Stopping() {
		return false
	}
	if err := r.intents.forgetCounts(); err != nil {
		r.log.Error("what was scaled by hand may come back after a crash", "error", err)
	}
	begun := r.crew != nil
	if err := r.employ(cfg); err != nil {
		r.log.Error("jobs cannot run", "error", err)
	}
	if r.crew != nil && !begun {
		r.loops.Go(func() { r.crew.loop(r.ctx) })
	}
	r.fleets.open(r, cfg)
	r.settle(cfg)
	old, fresh, ok := r.install(cfg)
	if !ok {
		return false
	}
	r.fleets.run(r.ctx, &r.loops)
	replace(r.ctx, old, fresh, &r.loops)
	for _, c := range r.ordered() {
		c.box.put(observed{})
	}
	return true
}

// install is the part of Apply that needs the lock.
func (r *Runner) install(cfg *config.Config) (old, fresh map[string]*poller, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return nil, nil, false
	}
	// Directories are the keeper's and the running processes': they change when
	// the daemon is restarted, as the reload says.
	cfg.Daemon.StateDir, cfg.Daemon.LogDir = r.config.Daemon.StateDir, r.config.Daemon.LogDir
	r.config, r.loadedAt, r.refused = cfg, time.Now(), ""
	r.settings(cfg)
	var order []string
	for _, conf := range cfg.Consumers {
		order = append(order, conf.Name)
		c := r.consumers[conf.Name]
		switch {
		case c != nil && c.job != nil:
			r.turned(c)
			continue
		case c != nil:
			c.box.put(configured{conf})
			continue
		}
		c = newConsumer(r, conf)
		r.consumers[conf.Name] = c
		r.loops.Go(func() { c.loop(r.ctx) })
	}
	if r.crew != nil {
		order = append(order, r.reschedule(cfg.Jobs)...)
	}
	for _, name := range r.order {
		if c := r.consumers[name]; c != nil && !slices.Contains(order, name) {
			c.box.put(gone{})
			order = append(order, name) // shown until it has ended
		}
	}
	r.order = order
	r.counted.Store(int64(len(order)))
	old, fresh = r.watch(cfg)
	return old, fresh, true
}

// watch has everything looked at that a configuration names, with mu held. It returns
// the pollers that are to end and those that are to start.
func (r *Runner) watch(cfg *config.Config) (old, fresh map[string]*poller) {
	r.signals.prepare(cfg, r.consumers, time.Now())
	r.foreign.prepare(cfg, r.consumers)
	r.lookout.prepare(cfg.Daemon.Interval, append(r.signals.views(cfg, r.launcher()), r.foreign.views(cfg, r.launcher())...))
	return r.board.prepare(cfg, r.consumers, func(conn string) []asking {
		return append(r.signals.questions(cfg, conn), r.foreign.questions(conn)...)
	})
}

// Refuse records why a newer file is not in force.
func (r *Runner) Refuse(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = why
}

// forget ends a removed consumer, unless a reload has brought it back.
func (r *Runner) forget(c *consumer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.box.pending() {
		return false
	}
	delete(r.consumers, c.name)
	r.order = slices.DeleteFunc(r.order, func(n string) bool { return n == c.name })
	return true
}

// ordered lists the consumers in the order of the file.
func (r *Runner) ordered() []*consumer {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*consumer, 0, len(r.order))
	for _, name := range r.order {
		if c := r.consumers[name]; c != nil {
			list = append(list, c)
		}
	}
	return list
}

// Config returns the configuration in force, when it was loaded, and why a
// newer one was refused ("" = it was not).
func (r *Runner) Config() (cfg *config.Config, loaded time.Time, refused string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.config, r.loadedAt, r.refused
}

// Stopping says whether everything is being stopped.
func (r *Runner) Stopping() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopping
}

// Shutdown stops every consumer and returns when all are gone, with what became
// of each. With now, or when it is called again with now, the graces are given
// up. Nothing starts any more, whatever ctx does.
func (r *Runner) Shutdown(ctx context.Context, now bool) Reply {
	r.mu.Lock()
	r.stopping = true
	r.mu.Unlock()
	all := r.ordered()
	targets := make([]target, len(all))
	before := make([][]run, len(all))
	done := make([]chan struct{}, len(all))
	for i, c := range all {
		targets[i], done[i] = target{c: c}, make(chan struct{})
		r.query(c, func(c *consumer) {
			for _, u := range c.units {
				if u.state.Phase.Alive() {
					before[i] = append(before[i], run{u.n, u.state.Run})
				}
			}
		})
		c.box.put(leave{now})
		c.box.put(watcher{(*consumer).empty, done[i]})
	}
	reply := Reply{Consumers: names(targets), TimedOut: !waitAll(ctx, targets, done)}
	for i, t := range targets {
		for _, o := range r.outcomes(t, before[i]) {
			if o.Exit != nil && o.Exit.Step == "kill" {
				reply.Killed++
			}
			reply.Outcomes = append(reply.Outcomes, o)
		}
	}
	return reply
}
