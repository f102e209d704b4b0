package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

func TestWatchdogEvery(t *testing.T) {
	for _, tc := range []struct {
		usec, pid string
		want      time.Duration
		wrong     bool
	}{
		{"", "", 0, false},
		{"30000000", "", 30 * time.Second, false},
		{"30000000", "7", 30 * time.Second, false}, // the keeper's
		{"30000000", "8", 30 * time.Second, false}, // our own
		{"30000000", "1", 0, false},
		{"soon", "7", 0, true},
		{"0", "7", 0, true},
		{"9223372036854775807", "7", 0, true},
	} {
		env := map[string]string{"WATCHDOG_USEC": tc.usec, "WATCHDOG_PID": tc.pid}
		got, err := watchdogEvery(func(name string) string { return env[name] }, 7, 8)
		if got != tc.want || (err != nil) != tc.wrong {
			t.Errorf("%+v: %v, %v", tc, got, err)
		}
	}
}

// manager is an engine, and what the service manager hears of it.
func manager(t *testing.T) (e *engine, heard func() string) {
	t.Helper()
	told := make(chan string, 100)
	e = &engine{log: slog.New(slog.DiscardHandler), say: func(state string) error { told <- state; return nil }}
	return e, func() string {
		select {
		case state := <-told:
			return state
		case <-time.After(10 * time.Second):
			t.Fatal("nothing was told")
			return ""
		}
	}
}

func TestTheWatchdogIsFedByAnswersOnly(t *testing.T) {
	e, heard := manager(t)
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	answer := make(chan error)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.feed(ctx, 2*time.Millisecond, func() error { asked <- struct{}{}; return <-answer })
	}()
	<-asked
	answer <- errors.New("no")
	<-asked // again, though the first went wrong
	e.notify("nothing yet")
	if got := heard(); got != "nothing yet" {
		t.Errorf("fed without an answer: %q", got)
	}
	answer <- nil
	if got := heard(); got != "WATCHDOG=1" {
		t.Errorf("%q", got)
	}
	cancel()
	select {
	case <-asked:
		answer <- nil
	case <-ended:
	}
	<-ended
}

func TestALongStopIsTold(t *testing.T) {
	e, heard := manager(t)
	done := make(chan struct{})
	close(done)
	e.stopping(done)
	if got := heard(); got != "STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000" {
		t.Errorf("%q", got)
	}
}
