package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"qsuper/alert"
	"qsuper/config"
	"qsuper/control"
	"qsuper/internal/kind"
	"qsuper/plan"
	"qsuper/runner"
	"qsuper/slot"
)

// daemon answers the control API from the runner. It only converts: what is
// shown are the very values that were decided on.
type daemon struct {
	runner    *runner.Runner
	keeperPID int
	contained string
	started   time.Time // of the keeper
	load      func() (*config.Config, error)
	reloading sync.Mutex // one reload at a time
	onReload  func(*config.Config)
	stopAll   func(now bool) <-chan runner.Reply // and ends the daemon
	upgrades  *upgrader
	http      func() *control.HTTPStatus
	alerts    *alert.Desk
	printed   func() map[string]uint64 // bytes by consumer and job; nil: not known
}

func (d *daemon) Status(q control.StatusQuery) (control.Status, error) {
	shots, err := d.runner.Snapshots(q.Names, runner.Detail{Slots: q.Slots || q.Usage, Usage: q.Usage})
	if err != nil {
		return control.Status{}, apiError(err)
	}
	jobs, err := d.jobs(q.Names, runner.Detail{Slots: q.Slots})
	if err != nil {
		return control.Status{}, apiError(err)
	}
	cfg, loaded, refused := d.runner.Config()
	s := control.Status{
		Version: 1, Jobs: jobs, Consumers: []control.ConsumerStatus{}, Connections: []control.ConnectionStatus{},
		Daemon: control.DaemonStatus{
			Name: cfg.Daemon.Name, Version: version(), KeeperPID: d.keeperPID, Contained: d.contained, EnginePID: os.Getpid(), StartedAt: d.started,
			Stopping: d.runner.Stopping(), Config: control.ConfigStatus{Path: cfg.Path, LoadedAt: loaded, Error: refused}, HTTP: d.http(),
		},
	}
	s.Consumers = append(s.Consumers, d.consumers(shots, q)...)
	for _, l := range d.runner.Locks() {
		s.Locks = append(s.Locks, lockStatus(l))
	}
	for _, c := range d.runner.Connections() {
		s.Connections = append(s.Connections, control.ConnectionStatus{
			Name: c.Name, Type: c.Type, State: string(c.State), LatencyMS: float64(c.Latency.Microseconds()) / 1000,
			Error: c.Err, Since: c.Since, CheckedAt: c.At,
			Probes: c.Looks, Failures: c.Failures, ProbeSeconds: c.Spent.Seconds(),
		})
	}
	return s, nil
}

func (d *daemon) Explain(name string) (control.Explain, error) {
	shots, err := d.runner.Snapshots([]string{name}, runner.Detail{Slots: true, Gates: true})
	if err != nil {
		return control.Explain{}, apiError(err)
	}
	jobs, err := d.runner.Jobs([]string{name}, runner.Detail{Gates: true})
	if err == nil && len(jobs) == 1 && len(shots) == 0 {
		return d.explainJob(jobs[0]), nil
	}
	if len(shots) != 1 {
		return control.Explain{}, &control.Invalid{Problem: fmt.Sprintf("%q means %d consumers", name, len(shots)), Advice: "name one consumer, or one slot such as orders/0"}
	}
	s := shots[0]
	x := control.Explain{
		Consumer: s.Config.Name, State: string(s.Summary.State), Wanted: s.Result.Target, Running: s.Summary.Running,
		Reason: s.Summary.Reason.String(), Gates: gatesOf(s.Gates), Slots: []control.SlotExplain{}, Exits: []control.SlotExit{},
	}
	if _, number, ok := strings.Cut(name, "/"); ok {
		if n, err := strconv.Atoi(number); err == nil {
			x.Slot = &n
		}
	}
	for _, u := range s.Slots {
		reason := u.State.Reason
		if u.State.Phase == slot.Running {
			reason = u.Decision.Reason
		}
		text := reason.String()
		if u.Output.Trouble != "" {
			text += "; its output cannot be written: " + u.Output.Trouble
		}
		x.Slots = append(x.Slots, control.SlotExplain{
			Slot: u.Slot, Phase: u.State.Phase.String(), Want: u.Decision.Want.String(),
			Code: string(reason.Code), Reason: text, Gates: slotGates(u.State),
		})
		for i := len(u.Exits) - 1; i >= 0; i-- {
			x.Exits = append(x.Exits, control.SlotExit{Slot: u.Slot, ExitStatus: exitStatus(u.Exits[i])})
		}
	}
	x.Gates = append(x.Gates, summed("backoff", x.Slots, "no slot waits after a failure"), summed("lock", x.Slots, "no slot is held by another process"))
	slices.SortStableFunc(x.Exits, func(a, b control.SlotExit) int { return b.At.Compare(a.At) })
	x.Exits = x.Exits[:min(len(x.Exits), 10)]
	return x, nil
}

