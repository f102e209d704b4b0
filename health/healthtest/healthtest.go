// Package healthtest is the conformance suite of the connection types in
// health/backends: every one of them passes it against the real server.
package healthtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"qsuper/health"
)

// Suite describes a connection type to Run.
type Suite struct {
	// Spec returns the connection under test. addr is where the server is to be
	// reached: Run puts a proxy in between. Both are "" when the fields below are.
	Spec func(t *testing.T, addr, password string) health.Spec

	// Addr is host:port of the real server; "" when none is reached over TCP.
	Addr string

	// Password is the right one; "" when there is none.
	Password string

	// ConnectIsEnough is set when a server that accepts and never answers is up.
	ConnectIsEnough bool

	// Connections is how many lasting ones it may have; 0 means 1.
	Connections int

	// Queues is nil when the type has none.
	Queues *Queues

	// Row is that of docs/backends.md which says what it knows: "nats", or
	// "redis/laravel" for a layout's in the section of a type; "" = not compared.
	Row string
}

// Queues prepares queues on the real server. A nil func is something that the
// type cannot know or do.
type Queues struct {
	New     func(t *testing.T) health.Queue // an empty one, of its own
	Missing func(t *testing.T) health.Queue // one that does not exist
	Broken  func(t *testing.T) health.Queue // one that cannot be counted
	Publish func(t *testing.T, q health.Queue, bodies ...string)
	Take    func(t *testing.T, q health.Queue)          // takes the first message and keeps it unacknowledged
	Delay   func(t *testing.T, q health.Queue)          // publishes a message that is not due for a minute
	Age     func(t *testing.T, q health.Queue)          // publishes a message whose age can be told
	Content func(t *testing.T, q health.Queue) []string // bodies in order, marked when anybody touched them; called last

	// InFlightZero is set when all that can be said of what is in flight is that
	// it is nothing.
	InFlightZero bool

	// RoundTrips is how many a look at many queues may take; 0 = not measured.
	RoundTrips int
}

const (
	patience = 5 * time.Second              // of probes that should succeed
	short    = 300 * time.Millisecond       // of probes that should not
	most     = short + 750*time.Millisecond // until one that should not must have returned, on a busy machine
)

// Run checks one connection type.
func Run(t *testing.T, s Suite) {
	s.warm(t)
	t.Run("up", s.up)
	t.Run("close", s.close)
	if s.Addr != "" {
		t.Run("refused", s.refused)
		t.Run("black hole", s.blackHole)
		t.Run("outage", s.outage)
	}
	if s.Addr != "" && !s.ConnectIsEnough {
		t.Run("hangs later", s.hangsLater)
	}
	if s.Password != "" {
		t.Run("wrong password", s.wrongPassword)
	}
	if s.Queues != nil {
		var left health.Queue
		t.Run("depth", func(t *testing.T) { left = s.depth(t) })
		t.Run("names", func(t *testing.T) { s.names(t, left) })
		t.Run("age", s.age)
		t.Run("one bad queue", s.oneBadQueue)
		t.Run("untouched", s.untouched)
	}
	if s.Addr != "" && s.Queues != nil && s.Queues.RoundTrips > 0 {
		t.Run("round trips", s.roundTrips)
	}
	if s.Row != "" {
		t.Run("page", s.page)
	}
}

// probe is a health.Probe whose every answer is checked for secrets.
type probe struct {
	*health.Probe
	t       *testing.T
	secrets []string
}

// open makes a probe that is closed when the test ends, and then checks that it
// left no goroutine and no descriptor behind.
func (s *Suite) open(t *testing.T, addr, password string, timeout time.Duration) *probe {
	t.Helper()
	leaks(t)
	p := &probe{health.NewProbe("c", s.Spec(t, addr, password), timeout), t, []string{s.Password, password}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

func (p *probe) look(queues ...health.Queue) health.Observation {
	p.t.Helper()
	o := p.Look(p.t.Context(), queues)
	text := fmt.Sprintf("%+v", o)
	for _, secret := range p.secrets {
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if secret != "" && strings.Contains(text, form) {
				p.t.Errorf("the password is in %s", text)
			}
		}
	}
	if len(o.Readings) != len(queues) {
		p.t.Fatalf("%d readings for %d queues", len(o.Readings), len(queues))
	}
	if !o.Up && o.Err == "" {
		p.t.Error("down without a reason")
	}
	for _, r := range o.Readings {
		if r.State != health.OK && (r.Err == "" || r.Ready != health.NotKnown || r.InFlight != health.NotKnown) || !o.Up && r.State != health.Unknown {
			p.t.Errorf("up %v, reading %+v", o.Up, r)
		}
	}
	return o
}

// up looks and wants an answer.
func (p *probe) up(queues ...health.Queue) health.Observation {
	p.t.Helper()
	o := p.look(queues...)
	if !o.Up || o.Err != "" {
		p.t.Fatalf("down: %s", o.Err)
	}
	return o
}

// down looks and wants none, in time.
func (p *probe) down(queues ...health.Queue) health.Observation {
	p.t.Helper()
	o := p.look(queues...)
	if o.Up {
		p.t.Fatalf("up: %+v", o)
	}
	if o.Latency > most {
		p.t.Errorf("it took %s", o.Latency)
	}
	return o
}

// leaks checks at the end of the test that goroutines and descriptors are as
// many as now. It must be called before what it is to watch is made.
func leaks(t *testing.T) {
	t.Helper()
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	t.Cleanup(func() {
		gone := eventually(t, "all goroutines and descriptors are gone", func() bool {
			return runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
		})
		if !gone {
			stacks := make([]byte, 1<<20)
			t.Logf("%d goroutines of %d, %d descriptors of %d\n%s", runtime.NumGoroutine(), goroutines, descriptors(t), files, stacks[:runtime.Stack(stacks, true)])
		}
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func eventually(t *testing.T, what string, is func() bool) bool {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Errorf("not within 15 s: %s", what)
			return false
		}
		<-time.After(20 * time.Millisecond)
	}
	return true
}

// warm makes what a process makes only once, such as SQLite's descriptor of a
// file that the process has open elsewhere too, so that it is not taken for a leak.
func (s *Suite) warm(t *testing.T) {
	p := health.NewProbe("c", s.Spec(t, s.Addr, s.Password), patience)
	p.Look(t.Context(), nil)
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s *Suite) up(t *testing.T) {
	p := s.open(t, s.Addr, s.Password, patience)
	o := p.up()
	if time.Since(o.At) > time.Minute || o.Latency <= 0 {
		t.Errorf("looked at %s for %s", o.At, o.Latency)
	}
}

func (s *Suite) close(t *testing.T) {
	conn, err := s.Spec(t, s.Addr, s.Password).Open()
	if err != nil {
		t.Fatal(err)
	}
	leaks(t)
	if err := conn.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		began := time.Now()
		_ = conn.Close()
		if took := time.Since(began); took > time.Second {
			t.Errorf("closing took %s", took)
		}
	}
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a closed connection answers")
	}
}
