package runner

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"qsuper/config"
	"qsuper/health"
	"qsuper/plan"
	"qsuper/schedule"
)

// Connection is what is known of one connection.
type Connection struct {
	Name, Type string
	plan.Conn
	Since time.Time // of its state

	Looks, Failures uint64        // since the engine began or the connection was changed
	Spent           time.Duration // on all looks together
}

// asking is a question, and who takes the answer of a look with its beginning and end.
type asking struct {
	question health.Question
	take     taker
}

type taker func(a health.Answer, began, at time.Time)

// look is the latest answer of one connection; it is never changed.
type look struct {
	conn     Connection
	readings map[health.Queue]health.Reading
	fell     bool // it has been down, and not up since
}

// poller asks one connection, once an interval, for everything anybody wants
// to know of it.
type poller struct {
	cfg      *config.Connection
	probe    *health.Probe
	queues   []health.Queue
	asks     []asking
	interval schedule.Interval
	heirs    []*consumer // to be told of changes
	turns    map[*consumer]int
	latest   atomic.Pointer[look]
	asked    chan func(*look) // somebody needs to know what is true now
	woken    chan struct{}    // holds one token when messages may have come since the last look began
	pace     pace
	cancel   context.CancelFunc
	done     chan struct{}
}

func newPoller(cfg *config.Connection) *poller {
	p := &poller{cfg: cfg, probe: health.NewProbe(cfg.Name, cfg.Spec, cfg.Timeout), done: make(chan struct{}), asked: make(chan func(*look)), woken: make(chan struct{}, 1), turns: map[*consumer]int{}}
	p.latest.Store(&look{conn: Connection{Name: cfg.Name, Type: cfg.Type, Conn: plan.Conn{Name: cfg.Name, State: plan.ConnUnknown}}})
	return p
}

// run polls until ctx is done, then closes the connection. Between polls it
// looks when the connection itself tells of new messages.
func (p *poller) run(ctx context.Context) {
	defer close(p.done)
	var watch sync.WaitGroup
	watch.Go(func() { p.probe.Watch(ctx, p.queues, p.wake) })
	defer watch.Wait()
	timer, soon := time.NewTimer(p.offset()), time.NewTimer(time.Hour)
	soon.Stop()
	defer timer.Stop()
	defer soon.Stop()
	for {
		select {
		case <-ctx.Done():
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			p.probe.Close(bye)
			cancel()
			return
		case <-p.woken:
			soon.Reset(p.pace.wait(time.Now(), p.latest.Load().conn.Latency))
			continue
		case <-soon.C:
			p.pace.look(time.Now(), p.latest.Load().conn.Latency)
		case <-timer.C:
		case answer := <-p.asked:
			if p.look(ctx) {
				answer(p.latest.Load())
			}
			continue
		}
		soon.Stop() // this look is the one it was for
		if !p.look(ctx) {
			continue // it was cut short: that says nothing about the connection
		}
		now := time.Now()
		timer.Reset(p.interval.Next(now).Sub(now))
	}
}

// look asks the connection and tells what it said; false: it was cut short.
func (p *poller) look(ctx context.Context) bool {
	select {
	case <-p.woken: // whatever has come is seen by this look
	default:
	}
	questions := make([]health.Question, len(p.asks))
	for i, a := range p.asks {
		questions[i] = a.question
	}
	began := time.Now()
	o := p.probe.Look(ctx, p.queues, questions...)
	if ctx.Err() != nil {
		return false
	}
	p.tell(o)
	for i, a := range p.asks {
		a.take(o.Answers[i], began, o.At)
	}
	return true
}

// wake is called by the connection when messages may have come. It never waits.
func (p *poller) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// offset spreads the first looks, so that many connections are not asked in
// the same instant; it is short, because nothing starts before the first look.
func (p *poller) offset() time.Duration {
	h := fnv.New32a()
	h.Write([]byte(p.cfg.Name))
	return time.Duration(h.Sum32()%20) * time.Millisecond
}

// tell publishes an observation and wakes the consumers that may decide
// differently because of it.
func (p *poller) tell(o health.Observation) {
	old := p.latest.Load()
	l := &look{readings: make(map[health.Queue]health.Reading, len(p.queues))}
	l.conn = Connection{Name: p.cfg.Name, Type: p.cfg.Type, Since: old.conn.Since}
	l.conn.Conn = plan.Conn{Name: p.cfg.Name, State: plan.ConnUp, Err: o.Err, Latency: o.Latency, At: o.At}
	l.conn.Back = old.conn.Back
	l.conn.Looks, l.conn.Failures, l.conn.Spent = old.conn.Looks+1, old.conn.Failures, old.conn.Spent+o.Latency
	if !o.Up {
		l.conn.State, l.fell = plan.ConnDown, true
		l.conn.Failures++
	} else if old.fell {
		l.conn.Back = o.At
	}
	if l.conn.State != old.conn.State {
		l.conn.Since = o.At
	}
	for i, q := range p.queues {
		if i < len(o.Readings) {
			l.readings[q] = o.Readings[i]
		}
	}
	p.latest.Store(l)
	for _, c := range p.heirs {
		if l.conn.State != old.conn.State || l.conn.Err != old.conn.Err || c.concerned(p.cfg.Name, old, l) {
			c.box.put(observed{})
		}
	}
}

