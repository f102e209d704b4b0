package lease

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Options are what a Loop is made of.
type Options struct {
	Name  string // of the lock in the file
	Store Store
	Owner string // see Owner; the same for every engine of a host and boot
	Timing

	// HoldOff is how long nothing exclusive starts after a grant: as long as a host
	// that the store has forgotten may still believe that it has the lease.
	HoldOff func(clean bool) time.Duration

	Now func() time.Duration // CLOCK_BOOTTIME
	On  Listener
}

// Listener is told by the loop's own goroutine, which it must not hold up.
type Listener interface {
	// Changed says that leases have been granted, lost, refused or given back.
	Changed(keys []string)
	// Extended says until when exclusive leases are sure now.
	Extended(until time.Duration, held []Held)
	// Listed says that the store has been looked at, or has begun or ceased to
	// answer. Not changed: View tells the same, but for the time that is left.
	Listed(changed bool)
}

// State is what is known of one lease.
type State struct {
	Held  bool
	Token uint64
	Until time.Duration // CLOCK_BOOTTIME: sure until then; it may be over
	From  time.Duration // nothing exclusive starts before
	By    string        // not held: who had it when it was last asked for; "" = not known
}

// entry is one lease that is held or wanted.
type entry struct {
	State
	key       string
	exclusive bool
	wanted    bool
	had       bool // held until the store ceased to know of it
	value     []byte
	retryAt   time.Duration // when it is asked for again
}

// Loop keeps the leases of one host on one store. New starts nothing; Run does.
// All other methods may be called from any goroutine and never wait for the store,
// apart from Claim and Post.
type Loop struct {
	o Options

	mu      sync.Mutex
	entries map[string]*entry
	leaving []Held        // to be given back
	calls   []*call       // claims that somebody waits for
	renewAt time.Duration // next renewal; never: nothing is held
	asideAt time.Duration // nothing but renewals before: the store did not answer
	listAt  time.Duration
	shyTill time.Duration // see shy
	eager   bool          // look every second who has what
	view    View
	wake    chan struct{}
	ended   bool
}

// View is what the store held when it was last looked at.
type View struct {
	Records []Record
	At      time.Duration // CLOCK_BOOTTIME, before it was asked
	Err     error         // of the latest request of any kind; nil: it answers
	Since   time.Time     // since when Err
	Known   bool          // it has been looked at
}

// Expires is when a record of the view runs out if it is not renewed.
func (v *View) Expires(r *Record) time.Duration { return v.At + r.Left }

const never = time.Duration(1<<63 - 1)

// eagerly is the time between two looks while somebody waits for what others have.
const eagerly = time.Second

// New prepares a loop. It owns the store from now on.
func New(o Options) *Loop {
	return &Loop{o: o, entries: map[string]*entry{}, renewAt: never, wake: make(chan struct{}, 1)}
}

// Want asks for a lease until it is granted, and again when it is lost, until Leave.
func (l *Loop) Want(key string, exclusive bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(key)
	if e.wanted && e.exclusive == exclusive {
		return
	}
	e.wanted, e.exclusive, e.retryAt = true, exclusive, 0
	l.stir()
}

// Leave gives a lease back, or stops asking for it. Nothing may run any more in a
// slot that is left.
func (l *Loop) Leave(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[key]
	if e == nil {
		return
	}
	delete(l.entries, key)
	if e.Held {
		l.leaving = append(l.leaving, Held{Key: key, Token: e.Token})
		l.stir()
	}
}

// Resume goes on with a lease of an earlier engine of this host. It counts as held
// until the store says otherwise.
func (l *Loop) Resume(key string, exclusive bool, token uint64, until time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(key)
	e.exclusive, e.wanted = exclusive, true
	e.State = State{Held: true, Token: token, Until: until}
	l.renewAt = 0
	l.stir()
}

// Publish sets what this host says of itself. It gets to the others with the next
// renewal, and at once when soon is set.
func (l *Loop) Publish(value []byte, soon bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(HostPrefix + l.o.Owner)
	e.value = value
	if !e.wanted {
		e.wanted = true
		soon = true
	}
	if soon {
		if e.Held {
			l.renewAt = 0
		}
		l.stir()
	}
}

// Eager says whether somebody waits for what others have.
func (l *Loop) Eager(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if on && !l.eager {
		l.listAt = min(l.listAt, l.o.Now()+eagerly)
		l.stir()
	}
	l.eager = on
}

// Get returns what is known of a lease.
func (l *Loop) Get(key string) State {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[key]; e != nil {
		return e.State
	}
	return State{}
}

// View returns what the store held when it was last looked at. Nobody changes it.
func (l *Loop) View() View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view
}

// Owner is this host in the store.
func (l *Loop) Owner() string { return l.o.Owner }

// Timing returns the length of leases.
func (l *Loop) Timing() Timing { return l.o.Timing }

// Name is that of the lock in the file.
func (l *Loop) Name() string { return l.o.Name }

// entry is called with mu held.
func (l *Loop) entry(key string) *entry {
	e := l.entries[key]
	if e == nil {
		e = &entry{key: key}
		l.entries[key] = e
	}
	return e
}

