package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"qsuper/config"
	"qsuper/control"
	"qsuper/metrics"
	"qsuper/web"
)

// doorRetry is how long a door that could not be opened stays shut. Supervision
// goes on without it.
const doorRetry = 5 * time.Second

// tcp keeps the door open that the file in force asks for.
type tcp struct {
	build func(config.HTTP) (*web.Door, error)
	log   *slog.Logger
	fresh chan config.HTTP // holds the latest only

	mu    sync.Mutex
	state control.HTTPStatus
}

func newTCP(first config.HTTP, log *slog.Logger, build func(config.HTTP) (*web.Door, error)) *tcp {
	t := &tcp{build: build, log: log, fresh: make(chan config.HTTP, 1)}
	t.fresh <- first
	return t
}

// set puts other settings into force. It is not called twice at once.
func (t *tcp) set(h config.HTTP) {
	select {
	case <-t.fresh:
	default:
	}
	t.fresh <- h
}

// status is nil when the file asks for no door.
func (t *tcp) status() *control.HTTPStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Listen == "" {
		return nil
	}
	s := t.state
	return &s
}

func (t *tcp) note(listen string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = control.HTTPStatus{Listen: listen}
	if err != nil {
		t.state.Error = err.Error()
	}
}

// run opens, changes and closes the door until ctx is done.
func (t *tcp) run(ctx context.Context) {
	var now config.HTTP
	said := ""
	for again := t.next(ctx, nil, &now); again; {
		if now.Listen == "" {
			t.note("", nil)
			again = t.next(ctx, nil, &now)
			continue
		}
		err := t.open(ctx, &now)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			said = ""
			continue
		}
		t.note(now.Listen, err)
		if err.Error() != said {
			t.log.Error("page and metrics are not reachable, consumers go on", "error", err, "again_every", doorRetry)
		}
		said = err.Error()
		again = t.next(ctx, time.After(doorRetry), &now)
	}
}

// next waits for other settings, or for the time to try again. False: ctx is done.
func (t *tcp) next(ctx context.Context, retry <-chan time.Time, now *config.HTTP) bool {
	select {
	case <-ctx.Done():
		return false
	case <-retry:
	case *now = <-t.fresh:
	}
	return true
}

// open serves until the settings change, and takes the new ones over; a door that
// could not be opened, or has failed, is an error.
func (t *tcp) open(ctx context.Context, now *config.HTTP) error {
	door, err := t.build(*now)
	if err != nil {
		return err
	}
	life, shut := context.WithCancel(ctx)
	defer shut()
	ended := make(chan error, 1)
	go func() { ended <- door.Run(life) }()
	t.note(now.Listen, nil)
	select {
	case err := <-ended:
		return err
	case *now = <-t.fresh: // perhaps only the token in its file is another
		shut()
		<-ended
		return nil
	}
}

// openDoor makes the door of one configuration.
func (e *engine) openDoor(d *daemon) func(config.HTTP) (*web.Door, error) {
	api, scrapes := e.server.Handler(), metrics.Handler(d)
	history := web.NewHistory(d)
	return func(h config.HTTP) (*web.Door, error) {
		token, err := config.ReadToken(h.TokenFile)
		if err != nil {
			return nil, err
		}
		return web.New(web.Options{
			Listen: h.Listen, Token: token, Hosts: h.Hosts, Log: e.log, Source: d, History: history, API: api, Metrics: scrapes,
			Ready: func() error {
				if e.runner.Stopping() {
					return errors.New("everything is being stopped")
				}
				return nil
			},
		}), nil
	}
}