// concerned says whether a new reading could change what a consumer decides.
// While messages wait time matters too: processes settle, runs come and go.
func (c *consumer) concerned(conn string, old, now *look) bool {
	cfg := c.shared.Load()
	if cfg.Queue == nil || cfg.Queue.Connection != conn {
		return false
	}
	was, had := old.readings[cfg.Queue.Queue]
	is := now.readings[cfg.Queue.Queue]
	return !had || is.Ready > 0 || was.Ready != is.Ready || was.State != is.State || was.Err != is.Err ||
		was.InFlight != is.InFlight
}

// board holds the pollers of the configuration in force.
type board struct {
	mu      sync.Mutex
	pollers map[string]*poller
	order   []string
}

func (b *board) latest(name string) *look {
	b.mu.Lock()
	p := b.pollers[name]
	b.mu.Unlock()
	if p == nil {
		return &look{conn: Connection{Name: name, Conn: plan.Conn{Name: name, State: plan.ConnUnknown}}}
	}
	return p.latest.Load()
}

// kind is the type of a connection.
func (b *board) kind(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.pollers[name]; p != nil {
		return p.cfg.Type
	}
	return ""
}

// holder opens a connection of its own to ask who holds what. It is the caller's to
// close.
func (b *board) holder(name string) (health.Holder, error) {
	spec := b.spec(name)
	if spec == nil {
		return nil, errGone
	}
	conn, err := spec.Open()
	if err != nil {
		return nil, err
	}
	h, ok := conn.(health.Holder)
	if !ok {
		return nil, errors.Join(errors.New("the connection does not tell of clients"), conn.Close())
	}
	return h, nil
}

var errGone = errors.New("the connection is not there any more")

// spec is how a connection is opened; nil: there is none of that name.
func (b *board) spec(name string) health.Spec {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.pollers[name]; p != nil {
		return p.cfg.Spec
	}
	return nil
}

// demand has a connection looked at now, and answer called with what was seen, if
// ever: a reload may end the poller first.
func (b *board) demand(ctx context.Context, name string, answer func(*look)) {
	b.mu.Lock()
	p := b.pollers[name]
	b.mu.Unlock()
	if p == nil {
		return
	}
	go func() {
		select {
		case p.asked <- answer:
		case <-p.done:
		case <-ctx.Done():
		}
	}()
}

// conn is what a consumer sees of a connection: its state, and the consumer's
// place among those that need it.
func (b *board) conn(name string, c *consumer) plan.Conn {
	b.mu.Lock()
	p := b.pollers[name]
	b.mu.Unlock()
	if p == nil {
		return plan.Conn{Name: name, State: plan.ConnUnknown}
	}
	conn := p.latest.Load().conn.Conn
	conn.Turn, conn.Sharers = p.turns[c], len(p.heirs)
	return conn
}

// connections lists what is known of all connections, in the order of the file.
func (b *board) connections() []Connection {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]Connection, 0, len(b.order))
	for _, name := range b.order {
		list = append(list, b.pollers[name].latest.Load().conn)
	}
	return list
}

// prepare publishes the pollers of a new configuration. A connection whose
// settings did not change keeps its last answer from the first moment on: one
// that is only asked anew must not look as if nobody knew. It returns the
// pollers that are to end and those that are to start.
func (b *board) prepare(cfg *config.Config, consumers map[string]*consumer, ask func(conn string) []asking) (old, fresh map[string]*poller) {
	fresh = map[string]*poller{}
	var order []string
	for _, conn := range cfg.Connections {
		p := newPoller(conn)
		p.interval, p.asks = cfg.Daemon.Interval, ask(conn.Name)
		seen := map[health.Queue]bool{}
		for _, c := range cfg.Programs() {
			if !requires(c, conn.Name) {
				continue
			}
			p.turns[consumers[c.Name]] = len(p.heirs)
			p.heirs = append(p.heirs, consumers[c.Name])
			if q := c.Queue; q != nil && q.Connection == conn.Name && !seen[q.Queue] {
				seen[q.Queue] = true
				p.queues = append(p.queues, q.Queue)
			}
		}
		for _, a := range cfg.Alerts {
			if q := a.When.Queue; q != nil && q.Connection == conn.Name && !seen[q.Queue] {
				seen[q.Queue] = true
				p.queues = append(p.queues, q.Queue)
			}
		}
		fresh[conn.Name] = p
		order = append(order, conn.Name)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old = b.pollers
	for name, p := range old {
		next, known := fresh[name], p.latest.Load()
		switch {
		case next == nil:
		case next.cfg.Type == p.cfg.Type && health.Same(next.cfg.Spec, p.cfg.Spec):
			next.latest.Store(known)
		case known.fell: // repaired by the new file: others wait for it all the same
			next.latest.Store(&look{conn: next.latest.Load().conn, fell: true})
		}
	}
	b.pollers, b.order = fresh, order
	return old, fresh
}

// replace ends the old pollers and starts the fresh ones. It waits for those that
// end, each of which may hang on a dead connection for a moment: nobody may call
// it with a lock held.
func replace(ctx context.Context, old, fresh map[string]*poller, wg *sync.WaitGroup) {
	for _, p := range old {
		p.cancel()
	}
	for _, p := range old {
		<-p.done
	}
	for _, p := range fresh {
		pctx, cancel := context.WithCancel(ctx)
		p.cancel = cancel
		wg.Go(func() { p.run(pctx) })
	}
}

func requires(c *config.Consumer, conn string) bool {
	for _, r := range c.Requires {
		if r == conn {
			return true
		}
	}
	return c.Queue != nil && c.Queue.Connection == conn
}
