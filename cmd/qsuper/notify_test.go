package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"qsuper/keeper"
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

// manager is the service manager's end of NOTIFY_SOCKET.
func manager(t *testing.T) (heard func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		buf := make([]byte, 256)
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestTheWatchdogIsFedByAnswersOnly(t *testing.T) {
	heard := manager(t)
	ctx, cancel := context.WithCancel(t.Context())
	e := &engine{log: slog.New(slog.DiscardHandler)}
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

// A keeper that does not answer, or too late, keeps the watchdog hungry.
func TestTheKeeperIsAsked(t *testing.T) {
	e := &engine{life: t.Context(), echoes: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler)}
	e.handle(keeper.Echoed{}) // late, from an earlier question
	if err := e.echo(func() error { return nil }, time.Millisecond); err == nil {
		t.Error("an answer to an earlier question was taken")
	}
	if err := e.echo(func() error { e.handle(keeper.Echoed{}); e.handle(keeper.Echoed{}); return nil }, time.Minute); err != nil {
		t.Error(err)
	}
	if err := e.echo(func() error { return keeper.ErrGone }, time.Minute); !errors.Is(err, keeper.ErrGone) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	e.life = ctx
	cancel()
	if err := e.echo(func() error { return nil }, time.Minute); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestALongStopIsTold(t *testing.T) {
	heard := manager(t)
	e := &engine{log: slog.New(slog.DiscardHandler)}
	done := make(chan struct{})
	close(done)
	e.stopping(done)
	if got := heard(); got != "STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000" {
		t.Errorf("%q", got)
	}
}