func gatesOf(list []plan.Gate) []control.Gate {
	gates := make([]control.Gate, len(list))
	for i, g := range list {
		gates[i] = control.Gate{Name: g.Name, State: string(g.State), Evidence: g.Evidence}
	}
	return gates
}

// slotGates are the two gates that each slot has for itself.
func slotGates(s slot.State) []control.Gate {
	backoff := control.Gate{Name: "backoff", State: string(plan.Open), Evidence: "no failures"}
	if s.Failures > 0 {
		backoff.Evidence = fmt.Sprintf("%d failures in a row, last: %s", s.Failures, s.Last.Detail())
	}
	if s.Reason.Code == slot.Backoff || s.Reason.Code == slot.Paced || s.Reason.Code == slot.Host {
		backoff.State = string(plan.Closed)
		backoff.Evidence = s.Reason.String()
		if !s.Deadline.IsZero() {
			backoff.Evidence += fmt.Sprintf(", next try in %.1f s", max(0, time.Until(s.Deadline).Seconds()))
		}
	}
	if s.Final {
		backoff.State, backoff.Evidence = string(plan.Closed), s.Reason.String()+" (\"qsuper restart\" ends this)"
	}
	lock := control.Gate{Name: "lock", State: string(plan.Skipped), Evidence: "looked at last, when it starts"}
	switch {
	case s.Phase.Alive():
		lock.State, lock.Evidence = string(plan.Open), "held by its own process"
		if s.PID != 0 {
			lock.Evidence = fmt.Sprintf("held by its own process, pid %d", s.PID)
		}
	case s.Reason.Code == slot.Locked:
		lock.State, lock.Evidence = string(plan.Closed), s.Reason.String()
	}
	return []control.Gate{backoff, lock}
}

// summed is a gate that each slot has for itself, in one row for all of them.
func summed(name string, slots []control.SlotExplain, open string) control.Gate {
	g := control.Gate{Name: name, State: string(plan.Open), Evidence: open}
	shut := 0
	for _, s := range slots {
		for _, own := range s.Gates {
			if own.Name == name && own.State == string(plan.Closed) {
				if shut++; shut == 1 {
					g.State, g.Evidence = string(plan.Closed), fmt.Sprintf("slot %d: %s", s.Slot, own.Evidence)
				}
			}
		}
	}
	if shut > 1 {
		g.Evidence = fmt.Sprintf("%d of %d slots, first %s", shut, len(slots), g.Evidence)
	}
	return g
}

func (d *daemon) Do(ctx context.Context, c control.Command) (control.CommandReply, error) {
	if limit := c.Limit(); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if c.Verb == control.VerbPass {
		return control.CommandReply{Outcomes: []control.Outcome{}}, apiError(d.runner.Pass())
	}
	if c.App {
		return d.stopWithApps(ctx, c)
	}
	if c.Fleet {
		return d.fleet(ctx, c)
	}
	cmd := runner.Command{
		Verb: c.Verb, Names: c.Names, By: c.By, Now: c.Now, Wait: c.Wait, Count: c.Count,
		Batch: c.Batch, Rolls: c.Rolling,
	}
	if c.Surge != "" {
		cmd.Surge = c.Extra
	}
	reply, err := d.runner.Do(ctx, cmd)
	if err != nil {
		return control.CommandReply{}, apiError(err)
	}
	return replyOf(reply), nil
}

