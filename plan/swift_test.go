package plan

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"qsuper/health"
	"qsuper/slot"
)

// scenario is a consumer with max_wait through random readings: instances come as
// wanted, work at a rate of their own, and end by chance.
type scenario struct {
	r     *rand.Rand
	p     Program
	m     Memory
	slots []Slot
	now   time.Time
	ready float64
}

func newScenario(seed uint64) *scenario {
	r := rand.New(rand.NewPCG(seed, 7))
	s := &scenario{r: r, now: now}
	s.p = Program{Name: "a", OnMessages: true, Queue: "a on broker", Max: 1 + r.IntN(20), MaxWait: time.Duration(1+r.IntN(300)) * time.Second,
		Cooldown: time.Duration(r.IntN(60)) * time.Second, IdleTimeout: time.Minute, StepUp: r.IntN(4), StepDown: r.IntN(3)}
	s.p.Min = r.IntN(s.p.Max + 1)
	s.slots = make([]Slot, s.p.Max)
	return s
}

// reading is what a backend says, or that nobody knows.
func (s *scenario) reading() *Depth {
	d := depth(int64(s.ready), 0)
	d.At, d.Oldest = s.now, health.NotKnown
	for i := range s.slots {
		if s.slots[i].Phase == slot.Running {
			d.InFlight++
		}
	}
	switch s.r.IntN(10) {
	case 0:
		d.Reading = health.Reading{State: health.Unknown, Err: "timeout"}
	case 1:
		d.InFlight = health.NotKnown
	case 2:
		d.Oldest = time.Duration(s.r.IntN(400)) * time.Second
	}
	return d
}

// pass lets some seconds go by.
func (s *scenario) pass() {
	dt := time.Duration(1+s.r.IntN(5)) * time.Second
	s.now = s.now.Add(dt)
	for i := range s.slots {
		v := &s.slots[i]
		switch {
		case v.Phase == slot.Running:
			s.ready = max(0, s.ready-dt.Seconds())
			if v.Want == slot.Down || s.r.IntN(20) == 0 {
				v.Phase = slot.Waiting
			}
		case v.Want == slot.Up && s.r.IntN(3) > 0:
			v.Phase, v.Started = slot.Running, s.now
		}
	}
	if s.r.IntN(15) == 0 {
		s.ready += float64(s.r.IntN(500))
	}
	s.ready += float64(s.r.IntN(4))
}

// decide asks the planner and checks what must hold of any answer.
func (s *scenario) decide() error {
	o := Observed{Conns: []Conn{{Name: "broker", State: ConnUp, At: s.now}}, Queue: s.reading()}
	before := s.m
	r := Decide(s.p, o, before, s.slots, s.now)
	again := Decide(s.p, o, r.Memory, s.slots, s.now)
	s.m = r.Memory
	switch up, _, down := wants(r); {
	case again.Target != r.Target || fmt.Sprint(again.Decisions) != fmt.Sprint(r.Decisions):
		return fmt.Errorf("asked again it wants %d instead of %d", again.Target, r.Target)
	case o.Queue.State == health.Unknown && (up > 0 || down > 0 || r.Memory.Target != before.Target):
		return fmt.Errorf("nobody knows the depth: %d up, %d down, target %d after %d", up, down, r.Memory.Target, before.Target)
	case o.Queue.State == health.Unknown:
	case r.Target < s.p.Min || r.Target > s.p.Max:
		return fmt.Errorf("target %d", r.Target)
	case o.Queue.Ready > 0 && r.Target == 0:
		return fmt.Errorf("%d messages wait and nobody comes", o.Queue.Ready)
	case down > 0 && (o.Queue.Ready > 0 || o.Queue.InFlight > 0):
		return fmt.Errorf("%d asked to finish with %d waiting, %d in flight", down, o.Queue.Ready, o.Queue.InFlight)
	case s.p.StepDown > 0 && before.Target-r.Target > s.p.StepDown:
		return fmt.Errorf("step_down %d: from %d to %d", s.p.StepDown, before.Target, r.Target)
	case s.p.StepUp > 0 && r.Target > max(before.Target, s.p.Min, s.alive())+s.p.StepUp:
		return fmt.Errorf("step_up %d: from %d (%d there) to %d", s.p.StepUp, before.Target, s.alive(), r.Target)
	case r.Target < before.Target && s.p.Cooldown > 0 && (before.FewerSince.IsZero() || s.now.Sub(before.FewerSince) < s.p.Cooldown):
		return fmt.Errorf("from %d to %d before the cooldown is over", before.Target, r.Target)
	}
	for i, d := range r.Decisions {
		s.slots[i].Want = d.Want
	}
	return nil
}

func (s *scenario) alive() int {
	n, _ := staff(Observed{}, s.slots)
	return n
}

// TestMaxWaitAlways checks over random days: bounds, unknown holds, from zero on
// the first message, nobody at work is told to go, cooldown and steps, and that
// the same question has the same answer.
func TestMaxWaitAlways(t *testing.T) {
	for seed := range uint64(4 * *rounds) {
		s := newScenario(seed)
		for step := range 200 {
			s.pass()
			if err := s.decide(); err != nil {
				t.Fatalf("seed %d, step %d, %+v: %v\n%+v", seed, step, s.p, err, s.m.Pace)
			}
		}
	}
}

