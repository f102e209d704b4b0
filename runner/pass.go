package runner

import (
	"context"
	"errors"
	"time"

	"qsuper/plan"
)

// ErrNoPass is returned by Pass to a daemon that stays anyway.
var ErrNoPass = errors.New("this daemon runs all the time")

// Pass looks at every gate once more, as the next call of `run --once` wants: what
// has ended may start again, and jobs that have come due since run.
func (r *Runner) Pass() error {
	if !r.pass {
		return ErrNoPass
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.stopping {
		return ErrStopping
	}
	r.again = true
	for _, c := range r.consumers { // before onePass can look whether they rest
		c.box.put(intended{func(c *consumer, _ time.Time) {
			c.shutdown = r.Stopping()
			for _, u := range c.units {
				if u.passed = u.state.Run; u.state.Phase.Alive() {
					u.passed-- // it is what this pass would have started
				}
			}
		}})
	}
	return nil
}

// onePass waits until every gate has been looked at and everything that was
// started has ended, and no other pass has been asked for meanwhile.
func (r *Runner) onePass(ctx context.Context) {
	for {
		// Jobs go on with what comes due as long as a consumer is there.
		if !r.await(ctx, false) || !r.await(ctx, true) {
			return
		}
		r.mu.Lock()
		r.over = !r.again
		r.again = false
		r.mu.Unlock()
		if r.over {
			close(r.finished)
			return
		}
	}
}

// await waits until all consumers, or all jobs, have passed.
func (r *Runner) await(ctx context.Context, jobs bool) bool {
	var targets []target
	var done []chan struct{}
	for _, c := range r.ordered() {
		if (c.job != nil) == jobs {
			passed := make(chan struct{})
			targets, done = append(targets, target{c: c}), append(done, passed)
			c.box.put(watcher{(*consumer).hasPassed, passed})
		}
	}
	return waitAll(ctx, targets, done)
}

// hasPassed says whether a pass of --once is over: everything has been looked at,
// and nothing runs or is about to. From then on nothing starts.
func (c *consumer) hasPassed() bool {
	for _, conn := range c.observed.Conns {
		if conn.State == plan.ConnUnknown {
			return false
		}
	}
	if c.job != nil && len(c.job.rec.Open) > 0 {
		return false
	}
	for _, u := range c.units {
		if c.foreignLock(u).Fresh {
			return false
		}
		if u.state.Phase.Alive() || !u.rests() {
			return false
		}
	}
	c.shutdown, c.replan = true, true
	return true
}
