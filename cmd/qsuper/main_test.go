package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"qsuper/control"
)

var update = flag.Bool("update", false, "write golden files")

// TestMain lets the test binary be qsuper itself in scripts, and a daemon with
// a made-up fleet to look at by hand: fakedaemon SOCKET SCENARIO.
func TestMain(m *testing.M) {
	time.Local = time.UTC // golden files are the same everywhere
	testscript.Main(m, map[string]func(){
		"qsuper":     main,
		"fakedaemon": fakeDaemonMain,
	})
}

func fakeDaemonMain() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	d := scenario(os.Args[2], time.Now())
	s := control.NewServer(d, control.Options{Path: os.Args[1], Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	d.end = stop
	if err := s.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// fakeDaemon answers what the test sets; a nil func answers from status alone.
type fakeDaemon struct {
	mu       sync.Mutex
	status   control.Status // guarded by mu
	queries  []control.StatusQuery
	commands []control.Command

	explain  func(string) (control.Explain, error)
	do       func(context.Context, control.Command) (control.CommandReply, error)
	shutdown func(context.Context, control.Shutdown) (control.CommandReply, error)
	reload   control.ReloadReply
	upgrade  func(control.Upgrade) control.UpgradeReply
	events   []control.Event
	logs     []control.LogLine
	cuts     int    // so many streams break before they end; guarded by mu
	end      func() // ends the server after a shutdown
}

// set changes the status under a running server.
func (f *fakeDaemon) set(change func(*control.Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.status)
}

// asked returns the commands received so far.
func (f *fakeDaemon) asked() []control.Command {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]control.Command(nil), f.commands...)
}

// ExplainJob knows of no fire.
func (f *fakeDaemon) ExplainJob(j control.JobSpan) (control.JobExplain, error) {
	return control.JobExplain{Job: j.Name, Fires: []control.JobPlanned{}}, nil
}

// RunJob answers for a job that ends at once.
func (f *fakeDaemon) RunJob(_ context.Context, j control.JobRun) (control.JobReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	reply := control.JobReply{Fire: control.JobFire{PID: 4711, Manual: true}}
	if j.Wait {
		reply.End = &control.JobEnd{Code: 3, Class: "crashed", Detail: "exit 3 after 1.2s"}
	}
	for _, known := range f.status.Jobs {
		if known.Name == j.Name && known.Running {
			return control.JobReply{Skipped: "it still runs"}, nil
		}
	}
	return reply, nil
}

func (f *fakeDaemon) Status(q control.StatusQuery) (control.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queries = append(f.queries, q)
	st := f.status
	st.Consumers = nil
	for _, name := range q.Names {
		if !strings.ContainsAny(name, "@*/") && !f.has(name) {
			return control.Status{}, &control.NotFound{Name: name, Suggestion: "orders"}
		}
	}
	for _, c := range f.status.Consumers {
		if len(q.Names) > 0 && !named(q.Names, c) {
			continue
		}
		if !q.Slots {
			c.Slots = nil
		}
		st.Consumers = append(st.Consumers, c)
	}
	return clone(st)
}

// clone is a snapshot that later changes do not reach.
func clone(st control.Status) (control.Status, error) {
	var copied control.Status
	text, err := json.Marshal(st)
	if err == nil {
		err = json.Unmarshal(text, &copied)
	}
	return copied, err
}

func (f *fakeDaemon) has(name string) bool {
	for _, c := range f.status.Consumers {
		if c.Name == name {
			return true
		}
	}
	return false
}

func named(names []string, c control.ConsumerStatus) bool {
	for _, n := range names {
		n, _, _ = strings.Cut(n, "/")
		if ok, _ := filepath.Match(n, c.Name); ok || n == "@"+c.Group {
			return true
		}
	}
	return false
}

func (f *fakeDaemon) Alerts() []control.AlertStatus { return []control.AlertStatus{} }

func (f *fakeDaemon) TestAlert(context.Context, string) ([]control.AlertWay, error) {
	return []control.AlertWay{}, nil
}

func (f *fakeDaemon) Explain(name string) (control.Explain, error) {
	if f.explain == nil {
		return control.Explain{}, &control.NotFound{Name: name}
	}
	return f.explain(name)
}

func (f *fakeDaemon) Do(ctx context.Context, c control.Command) (control.CommandReply, error) {
	f.mu.Lock()
	f.commands = append(f.commands, c)
	f.mu.Unlock()
	if f.do == nil {
		return control.CommandReply{Consumers: c.Names}, nil
	}
	return f.do(ctx, c)
}

func (f *fakeDaemon) Shutdown(ctx context.Context, s control.Shutdown) (control.CommandReply, error) {
	if f.end != nil {
		defer f.end()
	}
	if f.shutdown == nil {
		return control.CommandReply{}, nil
	}
	return f.shutdown(ctx, s)
}

func (f *fakeDaemon) Reload(context.Context) (control.ReloadReply, error) { return f.reload, nil }

func (f *fakeDaemon) Plan() (control.ReloadReply, error) { return f.reload, nil }

func (f *fakeDaemon) Upgrade(_ context.Context, u control.Upgrade) (control.UpgradeReply, error) {
	if f.upgrade == nil {
		return control.UpgradeReply{}, nil
	}
	return f.upgrade(u), nil
}

func (f *fakeDaemon) Events(ctx context.Context, q control.Stream, emit func(control.Event) error) error {
	return emitAll(ctx, f, q, f.events, emit)
}

func (f *fakeDaemon) Logs(ctx context.Context, q control.Stream, emit func(control.LogLine) error) error {
	return emitAll(ctx, f, q, f.logs, emit)
}

func emitAll[T any](ctx context.Context, f *fakeDaemon, q control.Stream, all []T, emit func(T) error) error {
	for _, v := range all[max(0, len(all)-q.Last):] {
		if err := emit(v); err != nil {
			return err
		}
	}
	f.mu.Lock()
	cut := f.cuts > 0
	f.cuts--
	f.mu.Unlock()
	if cut {
		return errors.New("the engine died")
	}
	if q.Follow {
		<-ctx.Done()
	}
	return nil
}

// serve answers for d on a real socket until the test ends.
func serve(t testing.TB, d *fakeDaemon) *control.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q.sock")
	stop := serveAt(t, d, path)
	t.Cleanup(stop)
	return control.New(path)
}

func serveAt(t testing.TB, d *fakeDaemon, path string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := control.NewServer(d, control.Options{Path: path, Log: slog.New(slog.DiscardHandler)})
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if d.end == nil {
		d.end = cancel
	}
	select {
	case <-s.Ready():
	case err := <-done:
		cancel()
		t.Fatal(err)
	}
	var once sync.Once
	return func() {
		cancel()
		once.Do(func() {
			if err := <-done; err != nil {
				t.Errorf("server: %v", err)
			}
		})
	}
}

// paper is a screen that a test can read.
func paper(width int) (*screen, *bytes.Buffer, *bytes.Buffer) {
	var out, errs bytes.Buffer
	return &screen{Writer: &out, stderr: &errs, width: width}, &out, &errs
}

// golden compares text with testdata/golden/name.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// eventually polls until ok, for at most 10 s.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s in vain for: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// run is one command line with a fresh app.
func run(env map[string]string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	a := newApp(&out, &errs, func(name string) string { return env[name] })
	code = a.execute(context.Background(), args)
	return code, out.String(), errs.String()
}
