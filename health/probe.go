package health

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// slack is what a Look may take beyond its timeout: the time a backend gets to
// come back by itself once its context is done.
const slack = 250 * time.Millisecond

// Bounds beyond which a number is a broken answer rather than a backlog.
const (
	absurdCount = int64(1e12)
	absurdAge   = 100 * 365 * 24 * time.Hour
)

// Observation is what one look at a connection saw.
type Observation struct {
	Up       bool
	Err      string        // why it is down, in words for a user; no secrets; "" when up
	Latency  time.Duration // how long the look took
	Readings []Reading     // one per queue asked for, in that order; all Unknown when down
	Answers  []Answer      // one per question, in that order; all Unknown when down
	At       time.Time     // when the look ended
}

// Secretive is a Conn that knows credentials. A Probe removes them from every
// text it hands out, plain and in the usual encodings.
type Secretive interface{ Secrets() []string }

// Probe looks at one configured connection. It adds what every backend needs
// and none should have to repeat: a timeout that holds, recovery from panics,
// one lasting connection that is replaced after an error, removal of secrets
// and of numbers that cannot be.
//
// Backends answer within their context. One that does not, because a library
// or the kernel blocks, has its connection closed under it; until its goroutine
// has really gone no second one is started, so that nothing piles up.
type Probe struct {
	name    string
	spec    Spec
	timeout time.Duration

	mu     sync.Mutex
	conn   Conn          // nil: opened by the next look
	active int           // goroutines inside the backend
	idle   chan struct{} // closed when active falls to 0; nil before the first look
	closed bool

	denied   string    // why the credentials were refused; "" = they never were
	deniedAt time.Time // and when, last
}

// NewProbe prepares the probe of the connection called name; it opens nothing.
// timeout bounds every Look and must be positive.
func NewProbe(name string, spec Spec, timeout time.Duration) *Probe {
	return &Probe{name: name, spec: spec, timeout: timeout}
}

// Look asks whether the connection answers, how much waits in queues, and some
// questions; both may be empty. It returns within the timeout and 250 ms whatever the backend
// does, soon after ctx is done, and never fails: what went wrong is in the
// Observation.
//
// A connection is up when it answered about its queues, be it that one or all
// are unknown, or when it answers a ping: a query that is wrong or slow does not
// make a database "down".
//
// After a *Denied the same Observation is returned, with the time it was made,
// until 30 s are over.
func (p *Probe) Look(ctx context.Context, queues []Queue, questions ...Question) Observation {
	o := p.look(ctx, queues, questions)
	if len(o.Answers) != len(questions) {
		o.Answers = unanswered(o.Err, len(questions))
	}
	return o
}

func (p *Probe) look(ctx context.Context, queues []Queue, questions []Question) Observation {
	began := time.Now()
	o, held := p.held(queues)
	if held {
		return o
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()

	if err := p.enter(); err != nil {
		o = down(err.Error(), queues)
	} else {
		o = p.wait(ctx, queues, questions)
	}
	o.At = time.Now()
	o.Latency = o.At.Sub(began)
	return o
}

// enter claims the backend, or says why it cannot be asked.
func (p *Probe) enter() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return errors.New("probe is closed")
	case p.active > 0:
		return errors.New("previous probe still hangs")
	}
	p.active = 1
	p.idle = make(chan struct{})
	return nil
}

func (p *Probe) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active--; p.active == 0 {
		close(p.idle)
	}
}

// wait runs one look in a goroutine of its own and gives up on it when it does
// not heed its context.
func (p *Probe) wait(ctx context.Context, queues []Queue, questions []Question) Observation {
	result := make(chan Observation, 1)
	go func() {
		o := p.ask(ctx, queues, questions)
		p.leave()
		result <- o
	}()
	select {
	case o := <-result:
		return o
	case <-ctx.Done():
	}
	late := time.NewTimer(slack)
	defer late.Stop()
	select {
	case o := <-result:
		return o
	case <-late.C:
		p.detach()
		return down(p.reason(ctx, ctx.Err()), queues)
	}
}

// Close ends a look that runs, closes the connection and waits, until ctx is
// done at most, for both. Later looks find the probe closed. It may be called
// more than once.
func (p *Probe) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	select {
	case <-p.detach():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close connection %s: its probe still hangs: %w", p.name, ctx.Err())
	}
}

// detach takes the connection away and closes it, under a call that hangs if
// there is one, in a goroutine of its own because that may hang as well. The
// channel is closed when nobody is inside the backend any more.
func (p *Probe) detach() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active == 0 {
		p.idle = make(chan struct{})
	}
	p.active++
	conn := p.conn
	p.conn = nil
	go func() {
		closeQuietly(conn)
		p.leave()
	}()
	return p.idle
}

