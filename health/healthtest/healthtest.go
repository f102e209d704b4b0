// Package healthtest is the conformance suite of the connection types in
// health/backends: every one of them passes it against the real server.
package healthtest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	Content func(t *testing.T, q health.Queue) []string // bodies in order, marked when anybody touched them; called last

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
		t.Run("depth", s.depth)
		t.Run("one bad queue", s.oneBadQueue)
		t.Run("untouched", s.untouched)
	}
	if s.Addr != "" && s.Queues != nil && s.Queues.RoundTrips > 0 {
		t.Run("round trips", s.roundTrips)
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

func (s *Suite) refused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p := s.open(t, l.Addr().String(), s.Password, short)
	for range 3 {
		if o := p.down(s.some(t)...); !strings.Contains(o.Err, "refused") {
			t.Errorf("the reason is %q", o.Err)
		}
	}
}

// some returns a queue, if there are any.
func (s *Suite) some(t *testing.T) []health.Queue {
	if s.Queues == nil {
		return nil
	}
	return []health.Queue{s.Queues.New(t)}
}

func (s *Suite) blackHole(t *testing.T) {
	queues := s.some(t)
	hole := newProxy(t, "", 0)
	p := s.open(t, hole.addr, s.Password, short)
	if s.ConnectIsEnough {
		p.up()
		return
	}
	for range 5 {
		if o := p.down(queues...); o.Err != fmt.Sprintf("no answer within %s", short) {
			t.Errorf("the reason is %q", o.Err)
		}
	}
	eventually(t, "one connection at most is left", func() bool { _, live := hole.counts(); return live <= 1 })
}

func (s *Suite) hangsLater(t *testing.T) {
	queues := s.some(t)
	net := newProxy(t, s.Addr, 0)
	p := s.open(t, net.addr, s.Password, 2*time.Second)
	p.up(queues...)
	net.freeze(true)
	for range 3 {
		began := time.Now()
		o := p.look(queues...)
		if took := time.Since(began); o.Up || took > 2*time.Second+most {
			t.Fatalf("after %s: %+v", took, o)
		}
	}
	net.freeze(false)
	eventually(t, "it answers again", func() bool { return p.look(queues...).Up })
	eventually(t, "one connection is left", func() bool { _, live := net.counts(); return live <= 1 })
}

func (s *Suite) outage(t *testing.T) {
	queues := s.some(t)
	net := newProxy(t, s.Addr, 0)
	p := s.open(t, net.addr, s.Password, patience)
	for range 3 {
		p.up(queues...)
		net.cut()
		eventually(t, "the outage is seen", func() bool { return !p.look(queues...).Up })
		net.listen()
		eventually(t, "the end of it is seen", func() bool { return p.look(queues...).Up })
	}
}

func (s *Suite) wrongPassword(t *testing.T) {
	wrong := "not " + s.Password
	p := s.open(t, s.Addr, wrong, patience)
	for range 2 {
		if o := p.look(s.some(t)...); o.Up {
			t.Errorf("up with a wrong password")
		}
	}
}

// settled looks until the numbers are as wanted: what a management interface
// says lags behind. Numbers that the type cannot know are not compared.
func (p *probe) settled(q health.Queue, want health.Reading) {
	p.t.Helper()
	var got health.Reading
	settled := eventually(p.t, fmt.Sprintf("the reading is %+v", want), func() bool {
		got = p.up(q).Readings[0]
		known := got
		known.Err, known.Oldest, known.Consumers = "", 0, 0
		return known == want
	})
	if !settled {
		p.t.Fatalf("the last reading was %+v", got)
	}
}

