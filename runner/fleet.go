package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"qsuper/config"
	"qsuper/keeper"
	"qsuper/lease"
)

// lockStore is one lock store: the leases of this host, and what the other hosts say.
type lockStore struct {
	r      *Runner
	name   string
	conf   *config.Lock
	loop   *lease.Loop
	census atomic.Pointer[census]

	mu    sync.Mutex
	self  host
	wants map[string]bool // consumers that wait for what others have

	roster     roster
	rosterPath string

	// Of the loop's goroutine.
	looked bool            // the store has been looked at before
	silent bool            // it does not answer
	seen   map[string]bool // orders

	obeying sync.Mutex // one order after the other
}

// lockStores are the lock stores of the configuration in force, and of those before it:
// leases are held there. One that has been changed is used as it was.
type lockStores struct {
	mu      sync.Mutex
	by      map[string]*lockStore
	running map[*lockStore]bool
	errands map[string]*errand // by id of the order
}

// host is what a host says of itself in a store.
type host struct {
	Version   int             `json:"version"`
	Daemon    string          `json:"daemon"` // name of the daemon
	Release   string          `json:"release,omitempty"`
	PID       int             `json:"pid"` // of the engine
	At        time.Time       `json:"started_at"`
	Consumers map[string]part `json:"consumers"`

	Orders map[string]string `json:"orders,omitempty"` // carried out, by id; the text is why not
}

// part is how a consumer stands on one host.
type part struct {
	State   string `json:"state"`
	Able    bool   `json:"able"` // nothing but the lock keeps it from running there
	Here    int    `json:"slots"`
	Wanted  int    `json:"wanted"`
	Running int    `json:"running"`
	Short   int    `json:"short,omitempty"` // slots that it lacks of its share and could run, while others have them all
	Healthy bool   `json:"healthy"`
	Code    string `json:"code,omitempty"`
	Reason  string `json:"reason,omitempty"` // as it was when anything else of this changed
	Stopped string `json:"stopped,omitempty"`
	Paused  string `json:"paused,omitempty"`
}

// broken is a store that could not even be opened.
type broken struct {
	lease.Store
	err error
}

func (b broken) Take(context.Context, string, time.Duration, []lease.Ask) ([]lease.Answer, error) {
	return nil, b.err
}
func (b broken) Renew(context.Context, string, time.Duration, []lease.Held) ([]bool, error) {
	return nil, b.err
}
func (b broken) Release(context.Context, string, []lease.Held) error        { return b.err }
func (b broken) List(context.Context) ([]lease.Record, error)               { return nil, b.err }
func (b broken) Claim(context.Context, string, lease.Claim) (string, error) { return "", b.err }
func (b broken) Close() error                                               { return nil }

// open makes the fleets that a configuration adds.
func (s *lockStores) open(r *Runner, cfg *config.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by, s.running, s.errands = map[string]*lockStore{}, map[*lockStore]bool{}, map[string]*errand{}
	}
	for _, conf := range cfg.Locks {
		if s.by[conf.Name] != nil {
			continue
		}
		owner, err := lease.Owner(cfg.Daemon.StateDir)
		var store lease.Store
		if err == nil {
			store, err = conf.Open(cfg.Daemon.Name)
		}
		if err != nil { // nothing runs in its slots, and status says why
			store = broken{err: fmt.Errorf("open: %w", err)}
		}
		f := &lockStore{r: r, name: conf.Name, conf: conf, wants: map[string]bool{}, seen: map[string]bool{}}
		f.rosterPath = rosterPath(cfg.Daemon.StateDir, conf.Name)
		f.roster = loadRoster(f.rosterPath)
		f.self = host{Version: 1, Daemon: cfg.Daemon.Name, Release: r.release, PID: os.Getpid(), At: time.Now(), Consumers: map[string]part{}, Orders: map[string]string{}}
		f.census.Store(&census{})
		f.loop = lease.New(lease.Options{
			Name: conf.Name, Store: store, Owner: owner, Timing: conf.Timing, Now: r.boot, On: f,
			HoldOff: lease.HoldOff(conf.Spec.Kind(), conf.Timing, conf.HoldOff),
		})
		f.say(false)
		s.by[conf.Name] = f
	}
}

// run starts the loops that do not run yet.
func (s *lockStores) run(ctx context.Context, wg *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.by {
		if !s.running[f] {
			s.running[f] = true
			wg.Go(func() { _ = f.loop.Run(ctx) }) // it returns when ctx is done
		}
	}
}

// of is the fleet of a consumer; nil: its slots are this host's own.
func (s *lockStores) of(cfg *config.Consumer) *lockStore {
	if !cfg.Shared() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[cfg.Lock]
}

// all lists the fleets by name.
func (s *lockStores) all() []*lockStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*lockStore
	for _, name := range slices.Sorted(maps.Keys(s.by)) {
		list = append(list, s.by[name])
	}
	return list
}

// Changed implements lease.Listener.
func (f *lockStore) Changed(keys []string) {
	told := map[string]bool{}
	for _, key := range keys {
		slot, ok := strings.CutPrefix(key, lease.SlotPrefix)
		name, _, _ := strings.Cut(slot, "/")
		if ok && !told[name] {
			told[name] = true
			f.r.route(slot, leased{})
		}
	}
}

// Extended implements lease.Listener.
func (f *lockStore) Extended(until time.Duration, held []lease.Held) {
	e := keeper.ExtendRequest{Until: until, Tokens: make(map[string]uint64, len(held))}
	for _, h := range held {
		e.Tokens[strings.TrimPrefix(h.Key, lease.SlotPrefix)] = h.Token
	}
	if err := f.r.keeper.Extend(e); err != nil {
		f.r.log.Error("keeper does not take requests", "lock", f.name, "error", err)
	}
}

// share notes how a consumer stands here. That another host may have to step in
// is told at once.
func (f *lockStore) share(consumer string, p part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old, known := f.self.Consumers[consumer]
	same := p
	same.Reason = old.Reason // it tells numbers that change all the time
	if known && old == same {
		return
	}
	f.self.Consumers[consumer] = p
	f.say(old.Able != p.Able)
}

// answers says whether the latest request was answered.
func (f *lockStore) answers() bool { return f == nil || f.loop.View().Err == nil }

// drop forgets a consumer that is no longer in the file.
func (f *lockStore) drop(consumer string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.self.Consumers[consumer]; known {
		delete(f.self.Consumers, consumer)
		delete(f.wants, consumer)
		f.say(true)
	}
}

// say is called with mu held.
func (f *lockStore) say(soon bool) {
	value, err := json.Marshal(f.self)
	if err == nil && len(value) <= lease.MaxValue {
		f.loop.Publish(value, soon)
	}
}

// want notes whether a consumer waits for what other hosts have.
func (f *lockStore) want(consumer string, yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wants[consumer] == yes {
		return
	}
	f.wants[consumer] = yes
	any := false
	for _, w := range f.wants {
		any = any || w
	}
	f.loop.Eager(any)
}