// ask is one look, in the goroutine that may hang.
func (p *Probe) ask(ctx context.Context, queues []Queue, questions []Question) (o Observation) {
	var conn Conn
	defer func() {
		if v := recover(); v != nil {
			p.drop(conn)
			o = down(redact(conn, fmt.Sprintf("probe panicked: %v", v)), queues)
		}
	}()
	conn, err := p.open()
	if err != nil {
		return down(redact(nil, err.Error()), queues)
	}
	o, err = p.count(ctx, conn, queues, questions)
	if len(questions) > 0 && err == nil {
		sure := o.Up
		part, cancel := earlier(ctx, p.timeout/4)
		o.Answers, err = p.tell(part, conn, questions)
		cancel()
		o.Up = sure || err == nil
		if sure {
			err = nil // it has answered about its queues
		}
	}
	if !o.Up && (err == nil || errors.Is(err, context.DeadlineExceeded)) {
		err = ping(ctx, conn)
		o.Up = err == nil
	}
	if err != nil {
		p.drop(conn)
		return down(p.hold(err, redact(conn, p.reason(ctx, err))), queues)
	}
	return o
}

// count asks about the queues. It is not up for sure where there was nothing to be
// asked, or where they could not be counted in time.
func (p *Probe) count(ctx context.Context, conn Conn, queues []Queue, questions []Question) (Observation, error) {
	meter, counts := conn.(Meter)
	if !counts || len(queues) == 0 {
		return Observation{Readings: unknown("connections of this type have no queues", len(queues))}, nil
	}
	rest := p.timeout / 4
	if len(questions) > 0 {
		rest *= 2
	}
	part, cancel := earlier(ctx, rest)
	defer cancel()
	readings, err := measure(part, meter, queues)
	switch {
	case err == nil:
		return Observation{Up: true, Readings: settle(conn, readings)}, nil
	case errors.Is(err, context.DeadlineExceeded):
		return Observation{Readings: unknown("queues were not counted in time", len(queues))}, nil
	}
	return Observation{}, err
}

// open returns the lasting connection, or a new one.
func (p *Probe) open() (Conn, error) {
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	conn, err := p.spec.Open()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		closeQuietly(conn)
		return nil, errors.New("probe is closed")
	}
	p.conn = conn
	return conn, nil
}

// drop closes a connection that failed, so that the next look opens a new one.
// One that was detached is closed already.
func (p *Probe) drop(conn Conn) {
	p.mu.Lock()
	mine := conn != nil && p.conn == conn
	if mine {
		p.conn = nil
	}
	p.mu.Unlock()
	if mine {
		closeQuietly(conn)
	}
}

// reason words an error; one that followed from the end of the context is
// named after that, not after the socket that was closed because of it.
func (p *Probe) reason(ctx context.Context, err error) string {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s", p.timeout)
	case ctx.Err() != nil:
		return "probe was cancelled"
	}
	return err.Error()
}

// measure asks for each different queue once. Some of the time of a look is left for
// a ping, so that a slow query can be told from a server that is gone.
func measure(ctx context.Context, meter Meter, queues []Queue) ([]Reading, error) {
	place := make(map[Queue]int, len(queues))
	var different []Queue
	for _, q := range queues {
		if _, seen := place[q]; !seen {
			place[q] = len(different)
			different = append(different, q)
		}
	}
	got, err := meter.Measure(ctx, different)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	if len(got) != len(different) {
		return nil, fmt.Errorf("backend gave %d readings for %d queues", len(got), len(different))
	}
	readings := make([]Reading, len(queues))
	for i, q := range queues {
		readings[i] = got[place[q]]
	}
	return readings, nil
}

func ping(ctx context.Context, conn Conn) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return conn.Ping(ctx)
}

// settle checks what a backend says.
func settle(conn Conn, readings []Reading) []Reading {
	for i, r := range readings {
		if r.Err != "" {
			r.Err = redact(conn, r.Err)
		}
		switch {
		case r.State != OK && r.State != Missing:
			r = unknown(r.Err, 1)[0]
		case r.State == Missing:
			r = unknown(r.Err, 1)[0]
			r.State = Missing
		case r.Ready < 0 || r.Ready > absurdCount:
			r = unknown(fmt.Sprintf("depth %d makes no sense", r.Ready), 1)[0]
		}
		r.Useful = max(r.Useful, 0)
		r.InFlight, r.Delayed, r.Consumers = plausible(r.InFlight, absurdCount), plausible(r.Delayed, absurdCount), plausible(r.Consumers, absurdCount)
		r.Oldest = plausible(r.Oldest, absurdAge)
		readings[i] = r
	}
	return readings
}

func plausible[T ~int64](v, most T) T {
	if v < 0 || v > most {
		return NotKnown
	}
	return v
}

func down(reason string, queues []Queue) Observation {
	return Observation{Err: reason, Readings: unknown(reason, len(queues))}
}

func unknown(reason string, n int) []Reading {
	readings := make([]Reading, n)
	for i := range readings {
		readings[i] = Reading{State: Unknown, Ready: NotKnown, InFlight: NotKnown, Delayed: NotKnown, Oldest: NotKnown, Consumers: NotKnown, Err: reason}
	}
	return readings
}

// closeQuietly closes conn. Its error says nothing about the dependency, and a
// panic there must not take the daemon down.
func closeQuietly(conn Conn) {
	if conn == nil {
		return
	}
	defer func() { _ = recover() }()
	_ = conn.Close()
}