func (s *Suite) depth(t *testing.T) {
	p := s.open(t, s.Addr, s.Password, patience)
	q := s.Queues.New(t)
	want := health.Reading{State: health.OK, InFlight: health.NotKnown, Delayed: health.NotKnown}
	if s.Queues.Take != nil {
		want.InFlight = 0
	}
	if s.Queues.Delay != nil {
		want.Delayed = 0
	}
	p.settled(q, want)
	s.Queues.Publish(t, q, "a")
	want.Ready = 1
	p.settled(q, want)
	s.Queues.Publish(t, q, "b", "c", "d", "e")
	want.Ready = 5
	p.settled(q, want)
	if s.Queues.Take != nil {
		s.Queues.Take(t, q)
		want.Ready, want.InFlight = 4, 1
		p.settled(q, want)
	}
	if s.Queues.Delay != nil {
		s.Queues.Delay(t, q)
		want.Delayed = 1
		p.settled(q, want)
	}
	if s.Queues.Missing != nil {
		for range 3 {
			if r := p.up(s.Queues.Missing(t)).Readings[0]; r.State != health.Missing {
				t.Errorf("a missing queue is %+v", r)
			}
		}
	}
}

func (s *Suite) oneBadQueue(t *testing.T) {
	p := s.open(t, s.Addr, s.Password, patience)
	full, empty := s.Queues.New(t), s.Queues.New(t)
	s.Queues.Publish(t, full, "a", "b", "c")
	queues, want := []health.Queue{full}, []string{"ok 3"}
	if s.Queues.Missing != nil {
		queues, want = append(queues, s.Queues.Missing(t)), append(want, "missing -1")
	}
	if s.Queues.Broken != nil {
		queues, want = append(queues, s.Queues.Broken(t)), append(want, "unknown -1")
	}
	queues, want = append(queues, empty, full), append(want, "ok 0", "ok 3")
	for range 3 {
		var got []string
		for _, r := range p.up(queues...).Readings {
			got = append(got, fmt.Sprintf("%s %d", r.State, r.Ready))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

// untouched proves that a probe reads only, and keeps one connection.
func (s *Suite) untouched(t *testing.T) {
	addr := s.Addr
	var net *proxy
	if addr != "" {
		net = newProxy(t, addr, 0)
		addr = net.addr
	}
	p := s.open(t, addr, s.Password, patience)
	q := s.Queues.New(t)
	bodies := []string{"first", "second", "third"}
	s.Queues.Publish(t, q, bodies...)
	p.settledReady(q, 3)
	queues := []health.Queue{q}
	if s.Queues.Missing != nil {
		queues = append(queues, s.Queues.Missing(t))
	}
	for i := range 1000 {
		if r := p.up(queues...).Readings[0]; r.State != health.OK || r.Ready != 3 {
			t.Fatalf("look %d: %+v", i, r)
		}
	}
	if net != nil {
		if accepted, live := net.counts(); accepted > max(s.Connections, 1) || live != accepted {
			t.Errorf("it connected %d times and has %d connections, want %d that last", accepted, live, max(s.Connections, 1))
		}
	}
	if d := cmp.Diff(bodies, s.Queues.Content(t, q)); d != "" {
		t.Errorf("messages after 1,000 looks (-want +got):\n%s", d)
	}
}

func (p *probe) settledReady(q health.Queue, want int64) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%d messages are ready", want), func() bool { return p.up(q).Readings[0].Ready == want })
}

// roundTrips puts the server 100 ms away: looks at many queues that take their
// turns would be slow. The best of some counts, since the machine may be busy.
func (s *Suite) roundTrips(t *testing.T) {
	const away = 100 * time.Millisecond
	var queues []health.Queue
	for range 50 {
		queues = append(queues, s.Queues.New(t))
	}
	net := newProxy(t, s.Addr, away/2)
	p := s.open(t, net.addr, s.Password, 2*patience)
	p.up(queues...)
	var took []time.Duration
	for range 5 {
		took = append(took, p.up(queues...).Latency)
	}
	if best := slices.Min(took); best > time.Duration(s.Queues.RoundTrips)*away+away*9/10 {
		t.Errorf("a look at %d queues took %s at best, more than %d round trips of %s", len(queues), best, s.Queues.RoundTrips, away)
	}
}