// stir is called with mu held.
func (l *Loop) stir() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run keeps leases until ctx is done. Then it gives back what has been left, and
// its own place among the hosts if it holds no slot any more; what is still held
// is the next engine's. It closes the store.
func (l *Loop) Run(ctx context.Context) error {
	defer l.o.Store.Close()
	defer l.end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			l.goodbye(ctx)
			return nil
		case <-timer.C:
		case <-l.wake:
		}
		for ctx.Err() == nil && l.turn(ctx) {
		}
		timer.Reset(max(l.pause(), time.Millisecond))
	}
}

// turn makes the most urgent request, if one is due.
func (l *Loop) turn(ctx context.Context) bool {
	l.mu.Lock()
	now := l.o.Now()
	var do func(context.Context)
	limit := l.o.Request()
	switch spare := l.renewAt - now; {
	case spare <= 0 && l.view.Err != nil && l.over(now):
		do = l.probe
	case spare <= 0:
		do = l.renew
	case now < l.asideAt || spare < limit/4:
	default:
		// Whatever else there is must not make a renewal late. Nor is it given less time
		// than a request may take, lest a store pass for silent that is only slow: the
		// renewal comes first then.
		if do = l.aside(now); do != nil && spare < limit && l.view.Err == nil {
			do = l.renew
		} else {
			limit = min(limit, spare)
		}
	}
	l.mu.Unlock()
	if do == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	do(ctx)
	return true
}

// over says whether every lease has run out. Then there is nothing left to renew in
// time, and a server that hears this host but is not heard must not go on to keep
// them for nobody: it is only looked at, until it has answered. It is called with mu
// held.
func (l *Loop) over(now time.Duration) bool {
	for _, e := range l.entries {
		if e.Held && e.Until > now {
			return false
		}
	}
	return true
}

// probe looks at a server that has long not answered.
func (l *Loop) probe(ctx context.Context) {
	l.list(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view.Err != nil {
		l.renewAt = l.o.Now() + min(l.o.Request()/2, time.Second)
	}
}

// aside is the most urgent request that is no renewal; nil: none is due. It is
// called with mu held.
func (l *Loop) aside(now time.Duration) func(context.Context) {
	switch {
	case len(l.leaving) > 0:
		return l.release
	case len(l.calls) > 0:
		return l.serve
	case l.askAt() <= now && l.view.Err == nil:
		return l.take
	case l.listAt <= now || l.view.Err != nil:
		return l.list
	}
	return nil
}

// askAt is when the next lease is asked for. It is called with mu held.
func (l *Loop) askAt() time.Duration {
	at := never
	for _, e := range l.entries {
		if e.wanted && !e.Held {
			at = min(at, l.askFor(e))
		}
	}
	return at
}

// pause is how long nothing is due.
func (l *Loop) pause() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Now()
	at := min(l.askAt(), l.listAt)
	if len(l.leaving) > 0 || len(l.calls) > 0 {
		at = now
	}
	at = max(at, l.asideAt)
	if l.renewAt != never && at > l.renewAt-l.o.Request()/4 {
		at = l.renewAt
	}
	return min(at-now, time.Minute)
}

func (l *Loop) renew(ctx context.Context) {
	l.mu.Lock()
	var held []Held
	for _, e := range l.entries {
		if e.Held {
			held = append(held, Held{Key: e.key, Token: e.Token, Value: e.value})
		}
	}
	l.mu.Unlock()
	if len(held) == 0 {
		l.mu.Lock()
		l.renewAt = never
		l.mu.Unlock()
		return
	}
	slices.SortFunc(held, func(a, b Held) int { return compare(a.Key, b.Key) })
	sent := l.o.Now()
	ok, err := l.o.Store.Renew(ctx, l.o.Owner, l.o.TTL, held)
	if l.failed(err) {
		l.mu.Lock()
		l.renewAt = l.o.Now() + min(l.o.Request()/2, time.Second)
		l.mu.Unlock()
		return
	}
	l.renewed(sent, held, ok)
}

// renewed takes the answer to a renewal that was sent at sent.
func (l *Loop) renewed(sent time.Duration, held []Held, ok []bool) {
	l.mu.Lock()
	// A renewal comes up to a tenth early, so that hosts do not come together.
	l.renewAt = sent + l.o.Interval() - rand.N(l.o.Interval()/10+1)
	now, until := l.o.Now(), sent+l.o.Sure()
	var lost []string
	var extended []Held
	for i, h := range held {
		e := l.entries[h.Key]
		if e == nil || !e.Held || e.Token != h.Token {
			continue // left meanwhile
		}
		// One that had run out may have been another host's since, and a store that went
		// back to an earlier state does not know: its token is worth nothing any more.
		if !ok[i] || e.exclusive && e.Until <= now {
			e.State, e.had = State{}, true
			e.retryAt = 0
			lost = append(lost, h.Key)
			if h.Key == HostPrefix+l.o.Owner { // which is never exclusive, so the store has forgotten it
				l.shy()
			}
			continue
		}
		e.Until = max(e.Until, until)
		if e.exclusive {
			extended = append(extended, Held{Key: h.Key, Token: h.Token})
		}
	}
	l.mu.Unlock()
	if len(extended) > 0 {
		l.o.On.Extended(until, extended)
	}
	if len(lost) > 0 {
		l.o.On.Changed(lost)
	}
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
