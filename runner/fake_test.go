package runner

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/internal/bubble"
	"qsuper/keeper"
	"qsuper/schedule"
	"qsuper/trace"
)

var rounds = flag.Int("rounds", 3, "fleets of each random test")

func TestMain(m *testing.M) { bubble.Main(m) }

// fakeKeeper keeps children that exist in fake time only. It is strict where
// the real one is: two processes in a slot, or a start of what was not
// acknowledged, fail the test.
type fakeKeeper struct {
	t       *testing.T
	mu      sync.Mutex
	hand    func(any)
	out     []any // to be told
	telling bool
	live    map[string]*fakeChild
	held    map[string]keeper.Exited // exits not acknowledged
	memo    map[string][]byte
	pid     int

	starts   []string    // slots, in order
	at       []time.Time // of the starts
	behave   func(slot string, run uint64) (lives time.Duration, code int)
	signals  int
	onIdle   func()                    // called with mu held
	stubborn bool                      // a withdrawal comes too late
	followed int                       // starts by standing order
	stopsIn  time.Duration             // how long a child takes to end after TERM
	lock     map[string]bool           // slots that somebody else holds
	onStart  func(keeper.StartRequest) // called with mu held
	ghosts   map[string]keeper.SlotInfo
	missed   string // of Started
}

type fakeChild struct {
	run      uint64
	again    *keeper.Again
	argv     string // last argument
	tag      string
	spec     *keeper.Spec
	adopted  bool
	frozen   bool
	held     bool // asked to end without a signal
	known    bool // the engine has said what it is
	pid      int
	started  time.Time
	stopping string
	why      string // as the engine said
	end      *alarm
}

func newFakeKeeper(t *testing.T) *fakeKeeper {
	return &fakeKeeper{
		t: t, live: map[string]*fakeChild{}, held: map[string]keeper.Exited{}, memo: map[string][]byte{}, pid: 1000,
		behave: func(string, uint64) (time.Duration, int) { return 1000 * time.Hour, 0 }, lock: map[string]bool{}, stopsIn: time.Second,
	}
}

// tell is called with mu held; unlock delivers.
func (k *fakeKeeper) tell(m any) { k.out = append(k.out, m) }

// unlock hands over what there is to tell, in order and without the lock: an
// answer may be another request.
func (k *fakeKeeper) unlock() {
	defer k.mu.Unlock()
	if k.telling {
		return
	}
	k.telling = true
	for len(k.out) > 0 {
		out, hand := k.out, k.hand
		k.out = nil
		k.mu.Unlock()
		for _, m := range out {
			if hand != nil {
				hand(m)
			}
		}
		k.mu.Lock()
	}
	k.telling = false
}

func (k *fakeKeeper) Start(r keeper.StartRequest) error {
	k.mu.Lock()
	defer k.unlock()
	if k.live[r.Slot] != nil {
		k.t.Errorf("%s: a second process is started", r.Slot)
	}
	delete(k.held, r.Slot) // a start acknowledges the exit before it
	if k.lock[r.Slot] {
		k.tell(keeper.StartFailed{Slot: r.Slot, Run: r.Run, Kind: "locked", Err: "held", By: "pid 812 (php)"})
		return nil
	}
	k.memo[r.Slot] = r.Memo
	if k.onStart != nil {
		k.onStart(r)
	}
	if k.ghosts == nil {
		k.ghosts = map[string]keeper.SlotInfo{}
	}
	k.ghosts[r.Slot] = keeper.SlotInfo{Slot: r.Slot, Run: r.Run, Tag: r.Spec.Tag}
	k.begin(r.Slot, r.Run, r.Again, &r.Spec)
	return nil
}

// begin is called with mu held.
func (k *fakeKeeper) begin(slot string, run uint64, again *keeper.Again, spec *keeper.Spec) {
	k.pid++
	c := &fakeChild{run: run, pid: k.pid, started: time.Now(), again: again, spec: spec, argv: spec.Argv[len(spec.Argv)-1], tag: spec.Tag}
	k.live[slot] = c
	k.starts, k.at = append(k.starts, slot), append(k.at, time.Now())
	lives, code := k.behave(slot, run)
	c.end = after(lives, func() { k.exit(slot, c, code, "") })
	k.tell(keeper.Started{Slot: slot, Run: run, PID: c.pid, At: c.started, Missed: k.missed})
}

func (k *fakeKeeper) Again(r keeper.AgainRequest) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.live[r.Slot]; c != nil && c.run == r.Run && (r.Again != nil || !k.stubborn) {
		c.again = r.Again
	}
	return nil
}

