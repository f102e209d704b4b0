package runner

import (
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"qsuper/config"
	"qsuper/keeper"
	"qsuper/plan"
	"qsuper/slot"
)

// consumer owns the slots of one consumer of the file. One goroutine runs loop
// and is the only one that touches what is below "owned"; everybody else puts
// messages into its box.
type consumer struct {
	name   string
	r      *Runner
	box    *mailbox
	shared atomic.Pointer[config.Consumer] // for readers that only need the file's words
	slots  atomic.Int64                    // number of slots, for readers that only need to count
	uneven atomic.Bool                     // it has more of the shared slots than its part
	done   chan struct{}

	// owned by loop
	cfg      *config.Consumer
	written  written
	fleet    *lockStore // nil: the slots are this host's own
	prog     plan.Program
	policy   slot.Policy
	again    []int // exit codes after which the keeper may go on by itself
	human    intent
	shutdown bool
	removed  bool
	units    []*unit
	due      []time.Duration // deadlines of the units, since epoch
	ended    []*unit         // whose exits are to be acknowledged
	views    []plan.Slot
	memory   plan.Memory
	kept     common              // of memory, as the keeper is to know it
	unkept   bool                // it does not yet
	past     map[string]memoConn // what an earlier engine has seen of connections
	result   plan.Result
	observed plan.Observed
	replan   bool
	safe     safePoint
	missed   string // which limits do not hold for what was started last, and why
	drift    bool   // something was adopted that another configuration has made
	work     work
	plan     *blueprint // of the latest start
	print    string     // fingerprint of cfg; "" = not computed yet
	rolls    []*roll
	surge    int       // slots beyond the last one, for rolls
	watched  []watched // of restart_on
	oneLock  bool      // of the application, for all slots together
	sifted   time.Time // when it was last looked who uses the processor
	sifting  bool
	looking  atomic.Bool // it waits for the next look at the application's own locks
	wave     time.Time   // the wave of which an event has told
	watchers []watcher
	tally    Tally
	job      *job      // nil: it is no job
	batch    []any     // of a job: messages of this turn
	wakeAt   time.Time // of a job: when its slots have something to do; zero: never
}

// Messages to a consumer.
type (
	observed    struct{}                       // a reading or the budget changed
	configured  struct{ cfg *config.Consumer } // a reload; the intent is read anew as well
	rescheduled struct{ job *config.Job }      // likewise of a job
	intended    struct {
		edit func(c *consumer, now time.Time)
	} // a person's command
	leave    struct{ now bool }                 // the daemon stops
	gone     struct{}                           // no longer in the file
	measured struct{ usage map[int]procUsage }  // by pid
	ask      struct{ answer func(c *consumer) } // a reader's question, answered by the owner
)

// watcher waits for something to become true.
type watcher struct {
	true func(c *consumer) bool
	done chan struct{}
}

func newConsumer(r *Runner, cfg *config.Consumer) *consumer {
	c := &consumer{name: cfg.Name, r: r, box: newMailbox(), done: make(chan struct{}), tally: newTally()}
	c.configure(cfg)
	return c
}

// configure takes the words of the file and of people; slots beyond the new
// number stay until they are empty.
func (c *consumer) configure(cfg *config.Consumer) {
	if c.cfg != cfg {
		c.cfg, c.print, c.watched, c.oneLock = cfg, "", watchedBy(cfg), hasOneLock(cfg)
	}
	c.shared.Store(cfg)
	c.fleet = c.r.fleets.of(cfg)
	c.human = c.r.intents.get(cfg.Name)
	if !cfg.Autostart && !c.human.Started && c.human.Stopped == "" {
		c.human.Stopped = "because autostart is false"
	}
	c.prog = program(cfg, c.human.Count)
	c.policy = policy(cfg)
	c.prog.Policy = c.policy
	c.prog.Policy.Key = cfg.Name
	c.again = plainExits(c.policy)
	c.makeRoom()
	for _, u := range c.units {
		u.stopped = c.human.Slots[u.n]
	}
	c.replan = true
}

// finger is the fingerprint of what makes a process of this consumer.
func (c *consumer) finger() string {
	if c.print == "" {
		c.print = c.cfg.Fingerprint()
	}
	return c.print
}

