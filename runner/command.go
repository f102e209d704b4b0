package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"qsuper/plan"
	"qsuper/slot"
)

// Command is what a person asks of some consumers.
type Command struct {
	Verb  string                  // start stop restart stop-workers pause resume scale
	Names []string                // consumer, consumer/slot, @group or glob; empty: all
	By    string                  // "root"
	Now   bool                    // give up the grace
	Wait  bool                    // answer when it is true
	Count int                     // scale
	Batch func(instances int) int // restart: how many may be away at once; nil: all
	Surge func(instances int) int // restart: how many are started before others are stopped; nil: none
	Rolls bool                    // restart: it is given up when new instances crash
}

// Reply says what became of a command.
type Reply struct {
	Consumers []string
	Outcomes  []Outcome
	TimedOut  bool // the context ended before it was true
	Killed    int
	Failed    []string // consumers whose rolling restart was given up, and why
	Warning   string   // done, but something about it did not work
}

// Outcome is what became of one instance that had to end or to start.
type Outcome struct {
	Consumer string
	Slot     int
	State    slot.State
	Exit     *slot.ExitRecord // how the instance meant ended; nil: it has not
}

// NotFoundError says that a name fits no consumer.
type NotFoundError struct {
	Name  string
	Known []string
}

func (e *NotFoundError) Error() string { return fmt.Sprintf("no consumer or job is named %q", e.Name) }

// UsageError says that a command cannot mean anything.
type UsageError struct{ Problem, Advice string }

func (e *UsageError) Error() string { return e.Problem }

// ErrStopping is returned to commands that come while the daemon stops.
var ErrStopping = errors.New("the daemon is stopping")

// target is a consumer with the slots meant; nil: all of them.
type target struct {
	c     *consumer
	slots map[int]bool
}

func (t target) means(n int) bool { return t.slots == nil || t.slots[n] }

// Do carries out a command. With Wait it returns when it is true, or when ctx
// ends, which takes nothing back.
func (r *Runner) Do(ctx context.Context, cmd Command) (Reply, error) {
	targets, err := r.resolve(cmd.Names)
	if err != nil {
		return Reply{}, err
	}
	if err := r.check(cmd, targets); err != nil {
		return Reply{}, err
	}
	if targets = slices.DeleteFunc(targets, func(t target) bool { return notForJobs[cmd.Verb] && t.c.job != nil }); len(targets) == 0 {
		return Reply{}, nil
	}
	reply := Reply{Consumers: names(targets)}
	if err := r.intend(cmd, targets); err != nil {
		reply.Warning = "it cannot be remembered, and will be forgotten when the engine or the daemon is restarted: " + err.Error()
		r.log.Error("what was asked for will not survive a restart", "verb", cmd.Verb, "error", err)
	}
	before, rolls := make([][]run, len(targets)), make([]*roll, len(targets))
	done := make([]chan struct{}, len(targets))
	for i, t := range targets {
		done[i] = make(chan struct{})
		ready := make(chan []run, 1)
		t.c.box.put(intended{func(c *consumer, now time.Time) {
			var alive []run
			alive, rolls[i] = c.command(cmd, t, now)
			ready <- alive
		}})
		select {
		case before[i] = <-ready:
		case <-t.c.done:
			close(done[i])
			continue
		}
		t.c.box.put(watcher{condition(cmd, t, before[i], rolls[i]), done[i]})
	}
	if cmd.Wait {
		reply.TimedOut = !waitAll(ctx, targets, done)
	}
	for i, t := range targets {
		reply.Outcomes = append(reply.Outcomes, r.outcomes(t, before[i])...)
		r.query(t.c, func(c *consumer) {
			if rolls[i] != nil && rolls[i].failed != "" {
				reply.Failed = append(reply.Failed, c.name+": "+rolls[i].failed)
			}
		})
	}
	if cmd.Verb == "restart" || cmd.Verb == "stop-workers" {
		// What a person had stopped is no part of it.
		reply.Outcomes = slices.DeleteFunc(reply.Outcomes, func(o Outcome) bool {
			return o.Exit == nil && o.State.Want == slot.Down && !o.State.Phase.Alive()
		})
	}
	for _, o := range reply.Outcomes {
		if o.Exit != nil && o.Exit.Step == "kill" {
			reply.Killed++
		}
	}
	return reply, nil
}