func replyOf(r runner.Reply) control.CommandReply {
	reply := control.CommandReply{Consumers: r.Consumers, TimedOut: r.TimedOut, Killed: r.Killed, Warning: r.Warning, Failed: r.Failed, Outcomes: []control.Outcome{}}
	for _, o := range r.Outcomes {
		out := control.Outcome{Consumer: o.Consumer, Slot: o.Slot, Phase: o.State.Phase.String(), PID: o.State.PID}
		if o.State.Phase != slot.Running {
			out.Reason = o.State.Reason.String()
			if o.State.Reason.Code == slot.OK {
				out.Reason = "about to start"
			}
		}
		if o.Exit != nil {
			e := exitStatus(*o.Exit)
			out.Exit = &e
		}
		reply.Outcomes = append(reply.Outcomes, out)
	}
	return reply
}

// Shutdown stops everything; the daemon ends whether or not anybody waits.
func (d *daemon) Shutdown(ctx context.Context, s control.Shutdown) (control.CommandReply, error) {
	if err := d.upgrades.gone(); err != nil {
		return control.CommandReply{}, err
	}
	replies := d.stopAll(s.Now)
	if s.NoWait {
		return control.CommandReply{Outcomes: []control.Outcome{}}, nil
	}
	select {
	case reply := <-replies:
		return replyOf(reply), nil
	case <-ctx.Done():
	}
	select {
	case reply := <-replies: // the end of the daemon ends ctx as well: the reply came first
		return replyOf(reply), nil
	default:
		return control.CommandReply{Outcomes: []control.Outcome{}, TimedOut: true}, nil
	}
}

func (d *daemon) Reload(context.Context) (control.ReloadReply, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	if d.runner.Stopping() {
		return control.ReloadReply{}, apiError(runner.ErrStopping)
	}
	old, _, _ := d.runner.Config()
	fresh, err := d.load()
	if err != nil {
		d.runner.Refuse(err.Error())
		return refused(err), nil
	}
	reply := described(old, fresh, d.runner.Scaled())
	if !d.runner.Apply(fresh) {
		return control.ReloadReply{}, apiError(runner.ErrStopping)
	}
	d.onReload(fresh)
	return reply, nil
}

// Plan is Reload without its effects.
func (d *daemon) Plan() (control.ReloadReply, error) {
	old, _, _ := d.runner.Config()
	fresh, err := d.load()
	if err != nil {
		return refused(err), nil
	}
	return described(old, fresh, d.runner.Scaled()), nil
}

// apiError turns the runner's errors into those the API tells apart.
func apiError(err error) error {
	var missing *runner.NotFoundError
	var wrong *runner.UsageError
	switch {
	case errors.As(err, &missing):
		return &control.NotFound{Name: missing.Name, Suggestion: kind.Nearest(missing.Name, missing.Known)}
	case errors.As(err, &wrong):
		return &control.Invalid{Problem: wrong.Problem, Advice: wrong.Advice}
	case errors.Is(err, runner.ErrNoPass):
		return &control.Conflict{Problem: err.Error()}
	case errors.Is(err, runner.ErrStopping):
		return &control.Conflict{Problem: err.Error(), Advice: "wait until it has ended, then `qsuper start`"}
	}
	return err
}

// refused is the reply for a file that is not applied.
func refused(err error) control.ReloadReply {
	problems := strings.Split(strings.TrimRight(err.Error(), "\n"), "\n")
	return control.ReloadReply{Problems: problems, Warnings: []string{}, Added: []string{}, Changed: []string{}, Removed: []string{}}
}

// described says what another file changes, of which scaled is given up.
func described(old, fresh *config.Config, scaled map[string]int) control.ReloadReply {
	c := config.Diff(old, fresh)
	r := control.ReloadReply{
		Problems: []string{}, Warnings: []string{},
		Added: append([]string{}, c.Added...), Changed: append([]string{}, c.Changed...), Removed: append([]string{}, c.Removed...),
		Replaced: c.Replace, Connections: c.Connections, Settings: c.Daemon, Unchanged: c.Unchanged,
	}
	maps.DeleteFunc(scaled, func(name string, _ int) bool {
		return !slices.ContainsFunc(fresh.Consumers, func(c *config.Consumer) bool { return c.Name == name })
	})
	r.Unscaled = scaled
	for _, w := range fresh.Warnings {
		r.Warnings = append(r.Warnings, w.String())
	}
	for _, key := range c.Restart {
		r.Warnings = append(r.Warnings, key+" changed: it takes effect when the daemon is restarted")
	}
	return r
}