// loop is the life of a consumer. It ends when the consumer is removed and
// nothing runs any more, or when ctx is done.
func (c *consumer) loop(ctx context.Context) {
	defer close(c.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var batch []any
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.box.wake:
		}
		batch = c.box.take(batch)
		c.r.keeper.Cork()
		next, over := c.turn(batch, time.Now())
		c.r.keeper.Uncork()
		if over {
			return
		}
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

// turn deals with messages and with everything that is due, and says when to
// look again by itself; zero means only when something happens. over: it has been
// removed, and is gone.
func (c *consumer) turn(batch []any, now time.Time) (next time.Time, over bool) {
	for _, m := range batch {
		c.handle(m, now)
	}
	next = c.settle(now)
	if over = c.removed && c.empty() && c.r.forget(c); over {
		c.bury()
	}
	return next, over
}

func (c *consumer) handle(m any, now time.Time) {
	switch m := m.(type) {
	case keeper.Started:
		c.with(m.Slot, func(u *unit) {
			c.step(u, now, slot.Spawned{Run: m.Run, PID: m.PID})
			c.limited(u, m.Missed, now)
		})
	case keeper.StartFailed:
		c.with(m.Slot, func(u *unit) {
			c.plan, u.spec = nil, nil // whatever it was, look again
			c.step(u, now, startFailed(m))
		})
	case keeper.Stopping:
		c.with(m.Slot, func(u *unit) {
			if m.Fenced {
				c.step(u, now, slot.Fenced{Run: m.Run})
			}
			if m.Step == keeper.StepKill {
				c.step(u, now, slot.Killed{Run: m.Run})
			}
		})
	case keeper.Frozen:
		c.with(m.Slot, func(u *unit) { c.frozen(u, m, now) })
	case listed, heard:
		c.seen(m, now)
	case keeper.Exited:
		c.with(m.Slot, func(u *unit) { c.exited(u, m, now) })
	case keeper.LogTrouble:
		c.with(m.Slot, func(u *unit) { c.output(u, m.Log, now) })
	case keeper.SlotInfo:
		c.adopt(m, now)
	case observed:
		c.replan = true
	case configured:
		c.reconfigure(m.cfg, now)
	case rescheduled, claimed:
		c.job.handle(m, now)
	case intended:
		m.edit(c, now)
		c.replan = true
	case leased:
		c.leases(now)
	case leave:
		c.shutdown = true
		c.decide(now)
		if m.now {
			c.killAll(now)
		}
	case gone:
		c.removed, c.replan = true, true
	case measured:
		c.measure(m, now)
	case ask:
		m.answer(c)
	case watcher:
		c.watchers = append(c.watchers, m)
	}
}

func (c *consumer) with(key string, f func(*unit)) {
	if n, ok := slotNumber(key); ok && n < len(c.units) {
		f(c.units[n])
	}
}

// settle decides, carries out everything that is due now, and says when to
// look again by itself; zero means only when something happens.
func (c *consumer) settle(now time.Time) time.Time {
	if c.job != nil {
		c.job.look(now)
	}
	if c.written.owes(now) {
		c.replan = true
	}
	if c.replan || !c.result.Next.IsZero() && !now.Before(c.result.Next) {
		c.decide(now)
	}
	if c.drift {
		c.drift = false
		c.renew()
	}
	at := now.Sub(epoch)
	next := never
	for n := 0; n < len(c.units); n++ {
		// Each step makes at most one transition: a few in a row are due at once
		// when a process is replaced.
		for i := 0; i < 8 && c.due[n] <= at; i++ {
			c.step(c.units[n], now, slot.Tick{})
		}
		next = min(next, c.due[n])
	}
	if c.replan { // a start failed on the spot
		c.decide(now)
		next = slices.Min(append(c.due, never))
	}
	c.acknowledge()
	c.shrink()
	again := plan.Sooner(plan.Sooner(c.proceed(now), c.result.Next), plan.Sooner(c.lookAround(now), c.written.due))
	c.notify()
	if c.prog.Window != nil {
		// Timers stand still in suspend and know nothing of a clock that is set.
		again = plan.Sooner(again, now.Add(time.Minute))
	}
	if next < never {
		again = plan.Sooner(again, epoch.Add(next))
	}
	return again
}

// epoch is what the deadlines in consumer.due count from; never stands for none.
var epoch = time.Now()

const never = time.Duration(math.MaxInt64)

// note keeps the deadlines of all slots side by side: they are gone through at
// every event, and a thousand whole slots do not fit into the processor's cache.
func (c *consumer) note(u *unit) {
	d := u.state.Deadline
	if d.IsZero() || u.state.Phase == slot.Draining { // that one is the keeper's
		c.due[u.n] = never
	} else {
		c.due[u.n] = d.Sub(epoch)
	}
}

// decide asks the planner and tells the slots what is wanted of them.
func (c *consumer) decide(now time.Time) {
	if c.job != nil {
		c.job.decide(now)
		return
	}
	c.replan = false
	c.observed = c.observe()
	c.views = c.views[:0]
	for _, u := range c.units {
		c.views = append(c.views, c.view(u))
	}
	free, before := !c.result.Rationed, c.memory
	c.result = plan.Decide(c.prog, c.observed, c.memory, c.views, now)
	if c.share(c.result.Wish, c.result.Floor, now) {
		c.result = plan.Decide(c.prog, c.observed, c.memory, c.views, now)
	}
	c.memory = c.result.Memory
	c.announce(before.Breaker, now)
	c.record(before, now)
	c.keep(now)
	c.publish(now)
	if free && c.result.Rationed {
		for _, u := range c.units {
			c.withdraw(u)
		}
	}
	for i, u := range c.units {
		d := c.result.Decisions[i]
		if c.r.pass && u.state.Run > u.passed && !u.state.Phase.Alive() && u.state.Reason.Code != slot.StartRate {
			d = plan.Decision{Want: slot.Hold, Reason: slot.Reason{Code: slot.Ended, Text: "--once: not started again"}}
		}
		if c.removed {
			d = plan.Decision{Want: slot.Down, Reason: slot.Reason{Code: slot.Removed}}
		}
		if d.Want == slot.Up && u.state.Want != slot.Up && c.fleet != nil && !u.state.Phase.Alive() {
			c.step(u, now, slot.Unlocked{}) // what it was told of the lock is old
		}
		if d.Want != u.state.Want || d.Reason != u.state.Wish {
			c.step(u, now, slot.Wish{Want: d.Want, Reason: d.Reason})
		}
	}
	c.unstall(now)
	c.renewOutdated(now)
}

// step is the only way a slot changes.
func (c *consumer) step(u *unit, now time.Time, ev slot.Event) {
	p := c.policy
	p.Key = u.key
	if c.job != nil {
		p = c.job.policy(p, u)
	}
	old := u.state
	state, effect := slot.Step(p, old, now, ev)
	u.state = state
	c.note(u)
	if state.Phase != old.Phase {
		c.learn(old, state, u.n, now)
		c.moved(u, old)
	}
	switch effect {
	case slot.Check:
		why, again, ok := c.admit(u, now)
		if ok {
			why, again, ok = c.r.permits.take(&u.ticket, c.cfg.Footprint(), now)
		}
		if ok {
			c.step(u, now, slot.Opened{Run: state.Run})
		} else {
			c.step(u, now, slot.Closed{Run: state.Run, Reason: why, Retry: again})
		}
	case slot.Spawn:
		c.spawn(u, now)
	case slot.Stop:
		c.stop(u, now)
		c.unorder(u)
	case slot.Kill:
		c.send(c.r.keeper.Stop(keeper.StopRequest{Slot: u.key, Run: state.Run, Stop: c.ladder(u), Now: true}))
		c.unorder(u)
	case slot.Release:
		c.r.permits.give(&u.ticket)
	}
	c.withdraw(u)
	c.leaveUnless(u, now)
}

// notify wakes those who wait for something that is true now.
func (c *consumer) notify() {
	c.watchers = slices.DeleteFunc(c.watchers, func(w watcher) bool {
		if !w.true(c) {
			return false
		}
		close(w.done)
		return true
	})
}
