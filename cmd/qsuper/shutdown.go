package main

import (
	"context"

	"qsuper/runner"
	"qsuper/slot"
)

func (e *engine) stopped() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// finish ends the engine after everything has been stopped.
func (e *engine) finish() { e.end.Do(func() { close(e.done) }) }

// stopAll stops everything and then ends the engine. It goes on whether or not
// anybody waits for the reply.
func (e *engine) stopAll(now bool) <-chan runner.Reply {
	replies := make(chan runner.Reply, 1)
	if now {
		e.hurried.Store(true)
	}
	e.log.Info("stopping everything", "now", now)
	over := make(chan struct{})
	e.stops.Go(func() { e.stopping(over) })
	e.stops.Go(func() {
		defer close(over)
		reply := e.runner.Shutdown(e.life, now)
		replies <- reply
		if !reply.TimedOut {
			e.told.Do(func() { e.tell(reply) }) // a second order has the same answer
			e.finish()
		}
	})
	return replies
}

// obey carries out signals to the daemon: the first stops everything with
// grace, the second without.
func (e *engine) obey(ctx context.Context) {
	defer e.stops.Wait()
	if e.hello.Terminating {
		e.signal.Store(true)
		if err := e.client.Terminating(); err != nil {
			e.log.Error("answer the keeper", "error", err)
		}
		e.stopAll(false)
	}
	for {
		select {
		case t := <-e.runner.Terminations():
			e.signal.Store(true)
			if t.Now {
				e.relieved.CompareAndSwap(nil, &t.At)
			}
			if err := e.client.Terminating(); err != nil {
				e.log.Error("answer the keeper", "error", err)
			}
			if !e.runner.Stopping() || t.Now {
				e.stopAll(t.Now)
			}
		case <-e.runner.Finished():
			e.finish()
			return
		case <-ctx.Done():
			return
		}
	}
}

// tell sums up how the instances ended. Whoever gave a command has an answer of his
// own; whoever sent a signal gets the daemon's exit status.
func (e *engine) tell(r runner.Reply) {
	if r.Killed > 0 && e.signal.Load() {
		e.code.Store(exitKilled)
	}
	n := 0
	for _, o := range r.Outcomes {
		if o.Exit == nil {
			continue
		}
		n++
		if at := e.relieved.Load(); at != nil && o.Exit.At.After(*at) {
			continue // the keeper has said it
		}
		if o.Exit.Step == "kill" || o.Exit.Class == slot.ClassOOM {
			e.log.Warn("had to be killed", "consumer", o.Consumer, "slot", o.Slot, "exit", o.Exit.Detail())
		}
	}
	e.log.Info("everything has stopped", "instances", n, "killed", r.Killed)
}
