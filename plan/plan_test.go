package plan

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"qsuper/health"
	"qsuper/slot"
)

// rounds is a share in percent: some tests play many scenarios.
var rounds = flag.Int("rounds", 20, "percent of the random scenarios")

var now = time.Unix(1_000_000, 0)

func depth(ready, inFlight int64) *Depth {
	return &Depth{Reading: health.Reading{State: health.OK, Ready: ready, InFlight: inFlight, Delayed: health.NotKnown}, At: now}
}

func slots(n int, f func(i int, s *Slot)) []Slot {
	list := make([]Slot, n)
	for i := range list {
		list[i].State = slot.State{Phase: slot.Waiting, Run: uint64(i)}
		if f != nil {
			f(i, &list[i])
		}
	}
	return list
}

func run(since time.Duration) func(int, *Slot) {
	return func(_ int, s *Slot) {
		s.Phase, s.PID, s.Started, s.Since = slot.Running, 42, now.Add(-since), now.Add(-since)
	}
}

func wants(r Result) (up, hold, down int) {
	for _, d := range r.Decisions {
		switch d.Want {
		case slot.Up:
			up++
		case slot.Hold:
			hold++
		default:
			down++
		}
	}
	return up, hold, down
}

type window bool

func (w window) Open(time.Time) bool              { return bool(w) }
func (w window) NextChange(t time.Time) time.Time { return t.Add(time.Hour) }
func (w window) String() string                   { return "* 6-22 * * *" }

func TestGates(t *testing.T) {
	up := []Conn{{Name: "broker", State: ConnUp, At: now}}
	fixed := Program{Name: "a", Min: 2, Max: 2, OnMessages: true, Queue: "a on broker"}
	always := Program{Name: "a", Min: 2, Max: 2}
	shut := always
	shut.Window = window(false)
	tests := []struct {
		name     string
		p        Program
		o        Observed
		up, hold int
		code     slot.Code
		evidence string
	}{
		{"always", always, Observed{}, 2, 0, slot.OK, ""},
		{"stopped", always, Observed{Stopped: "by root"}, 0, 0, slot.Stopped, "stopped by root"},
		{"shutdown beats all", always, Observed{Shutdown: true, Stopped: "by root"}, 0, 0, slot.Shutdown, "stopping"},
		{"paused", always, Observed{Paused: "by ann"}, 0, 0, slot.Paused, "paused by ann"},
		{"window", shut, Observed{}, 0, 0, slot.Window, `outside "* 6-22 * * *"`},
		{"down", fixed, Observed{Conns: []Conn{{Name: "broker", State: ConnDown, Err: "refused"}}, Queue: depth(9, 0)}, 0, 2, slot.Connection, "broker does not answer: refused"},
		{"not asked yet", fixed, Observed{Conns: []Conn{{Name: "broker", State: ConnUnknown}}}, 0, 2, slot.Connection, "has not answered yet"},
		{"not measured yet", fixed, Observed{Conns: up}, 0, 2, slot.QueueUnsure, "not been measured"},
		{"missing", fixed, Observed{Conns: up, Queue: &Depth{Reading: health.Reading{State: health.Missing}}}, 0, 2, slot.NoQueue, "does not exist"},
		{"unknown is not zero", fixed, Observed{Conns: up, Queue: &Depth{Reading: health.Reading{State: health.Unknown, Err: "timeout"}}}, 0, 2, slot.QueueUnsure, "timeout"},
		{"empty", fixed, Observed{Conns: up, Queue: depth(0, 0)}, 0, 2, slot.Empty, "no messages"},
		{"work", fixed, Observed{Conns: up, Queue: depth(9, 0)}, 2, 0, slot.OK, ""},
		{"never more than messages", fixed, Observed{Conns: up, Queue: depth(1, 0)}, 1, 1, slot.OK, ""},
		{"budget", always, Observed{Budget: Budget{Limits: Limits{Processes: 9}, Running: 9, Shared: true}}, 0, 2, slot.Budget, "its share of the host's 9 processes is 0 instances"},
		{"part of the budget", always, Observed{Budget: Budget{Limits: Limits{Processes: 9}, Running: 8, Shared: true, Share: 1}}, 1, 1, slot.OK, ""},
		{"memory", always, Observed{Budget: Budget{Reserve: 2 << 30, Available: 1 << 30, MemoryKnown: true}}, 0, 2, slot.Budget, "1024 MiB available < 2048 MiB"},
		{"memory unknown", always, Observed{Budget: Budget{Reserve: 2 << 30}}, 0, 2, slot.Budget, "cannot be read"},
	}
	for _, tt := range tests {
		r := Decide(tt.p, tt.o, Memory{}, slots(2, nil), now)
		up, hold, down := wants(r)
		if up != tt.up || hold != tt.hold || up+hold+down != 2 || r.Reason.Code != tt.code || !strings.Contains(r.Reason.Text, tt.evidence) {
			t.Errorf("%s: %d up, %d hold, %d down, %q %q", tt.name, up, hold, down, r.Reason.Code, r.Reason.Text)
		}
		list := Gates(tt.p, tt.o, Memory{}, now.Add(400*time.Millisecond))
		if len(list) != len(gates)+3 {
			t.Errorf("%s: %d gates explained", tt.name, len(list))
		}
		for _, g := range list {
			if g.Evidence == "" || g.State == "" {
				t.Errorf("%s: gate %q has no evidence: %+v", tt.name, g.Name, g)
			}
		}
	}
}