func (k *fakeKeeper) exit(slot string, c *fakeChild, code int, step string) {
	k.mu.Lock()
	defer k.unlock()
	if k.live[slot] != c {
		return
	}
	delete(k.live, slot)
	c.end.Stop()
	e := keeper.Exited{Slot: slot, Run: c.run, PID: c.pid, Code: code, Step: step, At: time.Now(), Ran: time.Since(c.started), Why: c.why}
	follows := c.again != nil && step == "" && slices.Contains(c.again.Codes, code) && e.Ran >= c.again.MinRan && k.hand != nil
	if follows {
		e.Next = c.run + 1
	}
	k.held[slot] = e
	k.tell(e)
	switch {
	case follows && k.lock[slot]:
		k.tell(keeper.StartFailed{Slot: slot, Run: e.Next, Kind: "locked", Err: "held", By: "pid 812 (php)"})
	case follows:
		k.followed++
		k.begin(slot, e.Next, nil, c.spec)
	}
}

func (k *fakeKeeper) Stop(r keeper.StopRequest) error {
	k.mu.Lock()
	defer k.unlock()
	c := k.live[r.Slot]
	if c == nil || c.run != r.Run {
		return nil
	}
	c.again = nil
	if r.Stop.Why != "" {
		c.why = r.Stop.Why
	}
	if r.Idle {
		if !c.frozen {
			k.t.Errorf("%s: ended as idle though it does not stand still", r.Slot)
		}
		if k.onIdle != nil {
			k.onIdle()
		}
		c.end.Stop()
		c.end = after(time.Millisecond, func() { k.exit(r.Slot, c, -1, "idle") })
		return nil
	}
	if r.Stop.Hold {
		c.stopping, c.held = "signal", true
		return nil
	}
	k.signals++
	c.end.Stop()
	if r.Now {
		c.end = after(time.Millisecond, func() { k.exit(r.Slot, c, -1, "kill") })
		return nil
	}
	if c.stopping == "" || c.held {
		c.held = false
		c.stopping = "signal"
		c.end = after(k.stopsIn, func() { k.exit(r.Slot, c, 0, "signal") })
	}
	return nil
}

func (k *fakeKeeper) Extend(keeper.ExtendRequest) error { return nil }

func (k *fakeKeeper) Ack(r keeper.AckRequest) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.held[r.Slot]; ok && e.Run == r.Run {
		delete(k.held, r.Slot)
	}
	k.memo[r.Slot] = r.Memo
	return nil
}

func (k *fakeKeeper) Drop(r keeper.DropRequest) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.live[r.Slot] != nil {
		k.t.Errorf("%s: dropped while its process lives", r.Slot)
	}
	delete(k.memo, r.Slot)
	return nil
}

func (k *fakeKeeper) Adopt(r keeper.AdoptRequest) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.live[r.Slot]
	if c == nil || c.run != r.Run || !c.adopted {
		k.t.Errorf("%s: adopted though it is not an earlier keeper's", r.Slot)
		return nil
	}
	k.memo[r.Slot], c.known = r.Memo, true
	return nil
}

func (k *fakeKeeper) Freeze(r keeper.FreezeRequest) error {
	k.mu.Lock()
	defer k.unlock()
	if c := k.live[r.Slot]; c != nil && c.run == r.Run {
		c.frozen = r.On
		if r.On {
			k.tell(keeper.Frozen{Slot: r.Slot, Run: r.Run, PIDs: []int{c.pid}})
		}
	}
	return nil
}

// perish is the death of the keeper, and the start of the next: it knows what
// runs, and from what it was made.
func (k *fakeKeeper) perish() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.held)
	clear(k.memo)
	for slot, g := range k.ghosts {
		if strings.HasPrefix(g.Tag, keeper.OnceTag) {
			k.memo[slot] = nil
		}
	}
	for slot, c := range k.live {
		c.adopted, c.again, c.why = true, nil, ""
		k.memo[slot] = nil
	}
}

func (k *fakeKeeper) Cork()                          {}
func (k *fakeKeeper) Uncork()                        {}
func (k *fakeKeeper) SetLog(keeper.LogRequest) error { return nil }

func (k *fakeKeeper) List() error {
	k.mu.Lock()
	defer k.unlock()
	for slot, memo := range k.memo {
		info := keeper.SlotInfo{Slot: slot, Memo: memo}
		if c := k.live[slot]; c != nil {
			info.Run, info.PID, info.StartedAt, info.Stopping = c.run, c.pid, c.started, c.stopping
			info.Adopted, info.Tag, info.Why = c.adopted, c.tag, c.why
		}
		if e, ok := k.held[slot]; ok {
			info.Exit = &e
			if info.Run == 0 {
				info.Run = e.Run
			}
		}
		if g := k.ghosts[slot]; info.Run == 0 && strings.HasPrefix(g.Tag, keeper.OnceTag) {
			info.Run, info.Tag = g.Run, g.Tag
		}
		k.tell(info)
	}
	k.tell(keeper.ListEnd{})
	return nil
}