func names(targets []target) []string {
	var list []string
	for _, t := range targets {
		list = append(list, t.c.name)
	}
	return list
}

func waitAll(ctx context.Context, targets []target, done []chan struct{}) bool {
	for i, d := range done {
		select {
		case <-d:
		case <-targets[i].c.done:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// check refuses what cannot be done before anything is done.
func (r *Runner) check(cmd Command, targets []target) error {
	if r.Stopping() && cmd.Verb != "stop" {
		return ErrStopping
	}
	if jobs := slices.IndexFunc(targets, func(t target) bool { return t.c.job != nil }); jobs >= 0 && notForJobs[cmd.Verb] {
		if c := targets[jobs].c; slices.Contains(cmd.Names, c.name) || len(cmd.Names) > 0 && len(targets) == 1 {
			return &UsageError{fmt.Sprintf("%s is a job: it runs when its schedule says so", c.name), "use `qsuper jobs run " + c.name + "`, or stop, start, pause and resume"}
		}
	}
	switch cmd.Verb {
	case "start", "stop", "stop-workers", "pause", "resume":
	case "restart":
		return mayGrow(cmd, targets)
	case "scale":
		if cmd.Count < 0 || cmd.Count > maxInstances {
			return &UsageError{fmt.Sprintf("%d instances cannot be", cmd.Count), fmt.Sprintf("give a number from 0 to %d", maxInstances)}
		}
		for _, t := range targets {
			if t.slots != nil {
				return &UsageError{"a single slot cannot be scaled", "name the consumer only"}
			}
		}
	default:
		return &UsageError{fmt.Sprintf("no such command: %q", cmd.Verb), ""}
	}
	return nil
}

// notForJobs are the verbs that concern consumers only: without names, or with a
// pattern, jobs are left alone.
var notForJobs = map[string]bool{"restart": true, "stop-workers": true, "scale": true}

// maxInstances bounds `scale` as the file is bounded.
const maxInstances = 10_000

// intend writes down what is wanted before anything is done about it.
func (r *Runner) intend(cmd Command, targets []target) error {
	by := "by " + cmd.By + " on " + time.Now().Format("2006-01-02 15:04")
	slotsOf := map[string]target{}
	for _, t := range targets {
		slotsOf[t.c.name] = t
	}
	return r.intents.change(names(targets), func(name string, i *intent) {
		t := slotsOf[name]
		i.Slots = maps.Clone(i.Slots)
		switch cmd.Verb {
		case "stop":
			i.stop(t, by)
		case "start":
			i.start(t, int(t.c.slots.Load()), by)
		case "pause":
			i.Paused = by
		case "resume":
			i.Paused = ""
		case "scale":
			i.Count = &cmd.Count
		}
	})
}

func (i *intent) stop(t target, by string) {
	if t.slots == nil {
		i.Stopped, i.Started, i.Slots = by, false, nil
		return
	}
	if i.Slots == nil {
		i.Slots = map[int]string{}
	}
	for n := range t.slots {
		i.Slots[n] = by
	}
}

func (i *intent) start(t target, count int, by string) {
	i.Paused = ""
	if t.slots == nil {
		i.Stopped, i.Started, i.Slots = "", true, nil
		return
	}
	// One slot of a stopped consumer: the others stay down.
	if i.Stopped != "" || !t.c.shared.Load().Autostart && !i.Started {
		i.Slots = map[int]string{}
		for n := range count {
			i.Slots[n] = by
		}
	}
	i.Stopped, i.Started = "", true
	for n := range t.slots {
		delete(i.Slots, n)
	}
}

// run is an instance that was alive when a command came.
type run struct {
	slot int
	run  uint64
}

// command is the owner's part of a command. It returns the instances meant
// that run at this moment, and what replaces them, if anything does.
func (c *consumer) command(cmd Command, t target, now time.Time) (alive []run, replaces *roll) {
	c.configure(c.cfg) // reads the intents anew
	var units []*unit
	for _, u := range c.units {
		if !t.means(u.n) {
			continue
		}
		units = append(units, u)
		if u.state.Phase.Alive() {
			alive = append(alive, run{u.n, u.state.Run})
		}
	}
	why := slot.Reason{Code: slot.Recycle, Text: cmd.Verb + " by " + cmd.By}
	switch cmd.Verb {
	case "start":
		c.retry(units, now)
	case "restart":
		limit := 0
		if cmd.Batch != nil {
			limit = cmd.Batch(len(units))
		}
		c.retry(units, now)
		replaces = c.roll(units, limit, why)
		replaces.gives = cmd.Rolls
		if cmd.Surge != nil {
			replaces.surge = cmd.Surge(c.prog.Max)
		}
	case "stop-workers":
		c.roll(units, 0, why)
	}
	c.decide(now)
	if cmd.Now {
		for _, u := range units {
			c.step(u, now, slot.KillNow{Reason: why})
		}
	}
	return alive, replaces
}

// retry ends backoffs and holds, and halts that only a person may end.
func (c *consumer) retry(units []*unit, now time.Time) {
	c.memory.Breaker, c.memory.Deaths = plan.Breaker{}, nil
	for _, u := range units {
		if !u.state.Phase.Alive() {
			c.step(u, now, slot.Retry{})
		}
	}
}

// condition says when a command has become true for one consumer.
func condition(cmd Command, t target, before []run, replaces *roll) func(*consumer) bool {
	over := func(c *consumer) bool {
		return cmd.Verb == "pause" && c.job != nil || // what a paused job runs goes on
			!slices.ContainsFunc(before, func(b run) bool { return c.lives(b) })
	}
	switch cmd.Verb {
	case "stop", "pause", "stop-workers":
		return over
	}
	return func(c *consumer) bool {
		if replaces != nil && replaces.failed != "" {
			return true
		}
		if cmd.Verb == "restart" && (!over(c) || len(c.rolls) > 0) {
			return false
		}
		for _, u := range c.units {
			if t.means(u.n) && !u.rests() {
				return false
			}
		}
		return len(c.units) <= c.prog.Max
	}
}

func (c *consumer) lives(b run) bool {
	if b.slot >= len(c.units) {
		return false
	}
	s := c.units[b.slot].state
	return s.Run == b.run && s.Phase.Alive()
}

// rests says whether a slot is where it will stay unless something happens.
func (u *unit) rests() bool {
	s := u.state
	switch s.Phase {
	case slot.Checking, slot.Spawning:
		return false
	case slot.Draining, slot.Killing:
		return s.Want == slot.Up // a `start` has no part in how long that takes
	case slot.Waiting:
		if s.Want == slot.Hold {
			return s.Wish.Code != slot.Ramp
		}
		return s.Want != slot.Up || s.Reason.Code != slot.StartRate
	}
	return true
}

// outcomes tells what became of the instances meant; of a consumer with none,
// what keeps each of its slots.
func (r *Runner) outcomes(t target, before []run) []Outcome {
	var list []Outcome
	r.query(t.c, func(c *consumer) {
		was := map[int]uint64{}
		for _, b := range before {
			was[b.slot] = b.run
		}
		for _, u := range c.units {
			if !t.means(u.n) {
				continue
			}
			o := Outcome{Consumer: c.name, Slot: u.n, State: u.state}
			if number, ok := was[u.n]; ok && !c.lives(run{slot: u.n, run: number}) {
				o.Exit = u.exitOf(number)
			}
			list = append(list, o)
		}
	})
	return list
}

func (u *unit) exitOf(run uint64) *slot.ExitRecord {
	for i := len(u.exits) - 1; i >= 0; i-- {
		if u.exits[i].Run == run {
			e := u.exits[i]
			return &e
		}
	}
	return nil
}
