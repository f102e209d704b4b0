package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// While everything is being stopped the service manager is told every
// extendEvery that it will take extendBy more at most, from then on: a grace that
// a reload made longer than TimeoutStopSec must not end in a kill.
const (
	extendEvery = 5 * time.Second
	extendBy    = 30 * time.Second
)

// notify has the keeper tell the service manager, if there is one. It is nobody's
// failure when it cannot be told.
func (e *engine) notify(state string) {
	if err := e.say(state); err != nil {
		e.log.Debug("tell the service manager", "state", state, "error", err)
	}
}

// stopping tells the service manager that everything is being stopped, until done
// is closed.
func (e *engine) stopping(done <-chan struct{}) {
	extend := fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extendBy.Microseconds())
	e.notify("STOPPING=1\n" + extend)
	tick := time.NewTicker(extendEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			e.notify(extend)
		case <-done:
			return
		}
	}
}

// watchdogEvery is how often the service manager wants to hear from the keeper
// or this engine at least; 0: it does not. See sd_watchdog_enabled(3), which
// would take no notice here, as the variables are meant for the keeper.
func watchdogEvery(getenv func(string) string, keeper, self int) (time.Duration, error) {
	text := getenv("WATCHDOG_USEC")
	if text == "" {
		return 0, nil
	}
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(keeper) && pid != strconv.Itoa(self) {
		return 0, nil // it is somebody's above us
	}
	usec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || usec <= 0 || usec > int64(1<<63-1)/1000 {
		return 0, fmt.Errorf("cannot use WATCHDOG_USEC=%q: not a number of microseconds", text)
	}
	return time.Duration(usec) * time.Microsecond, nil
}

// pong answers the keeper, which would replace an engine that hangs, whenever every
// consumer's owner has answered.
func (e *engine) pong(ctx context.Context) {
	for {
		select {
		case <-e.pings:
		case <-ctx.Done():
			return
		}
		err := e.answers()
		if err == nil {
			err = e.client.Pong()
		}
		if err != nil && ctx.Err() == nil {
			e.log.Error("keeper not answered", "error", err)
		}
	}
}

// feed tells the service manager's watchdog that the daemon lives, whenever every
// consumer's owner has answered. It is the keeper that passes it on: whoever hangs keeps
// it silent.
func (e *engine) feed(ctx context.Context, every time.Duration, answers func() error) {
	tick := time.NewTicker(every / 2) // as sd_watchdog_enabled(3) advises
	defer tick.Stop()
	for {
		if err := answers(); ctx.Err() != nil {
			return
		} else if err != nil {
			e.log.Error("watchdog not fed", "error", err)
		} else {
			e.notify("WATCHDOG=1")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
