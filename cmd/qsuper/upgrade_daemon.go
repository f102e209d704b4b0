package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"qsuper/control"
	"qsuper/keeper"
	"qsuper/runner"
)

// upgrader is the engine's part in an upgrade: it asks, and leaves.
type upgrader struct {
	ask      func(keeper.UpgradeRequest) error
	stopping func() bool // everything is being stopped
	notify   func(string)

	mu      sync.Mutex
	answers []chan keeper.Upgrading
	leaving bool
	left    chan struct{} // closed when the engine is to end and to stop nothing
}

func newUpgrader(ask func(keeper.UpgradeRequest) error, stopping func() bool, notify func(string)) *upgrader {
	return &upgrader{ask: ask, stopping: stopping, notify: notify, left: make(chan struct{})}
}

// request asks the keeper; the answer comes once.
func (u *upgrader) request(path string) (<-chan keeper.Upgrading, error) {
	answer := make(chan keeper.Upgrading, 1)
	u.mu.Lock()
	u.answers = append(u.answers, answer)
	u.mu.Unlock()
	return answer, u.ask(keeper.UpgradeRequest{Path: path})
}

// handle takes the keeper's answer. The stop of everything may have begun since it
// was asked: it goes on, for the next engine would know nothing of it.
func (u *upgrader) handle(m keeper.Upgrading) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var err error
	if m.Err == "" && u.stopping() {
		m.Err = runner.ErrStopping.Error()
		err = u.ask(keeper.UpgradeRequest{Cancel: true})
	}
	if len(u.answers) > 0 { // they come in the order of the requests
		u.answers[0] <- m
		u.answers = u.answers[1:]
	}
	if m.Err == "" && !u.leaving {
		u.leaving = true
		var now unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it exists on every Linux
		u.notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
		close(u.left)
	}
	return err
}

// gone is an error once the engine is leaving.
func (u *upgrader) gone() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.leaving {
		return &control.Conflict{Problem: "another binary is just taking over", Advice: "try again in a second"}
	}
	return nil
}

// Upgrade answers when the binary has been tried. The end of the engine ends ctx
// as well: the answer came first.
func (d *daemon) Upgrade(ctx context.Context, u control.Upgrade) (control.UpgradeReply, error) {
	if d.runner.Stopping() {
		return control.UpgradeReply{}, apiError(runner.ErrStopping)
	}
	answer, err := d.upgrades.request(u.Binary)
	if err != nil {
		return control.UpgradeReply{}, fmt.Errorf("ask the keeper for an upgrade: %w", err)
	}
	var m keeper.Upgrading
	select {
	case m = <-answer:
	case <-ctx.Done():
		select {
		case m = <-answer:
		default:
			return control.UpgradeReply{}, ctx.Err()
		}
	}
	return control.UpgradeReply{
		Binary: m.Path, Home: m.Home, From: version(), To: m.Version, EnginePID: os.Getpid(), Refused: m.Err, BadFile: m.Config,
	}, nil
}