// More messages never ask for fewer instances, nor does a first in line who has
// waited for longer.
func TestMaxWaitIsMonotonic(t *testing.T) {
	const seed = 11
	r := rand.New(rand.NewPCG(seed, 8))
	for range 20_000 {
		c := Pace{Rate: r.Float64() * 100, Startup: time.Duration(r.IntN(20)) * time.Second, N: r.IntN(20)}
		p := Program{MaxWait: time.Duration(1+r.IntN(600)) * time.Second}
		d := *depth(r.Int64N(1<<r.IntN(62)), r.Int64N(50))
		d.Oldest = time.Duration(r.IntN(600)) * time.Second
		n := c.need(p, d, now)
		more, older := d, d
		more.Ready += r.Int64N(100)
		older.Oldest += time.Minute
		if m := c.need(p, more, now); m < n {
			t.Fatalf("seed %d: %+v: %d for %d messages, %d for %d", seed, c, n, d.Ready, m, more.Ready)
		}
		if m := c.need(p, older, now); m < n {
			t.Fatalf("seed %d: %+v: %d after %v, %d after %v", seed, c, n, d.Oldest, m, older.Oldest)
		}
	}
}

func TestMissingQueueGetsMin(t *testing.T) {
	missing := Observed{Conns: []Conn{{Name: "broker", State: ConnUp}}, Queue: &Depth{Reading: health.Reading{State: health.Missing}, At: now}}
	for name, p := range map[string]Program{
		"per_instance": {Name: "a", Min: 2, Max: 8, PerInstance: 10, OnMessages: true, Queue: "a on broker"},
		"max_wait":     {Name: "a", Min: 2, Max: 8, MaxWait: time.Minute, OnMessages: true, Queue: "a on broker"},
	} {
		list := slots(8, func(i int, s *Slot) {
			if i > 4 {
				run(time.Minute)(i, s)
			}
		})
		r := Decide(p, missing, Memory{}, list, now)
		if up, hold, down := wants(r); up != 2 || hold != 6 || down != 0 || r.Reason.Code != slot.NoQueue {
			t.Errorf("%s: %d up, %d hold, %d down, %v", name, up, hold, down, r.Reason)
		}
		p.Min = 0
		if up, _, down := wants(Decide(p, missing, Memory{}, list, now)); up != 0 || down != 0 {
			t.Errorf("%s, min 0: %d up, %d down", name, up, down)
		}
	}
}

func TestSteps(t *testing.T) {
	p := Program{OnMessages: true, Max: 10, PerInstance: 1, Cooldown: 10 * time.Second, StepUp: 4, StepDown: 3}
	m := Memory{}
	for _, step := range []struct {
		sec   int
		ready int64
		want  int
	}{{0, 10, 4}, {1, 10, 4}, {4, 10, 4}, {5, 10, 8}, {10, 10, 10}, {11, 1, 10}, {15, 5, 10}, {20, 1, 10}, {21, 1, 7}, {22, 1, 7}, {32, 1, 4}, {42, 0, 4}, {51, 0, 4}, {52, 0, 1}, {53, 0, 1}, {63, 0, 0}} {
		r := Decide(p, Observed{Queue: depth(step.ready, 0)}, m, slots(10, nil), now.Add(time.Duration(step.sec)*time.Second))
		if m = r.Memory; r.Target != step.want {
			t.Errorf("second %d, ready %d: %d instances, want %d", step.sec, step.ready, r.Target, step.want)
		}
	}
}

// The cooldown leaves the most that were needed in it, not what happens to be
// needed at its end.
func TestCooldownKeepsTheMost(t *testing.T) {
	p := Program{OnMessages: true, Max: 10, PerInstance: 1, Cooldown: 10 * time.Second}
	m := Memory{Target: 10}
	for sec, ready := range []int64{1, 6, 1, 2, 1, 1, 1, 1, 1, 1, 1} {
		m = Decide(p, Observed{Queue: depth(ready, 0)}, m, slots(10, nil), now.Add(time.Duration(sec)*time.Second)).Memory
	}
	if m.Target != 6 {
		t.Errorf("%d instances, want 6", m.Target)
	}
}

func TestPaceIsExplained(t *testing.T) {
	p := Program{Name: "a", Max: 8, MaxWait: time.Minute, OnMessages: true, Queue: "a on broker"}
	d := depth(120, 2)
	d.Oldest = 12 * time.Second
	m := Memory{Pace: Pace{Rate: 1.25, Startup: 2 * time.Second, Ceiling: Ceiling{N: 2, Until: now.Add(41 * time.Second), Why: "2 did 2.5 messages a second, 4 do 2.4"}}}
	for _, g := range Gates(p, Observed{Queue: d}, m, now) {
		if g.Name != "pace" {
			continue
		}
		want := "an instance does 1.2 messages a second, a start takes 2 s; the first in line has waited 12 s of 1m0s: 3 needed; " +
			"more than 2 did not help (2 did 2.5 messages a second, 4 do 2.4), tried again in 41 s"
		if g.Evidence != want {
			t.Errorf("got  %s\nwant %s", g.Evidence, want)
		}
		r := Decide(p, Observed{Queue: d}, m, slots(8, nil), now)
		if rest := r.Decisions[7].Reason; r.Target != 1 && (rest.Code != slot.Surplus || !strings.Contains(rest.Text, "do not help")) {
			t.Errorf("target %d, the others: %+v", r.Target, rest)
		}
		return
	}
	t.Error("max_wait is not explained")
}
