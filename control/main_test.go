package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// The test binary doubles as a client under another uid, see peer_test.go.
const asClient = "CONTROL_TEST_SOCKET"

func TestMain(m *testing.M) {
	if socket := os.Getenv(asClient); socket != "" {
		c := New(socket)
		_, err := c.Do(context.Background(), Command{Verb: VerbPause, By: "somebody else"})
		if err != nil {
			fmt.Print(err)
			os.Exit(1)
		}
		fmt.Print("ok")
		if _, err := c.Shutdown(context.Background(), Shutdown{}); err == nil {
			fmt.Print(", admin")
		} else if r, ok := errors.AsType[*Rejected](err); !ok || r.Status != http.StatusForbidden {
			fmt.Print(", ", err)
		}
		os.Exit(0)
	}
	code := m.Run()
	if stacks := leaked(); code == 0 && stacks != "" {
		fmt.Println("goroutines left behind:\n" + stacks)
		code = 1
	}
	os.Exit(code)
}

// leaked returns the stacks of goroutines that run code of this package (or
// serve connections for it) well after every test has ended.
func leaked() string {
	var found string
	deadline := time.Now().Add(5 * time.Second)
	for {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		found = ""
		for _, g := range strings.Split(string(buf), "\n\n") {
			if !strings.Contains(g, "control.TestMain") && (strings.Contains(g, "qsuper/control") || strings.Contains(g, "net/http.")) {
				found += g + "\n\n"
			}
		}
		if found == "" || time.Now().After(deadline) {
			return found
		}
		runtime.Gosched()
	}
}

// fakeDaemon answers what the test sets; a nil func answers the zero value.
type fakeDaemon struct {
	status   func(StatusQuery) (Status, error)
	explain  func(string) (Explain, error)
	do       func(context.Context, Command) (CommandReply, error)
	shutdown func(context.Context, Shutdown) (CommandReply, error)
	reload   func(context.Context) (ReloadReply, error)
	upgrade  func(context.Context, Upgrade) (UpgradeReply, error)
	events   func(context.Context, int, bool, []string, func(Event) error) error
	logs     func(context.Context, int, bool, []string, func(LogLine) error) error
}

func (f *fakeDaemon) Status(q StatusQuery) (Status, error) {
	if f.status == nil {
		return Status{Version: 1}, nil
	}
	return f.status(q)
}

func (f *fakeDaemon) RunJob(_ context.Context, j JobRun) (JobReply, error) {
	return JobReply{Fire: JobFire{Note: j.Name + " by " + j.By}}, nil
}

func (f *fakeDaemon) ExplainJob(j JobSpan) (JobExplain, error) {
	return JobExplain{Job: j.Name, From: j.From, Until: j.From.Add(j.For), Fires: make([]JobPlanned, j.Limit)}, nil
}

func (f *fakeDaemon) Alerts() []AlertStatus { return []AlertStatus{} }

func (f *fakeDaemon) TestAlert(context.Context, string) ([]AlertWay, error) {
	return []AlertWay{}, nil
}

func (f *fakeDaemon) Explain(name string) (Explain, error) {
	if f.explain == nil {
		return Explain{Consumer: name}, nil
	}
	return f.explain(name)
}

func (f *fakeDaemon) Do(ctx context.Context, c Command) (CommandReply, error) {
	if f.do == nil {
		return CommandReply{Consumers: []string{c.By}}, nil
	}
	return f.do(ctx, c)
}

func (f *fakeDaemon) Shutdown(ctx context.Context, s Shutdown) (CommandReply, error) {
	if f.shutdown == nil {
		return CommandReply{}, nil
	}
	return f.shutdown(ctx, s)
}

func (f *fakeDaemon) Reload(ctx context.Context) (ReloadReply, error) {
	if f.reload == nil {
		return ReloadReply{}, nil
	}
	return f.reload(ctx)
}

func (f *fakeDaemon) Plan() (ReloadReply, error) { return ReloadReply{}, nil }

func (f *fakeDaemon) Upgrade(ctx context.Context, u Upgrade) (UpgradeReply, error) {
	if f.upgrade == nil {
		return UpgradeReply{Binary: u.Binary}, nil
	}
	return f.upgrade(ctx, u)
}

func (f *fakeDaemon) Events(ctx context.Context, q Stream, emit func(Event) error) error {
	if f.events == nil {
		return nil
	}
	return f.events(ctx, q.Last, q.Follow, q.Names, emit)
}

func (f *fakeDaemon) Logs(ctx context.Context, q Stream, emit func(LogLine) error) error {
	if f.logs == nil {
		return nil
	}
	return f.logs(ctx, q.Last, q.Follow, q.Names, emit)
}

// running is a server under test.
type running struct {
	*Server
	log  *syncBuffer
	path string
	stop func() error // ends Run and returns what it returned
}

// syncBuffer takes log lines from many goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newTestServer makes a server that does not run yet, at path or in a new directory.
func newTestServer(t *testing.T, d Daemon, path string) *running {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "q.sock")
	}
	log := &syncBuffer{}
	s := NewServer(d, Options{Path: path, Log: slog.New(slog.NewTextHandler(log, nil))})
	return &running{Server: s, log: log, path: path}
}

// start runs the server until the test ends or stop is called.
func (r *running) start(t *testing.T) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	var result error
	r.stop = func() error {
		cancel()
		once.Do(func() { result = <-done })
		return result
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-r.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("Run: %v", err)
	}
	return r
}

func serve(t *testing.T, d Daemon) *running {
	t.Helper()
	return newTestServer(t, d, "").start(t)
}

// eventually polls until ok, for at most 10 s.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s in vain for: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}
