package runner

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"qsuper/config"
	"qsuper/keeper"
	"qsuper/plan"
	"qsuper/slot"
)

// crew owns all jobs: one goroutine with one timer for what its slots wait for,
// and one alarm on the clock for the next fire of all. A job's slots, and what
// runs in them, are a consumer's; job.go says what is its own.
type crew struct {
	r      *Runner
	clock  wallClock
	ledger *ledger
	wake   chan struct{} // of all mailboxes

	mu   sync.Mutex
	jobs []*consumer

	// owned by loop
	wall   time.Time     // of this turn
	boot   time.Duration // likewise
	starts []start       // to be asked for once the ledger is written
	bids   []bid         // for fires that hosts share, likewise
	broken bool          // the ledger could not be written the last time
}

// start is a run that the keeper is to be asked for.
type start struct {
	c   *consumer
	u   *unit
	req keeper.StartRequest
}

// newCrew prepares for jobs. What is remembered of jobs that are not in the file
// any more is forgotten.
func newCrew(r *Runner, cfg *config.Config, clock wallClock) (*crew, error) {
	if clock == nil {
		var err error
		if clock, err = newHostClock(); err != nil {
			return nil, err
		}
	}
	w := &crew{r: r, clock: clock, wake: make(chan struct{}, 1)}
	var err error
	if w.ledger, err = openLedger(cfg.Daemon.StateDir); w.ledger == nil {
		return nil, err
	}
	w.trouble(err)
	for name := range w.ledger.records {
		if !slices.ContainsFunc(cfg.Jobs, func(j *config.Job) bool { return j.Name == name }) {
			delete(w.ledger.records, name)
		}
	}
	w.wall, w.boot = clock.Now(), clock.Boot()
	return w, nil
}

// add takes a job in.
func (w *crew) add(conf *config.Job) *consumer {
	c := &consumer{name: conf.Name, r: w.r, box: &mailbox{wake: w.wake}, done: make(chan struct{}), tally: newTally()}
	c.job = &job{c: c, w: w}
	c.job.take(conf)
	c.configure(conf.Consumer)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs = append(w.jobs, c)
	c.box.nudge()
	return c
}

func (w *crew) members() []*consumer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.jobs)
}

func (w *crew) remove(c *consumer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs = slices.DeleteFunc(w.jobs, func(o *consumer) bool { return o == c })
}

// loop lives until ctx is done.
func (w *crew) loop(ctx context.Context) {
	w.r.loops.Go(func() {
		if err := w.clock.Run(ctx); err != nil {
			w.r.log.Error("no job will be on time", "error", err)
		}
	})
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer func() {
		for _, c := range w.members() {
			close(c.done)
		}
		w.ledger.close()
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-w.wake:
		case <-w.clock.Rang():
		}
		next, alarm := w.turn()
		w.clock.Set(alarm)
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

// turn gives a turn to every job that has something to do. It returns when the
// next slot has something to do, and when the next fire is due by the clock.
func (w *crew) turn() (next, alarm time.Time) {
	step := w.look()
	now := time.Now()
	w.r.keeper.Cork()
	defer w.r.keeper.Uncork()
	for _, c := range w.members() {
		c.job.attach()
		if step != 0 {
			c.job.stepped(step)
		}
		c.batch = c.box.take(c.batch)
		if len(c.batch) > 0 || !c.wakeAt.IsZero() && !now.Before(c.wakeAt) || c.job.ripe(w.wall) {
			var over bool
			if c.wakeAt, over = c.turn(c.batch, now); over {
				w.ledger.note(entry{Op: "drop", Job: c.name})
				w.remove(c)
				close(c.done)
				continue
			}
		}
		next, alarm = plan.Sooner(next, c.wakeAt), plan.Sooner(alarm, c.job.due)
	}
	w.commit()
	return next, alarm
}

// look reads the clock and says by how much somebody has set it since the last
// look, if that is worth knowing.
func (w *crew) look() time.Duration {
	wall, boot := w.clock.Now(), w.clock.Boot()
	step := wall.Sub(w.wall) - (boot - w.boot)
	w.wall, w.boot = wall, boot
	if step > -plan.OnTime && step < plan.OnTime {
		return 0
	}
	w.r.log.Warn("the clock was set", "by", step.Round(time.Second).String())
	return step
}

// commit writes the ledger, and then lets the keeper start what is in it.
func (w *crew) commit() {
	w.trouble(w.ledger.flush())
	for _, s := range w.starts {
		err := w.r.keeper.Start(s.req)
		if err != nil && !errors.Is(err, keeper.ErrGone) { // too long for a frame: it was never asked
			s.u.spec = nil
			s.c.step(s.u, time.Now(), slot.SpawnFailed{Run: s.req.Run, Kind: slot.FailExec, Reason: err.Error()})
			s.c.replan = true
			s.c.box.put(observed{})
			continue
		}
		s.c.send(err)
	}
	w.starts = w.starts[:0]
	for _, b := range w.bids {
		w.r.loops.Go(func() { b.ask(w.r.ctx) })
	}
	w.bids = w.bids[:0]
}

// trouble tells once that the ledger cannot be written, and that it can again.
func (w *crew) trouble(err error) {
	switch {
	case err != nil && !w.broken:
		w.r.log.Error("fires of jobs are not recorded; killing the daemon now could run one twice", "error", err)
	case err == nil && w.broken:
		w.r.log.Info("fires of jobs are recorded again")
	}
	w.broken = err != nil
}