// TestCount checks what must hold of any number of instances, over random
// programs and depths.
func TestCount(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		p := Program{OnMessages: true, Max: r.IntN(20)}
		if r.IntN(3) > 0 {
			p.PerInstance = 1 + r.IntN(200)
			p.Min = r.IntN(p.Max + 1)
		} else {
			p.Min = p.Max
		}
		ready, flight, busy := r.Int64N(1<<r.IntN(62)), r.Int64N(50)-1, r.IntN(20)
		n := Needed(p, *depth(ready, flight), busy)
		more := Needed(p, *depth(ready+r.Int64N(100), flight), busy)
		switch {
		case n > p.Max || p.PerInstance > 0 && n < p.Min:
			t.Fatalf("%+v ready %d in flight %d: %d instances", p, ready, flight, n)
		case more < n:
			t.Fatalf("%+v: more messages, fewer instances: %d after %d", p, more, n)
		case ready > 0 && p.Max > 0 && n == 0:
			t.Fatalf("%+v ready %d: nobody comes", p, ready)
		case p.PerInstance > 0 && int64(n) < min(int64(p.Max), ready/int64(p.PerInstance)):
			t.Fatalf("%+v ready %d: only %d", p, ready, n)
		case ready == 0 && flight == 0 && p.PerInstance == 0 && n != 0:
			t.Fatalf("%+v: %d instances for nothing", p, n)
		}
	}
}

// TestDecisions checks, over random fleets, that the target is met with the
// right slots and that nobody at work is ever told to go for scaling's sake.
func TestDecisions(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		p := Program{OnMessages: true, Max: 1 + r.IntN(10), PerInstance: 10, IdleTimeout: time.Minute, Cooldown: time.Duration(r.IntN(60)) * time.Second}
		list := slots(p.Max+r.IntN(3), func(_ int, s *Slot) {
			s.Phase = slot.Phase(r.IntN(7))
			s.Started = now.Add(-time.Duration(r.IntN(300)) * time.Second)
			if r.IntN(4) == 0 {
				s.Stopped = "by ann"
			}
		})
		o := Observed{Queue: depth(r.Int64N(120), r.Int64N(5)-1)}
		m := Memory{Target: r.IntN(p.Max + 1)}
		res := Decide(p, o, m, list, now)
		up, _, _ := wants(res)
		free := 0
		for i, d := range res.Decisions {
			s := list[i]
			gone := i >= p.Max || s.Stopped != ""
			if !gone {
				free++
			}
			if gone != (d.Want == slot.Down) && d.Reason.Code != slot.Idle {
				t.Fatalf("slot %d (%+v): %v because %v", i, s, d.Want, d.Reason)
			}
			if d.Reason.Code == slot.Idle && (o.Queue.Ready > 0 || o.Queue.InFlight > 0) {
				t.Fatalf("slot %d called idle with %+v", i, o.Queue)
			}
			if d.Want == slot.Up && d.Reason.Code == "" || d.Reason.Code == "" {
				t.Fatalf("slot %d: no reason", i)
			}
		}
		if up != min(res.Target, free) {
			t.Fatalf("%d up of target %d with %d free slots", up, res.Target, free)
		}
	}
}

func TestRunningSlotsAreKept(t *testing.T) {
	p := Program{OnMessages: true, Max: 4, PerInstance: 10}
	list := slots(4, func(i int, s *Slot) {
		if i == 3 {
			run(time.Minute)(i, s)
		}
		if i == 2 {
			s.Failures, s.Deadline = 3, now.Add(time.Minute)
		}
	})
	r := Decide(p, Observed{Queue: depth(5, 0)}, Memory{}, list, now)
	if r.Target != 1 || r.Decisions[3].Want != slot.Up {
		t.Errorf("one wanted: %+v", r.Decisions)
	}
	list[3].Phase = slot.Waiting
	r = Decide(p, Observed{Queue: depth(5, 0)}, Memory{}, list, now)
	if r.Decisions[2].Want != slot.Up || r.Decisions[0].Want == slot.Up {
		t.Errorf("a slot in backoff keeps its turn: %+v", r.Decisions)
	}
}

