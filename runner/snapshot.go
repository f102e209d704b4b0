package runner

import (
	"context"
	"fmt"
	"time"

	"qsuper/config"
	"qsuper/plan"
	"qsuper/proc"
	"qsuper/slot"
)

// Snapshot is one consumer at one moment, as its owner sees it.
type Snapshot struct {
	Config    *config.Consumer
	Program   plan.Program
	Observed  plan.Observed
	Result    plan.Result
	Summary   plan.Summary
	Slots     []SlotSnapshot // nil unless asked for
	Max       int            // slots that exist
	Tally     Tally
	Gates     []plan.Gate   // nil unless asked for
	Missed    string        // which limits do not hold, and why; "" = all do
	Unkept    int           // slots whose output cannot be written now
	Exclusive bool          // it holds exclusive slots of several hosts
	Margin    time.Duration // how long until the first of them is asked to end, if its lease is not renewed
	Output    Output        // of that one of them which has been so for longest
}

// SlotSnapshot is one slot of a Snapshot.
type SlotSnapshot struct {
	Slot     int
	State    slot.State
	Decision plan.Decision
	Exits    []slot.ExitRecord // newest last
	RSS      int64             // bytes; 0 = not measured
	CPU      float64           // percent of one processor; see Detail.Usage
	Used     time.Duration     // processor time of what lives of the run; 0 = not measured
	Outdated string            // see proc.Outdated; "" = it is not, or Detail.Usage was not asked for
	Output   Output
}

// Detail says how much of a snapshot is wanted.
type Detail struct {
	Slots bool // the slots one by one
	Usage bool // memory and processor use of each, and whether it is outdated; costs a sweep over /proc
	Gates bool // every gate with its evidence
}

// query has the owner of a consumer answer a question. It reports false when
// the consumer is gone.
func (r *Runner) query(c *consumer, f func(*consumer)) bool {
	answered := make(chan struct{})
	c.box.put(ask{func(c *consumer) {
		f(c)
		close(answered)
	}})
	// Run returns after its last owner: nobody is left then who could still be
	// answering.
	select {
	case <-answered:
		return true
	case <-c.done:
	case <-r.ended:
	}
	select {
	case <-answered:
		return true
	default:
		return false
	}
}

// Snapshots shows the consumers that names mean; all of them without names.
func (r *Runner) Snapshots(list []string, d Detail) ([]Snapshot, error) {
	targets, err := r.resolve(list)
	if err != nil {
		return nil, err
	}
	shots := make([]Snapshot, 0, len(targets))
	for _, t := range targets {
		if t.c.job != nil {
			continue // see Jobs
		}
		var s Snapshot
		if r.query(t.c, func(c *consumer) { s = c.snapshot(t, d) }) {
			shots = append(shots, s)
		}
	}
	if d.Usage {
		measure(shots)
	}
	return shots, nil
}

func (c *consumer) snapshot(t target, d Detail) Snapshot {
	now := time.Now()
	c.decide(now) // a question deserves the answer of this moment
	c.views = c.views[:0]
	for _, u := range c.units {
		c.views = append(c.views, c.view(u))
	}
	s := Snapshot{
		Config: c.cfg, Program: c.prog, Observed: c.observed, Result: c.result, Max: len(c.units),
		Summary: plan.Summarize(c.prog, c.result, c.views, now), Tally: c.tally.clone(),
	}
	s.Result.Decisions, s.Missed = nil, c.missed
	s.Margin, s.Exclusive = c.margin()
	if n, u := c.troubled(); n > 0 {
		s.Unkept, s.Output = n, u.output
	}
	if d.Gates {
		c.observed.Budget.Others = c.r.shares.holders()
		s.Gates = plan.Gates(c.prog, c.observed, c.memory, now)
		s.Gates = append(s.Gates, plan.ForeignGate(c.cfg.ForeignLock != nil, c.views), c.rateGate())
	}
	if !d.Slots {
		return s
	}
	s.Slots = make([]SlotSnapshot, 0, len(c.units))
	for i, u := range c.units {
		if !t.means(u.n) {
			continue
		}
		ss := SlotSnapshot{Slot: u.n, State: u.state, Decision: c.result.Decisions[i], RSS: u.usage.rss, CPU: u.usage.share * 100, Output: u.output}
		if d.Gates {
			ss.Exits = append(ss.Exits, u.exits...)
		}
		s.Slots = append(s.Slots, ss)
	}
	return s
}

func (c *consumer) rateGate() plan.Gate {
	rate := c.r.permits.limit()
	g := plan.Gate{Name: "start_rate", State: plan.Skipped, Evidence: "no limit is set"}
	if rate == 0 {
		return g
	}
	g.State, g.Evidence = plan.Open, fmt.Sprintf("%d starts per second over all consumers", rate)
	waiting := 0
	for _, u := range c.units {
		if u.state.Phase == slot.Waiting && u.state.Reason.Code == slot.StartRate {
			waiting++
		}
	}
	if waiting > 0 {
		g.State, g.Evidence = plan.Closed, fmt.Sprintf("%d slots wait for their turn, %s", waiting, g.Evidence)
	}
	return g
}

// measure fills in what the processes use now, with one sweep for all. The
// processor's share is the average over the life of the process, as ps shows
// it, unless the slot is watched all the time.
func measure(shots []Snapshot) {
	var pids []int
	for _, s := range shots {
		for _, u := range s.Slots {
			if u.State.PID != 0 {
				pids = append(pids, u.State.PID)
			}
		}
	}
	if len(pids) == 0 {
		return
	}
	use := proc.UsageOf(pids)
	now := time.Now()
	for _, s := range shots {
		for i := range s.Slots {
			u := &s.Slots[i]
			now1, ok := use[u.State.PID]
			if !ok {
				continue
			}
			u.RSS, u.Used = now1.RSS, now1.CPU
			u.Outdated = proc.Outdated(u.State.PID, s.Config.Dir, u.State.Started)
			if age := now.Sub(u.State.Started); u.CPU == 0 && age > 0 {
				u.CPU = 100 * float64(now1.CPU) / float64(age)
			}
		}
	}
}

// Connections shows what is known of every connection.
func (r *Runner) Connections() []Connection { return r.board.connections() }

// Events emits transitions; see journal.
func (r *Runner) Events(ctx context.Context, q EventQuery, emit func(Event) error) error {
	targets, err := r.resolve(q.Names)
	if err != nil {
		return err
	}
	meant := map[string]target{}
	for _, t := range targets {
		meant[t.c.name] = t
	}
	pass := func(e Event) bool {
		t, ok := meant[e.Consumer]
		return len(q.Names) == 0 || ok && t.means(e.Slot)
	}
	return r.journal.events(ctx, q, pass, emit)
}

// Engine tells the events of this engine from those of others.
func (r *Runner) Engine() string { return r.journal.engine }

// LogFile is where the output of one slot is kept.
type LogFile struct {
	Consumer string
	Slot     int
	Path     string
	Kept     bool // false: it goes elsewhere, as `logs.to` says
}

// LogFiles lists the output of the slots that names mean.
func (r *Runner) LogFiles(list []string) ([]LogFile, error) {
	targets, err := r.resolve(list)
	if err != nil {
		return nil, err
	}
	var files []LogFile
	for _, t := range targets {
		r.query(t.c, func(c *consumer) {
			for _, u := range c.units {
				if t.means(u.n) {
					to := c.cfg.Logs.To
					files = append(files, LogFile{c.name, u.n, r.launcher().logPath(c.name, u.n), to == "file" || to == "both"})
				}
			}
		})
	}
	return files, nil
}