func (k *fakeKeeper) count() (live, starts int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.live), len(k.starts)
}

// fleet is a runner in a bubble of fake time, with the keeper that outlives it.
type fleet struct {
	trace    *trace.Log // nil: none
	t        *testing.T
	k        *fakeKeeper
	dir      string
	cfg      *config.Config
	r        *Runner
	clock    wallClock
	boottime func() time.Duration // nil: that of the host
	once     bool
	usage    func([]int) map[int]procUsage // nil: that of the host
	cancel   context.CancelFunc
	done     chan struct{}
}

var keeperStart = time.Unix(1_000_000, 0)

func newFleet(t *testing.T, consumers ...*config.Consumer) *fleet {
	f := &fleet{t: t, k: newFakeKeeper(t), dir: t.TempDir()}
	f.cfg = f.config(consumers...)
	f.boot()
	return f
}

func (f *fleet) config(consumers ...*config.Consumer) *config.Config {
	return &config.Config{
		Daemon:    config.Daemon{StateDir: f.dir, LogDir: f.dir, Interval: schedule.Every(time.Second)},
		Consumers: consumers,
	}
}

// boot starts an engine; crash ends it without a word.
func (f *fleet) boot() {
	f.t.Helper()
	r, err := New(Options{Config: f.cfg, Keeper: f.k, Started: keeperStart, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), clock: f.clock, Once: f.once, boot: f.boottime, Trace: f.trace})
	if err != nil {
		f.t.Fatal(err)
	}
	if f.usage != nil {
		r.usage = f.usage
	}
	f.k.mu.Lock()
	f.k.hand = r.Handle
	f.k.mu.Unlock()
	ctx, cancel := context.WithCancel(f.t.Context())
	f.r, f.cancel, f.done = r, cancel, make(chan struct{})
	go func() {
		defer close(f.done)
		if err := r.Run(ctx); err != nil {
			f.t.Error(err)
		}
	}()
	synctest.Wait()
}

func (f *fleet) crash() {
	f.k.mu.Lock()
	f.k.hand = nil
	for _, c := range f.k.live {
		c.again = nil
	}
	f.k.mu.Unlock()
	f.cancel()
	<-f.done
}

// end is deferred by every test: nothing may be left in the bubble.
func (f *fleet) end() {
	f.crash()
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	for _, c := range f.k.live {
		c.end.Stop()
	}
}

func (f *fleet) do(verb string, names ...string) Reply {
	f.t.Helper()
	return f.command(Command{Verb: verb, Names: names, By: "ann", Wait: true})
}

func (f *fleet) command(c Command) Reply {
	f.t.Helper()
	reply, err := f.r.Do(f.t.Context(), c)
	if err != nil {
		f.t.Fatalf("%s %v: %v", c.Verb, c.Names, err)
	}
	return reply
}

func (f *fleet) snapshot(name string) Snapshot {
	f.t.Helper()
	synctest.Wait()
	s, err := f.r.Snapshots([]string{name}, Detail{Slots: true, Gates: true})
	if err != nil || len(s) != 1 {
		f.t.Fatalf("snapshot of %s: %v, %v", name, s, err)
	}
	return s[0]
}

func (f *fleet) wantLive(n int) {
	f.t.Helper()
	synctest.Wait()
	if live, _ := f.k.count(); live != n {
		f.t.Errorf("%d processes run, want %d", live, n)
	}
}

func conf(name string, n int) *config.Consumer {
	return &config.Consumer{
		Name: name, Command: []string{"/bin/true", name}, Instances: config.Instances{Min: n, Max: n}, Spawn: config.SpawnAlways,
		Restart: config.RestartAlways, Exit: config.Exit{Clean: []int{0}}, Autostart: true,
		Backoff: config.Backoff{Initial: time.Second, Factor: 2, Max: time.Minute, Jitter: 0.5, ResetAfter: time.Minute, MinUptime: time.Second},
		Stop:    config.Stop{Signal: 15, Grace: 30 * time.Second, Scope: "process"}, Logs: config.Logs{To: "none"},
	}
}

func key(name string, n int) string { return fmt.Sprintf("%s/%d", name, n) }

// alarm calls a function once, unless it is stopped.
type alarm struct {
	once sync.Once
	off  chan struct{}
}

func after(d time.Duration, f func()) *alarm {
	a := &alarm{off: make(chan struct{})}
	go func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			f()
		case <-a.off:
		}
	}()
	return a
}

// Stop does nothing to an alarm that has gone off.
func (a *alarm) Stop() { a.once.Do(func() { close(a.off) }) }

// set changes how the keeper behaves.
func (k *fakeKeeper) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

// pids are the processes that run, by slot.
func (k *fakeKeeper) pids() map[string]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := map[string]int{}
	for slot, c := range k.live {
		m[slot] = c.pid
	}
	return m
}