func TestCooldown(t *testing.T) {
	p := Program{OnMessages: true, Max: 8, PerInstance: 10, Cooldown: 30 * time.Second}
	m := Memory{}
	at := func(sec int, ready int64) int {
		r := Decide(p, Observed{Queue: depth(ready, 0)}, m, slots(8, nil), now.Add(time.Duration(sec)*time.Second))
		m = r.Memory
		return r.Target
	}
	for _, step := range []struct {
		sec   int
		ready int64
		want  int
	}{{0, 80, 8}, {1, 5, 8}, {20, 5, 8}, {21, 80, 8}, {22, 5, 8}, {51, 5, 8}, {52, 5, 1}, {53, 45, 5}} {
		if got := at(step.sec, step.ready); got != step.want {
			t.Errorf("second %d, ready %d: %d instances, want %d", step.sec, step.ready, got, step.want)
		}
	}
}

func TestIdle(t *testing.T) {
	p := Program{OnMessages: true, Min: 2, Max: 2, IdleTimeout: time.Minute}
	decide := func(q *Depth, m Memory, quiet time.Time) Result {
		return Decide(p, Observed{Queue: q}, m, slots(2, func(i int, s *Slot) {
			run(time.Hour)(i, s)
			s.Quiet = quiet
		}), now)
	}
	empty := Memory{EmptySince: now.Add(-time.Minute)}
	if _, _, down := wants(decide(depth(0, 0), empty, time.Time{})); down != 2 {
		t.Errorf("idle for a minute: %d asked to finish", down)
	}
	if r := decide(depth(0, 0), Memory{EmptySince: now.Add(-50 * time.Second)}, time.Time{}); r.Next != now.Add(10*time.Second) {
		t.Errorf("looks again at %v", r.Next)
	}
	if _, hold, _ := wants(decide(depth(0, 1), empty, time.Time{})); hold != 2 {
		t.Errorf("one message in flight: %d held", hold)
	}
	if _, hold, _ := wants(decide(depth(0, health.NotKnown), empty, time.Time{})); hold != 2 {
		t.Errorf("in flight unknown and busy: %d held", hold)
	}
	if _, _, down := wants(decide(depth(0, health.NotKnown), empty, now.Add(-2*time.Minute))); down != 2 {
		t.Errorf("in flight unknown, but quiet: %d asked to finish", down)
	}
}

func TestSummary(t *testing.T) {
	p := Program{Name: "a", Min: 2, Max: 2, Policy: slot.Policy{Initial: time.Second, Factor: 2, Max: time.Minute, ResetAfter: time.Minute}}
	tests := []struct {
		name    string
		o       Observed
		slots   []Slot
		state   State
		healthy bool
		reason  slot.Code
	}{
		{"running", Observed{}, slots(2, run(time.Hour)), Running, true, slot.OK},
		{"stopped", Observed{Stopped: "by root"}, slots(2, nil), Stopped, true, slot.Stopped},
		{"stopping", Observed{Stopped: "by root"}, slots(2, run(time.Hour)), Stopping, true, slot.Stopped},
		{"paused", Observed{Paused: "by root"}, slots(2, nil), Held, true, slot.Paused},
		{"backoff", Observed{}, slots(2, func(_ int, s *Slot) { s.Want, s.Reason.Code, s.Failures = slot.Up, slot.Backoff, 1 }), Backoff, false, slot.Backoff},
		{"crash loop that runs now", Observed{}, slots(2, func(i int, s *Slot) { run(time.Second)(i, s); s.Failures = 3 }), Running, false, slot.Backoff},
		{"crashed long ago, stable since", Observed{}, slots(2, func(i int, s *Slot) { run(time.Minute)(i, s); s.Failures = 3 }), Running, true, slot.OK},
		{"locked", Observed{}, slots(2, func(_ int, s *Slot) { s.Want, s.Reason.Code = slot.Up, slot.Locked }), Waiting, false, slot.Locked},
		{"permanent", Observed{}, slots(2, func(_ int, s *Slot) { s.Phase, s.Final, s.Reason.Code = slot.Halted, true, slot.Permanent }), Held, false, slot.Permanent},
		{"ended well", Observed{}, slots(2, func(_ int, s *Slot) { s.Phase, s.Final, s.Reason.Code = slot.Halted, true, slot.Ended }), Stopped, true, slot.Ended},
		{"connection down", Observed{Conns: []Conn{{State: ConnDown}}}, slots(2, nil), Waiting, false, slot.Connection},
		{"connection down, running", Observed{Conns: []Conn{{State: ConnDown}}}, slots(2, run(time.Hour)), Running, false, slot.Connection},
	}
	for _, tt := range tests {
		r := Decide(p, tt.o, Memory{}, tt.slots, now)
		s := Summarize(p, r, tt.slots, now)
		if s.State != tt.state || s.Healthy != tt.healthy || s.Reason.Code != tt.reason {
			t.Errorf("%s: %s, healthy %v, %v; want %s, %v, %v", tt.name, s.State, s.Healthy, s.Reason.Code, tt.state, tt.healthy, tt.reason)
		}
	}
}
