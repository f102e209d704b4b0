package plan

import (
	"math/rand/v2"
	"testing"
	"time"

	"qsuper/slot"
)

// toy is a consumer in fake time: what Decide lets start runs at once, for as
// long as lives says; crashes back off.
type toy struct {
	p      Program
	o      Observed
	m      Memory
	slots  []Slot
	ends   []time.Time
	now    time.Time
	lives  func() time.Duration // 0: for ever
	starts []time.Time
	r      Result
}

func newToy(n int) *toy {
	y := &toy{now: now, slots: slots(n, nil), ends: make([]time.Time, n)}
	y.p = Program{Name: "a", Min: n, Max: n, Policy: slot.Policy{
		Key: "a", Initial: time.Second, Factor: 2, Max: time.Minute, Jitter: 0.5, ResetAfter: time.Minute, MinUptime: time.Second,
	}}
	return y
}

// step ends what is to end now, decides, and starts what may.
func (y *toy) step() {
	for i := range y.slots {
		s := &y.slots[i]
		if s.Phase == slot.Running && !y.ends[i].IsZero() && !y.now.Before(y.ends[i]) {
			s.Failures++
			y.m.Breaker.Failed(i, s.Started, y.now)
			s.Phase, s.Started, s.Deadline = slot.Waiting, time.Time{}, y.now.Add(y.p.Policy.Delay(uint64(i), s.Failures))
		}
	}
	y.r = Decide(y.p, y.o, y.m, y.slots, y.now)
	y.m = y.r.Memory
	for i, d := range y.r.Decisions {
		s := &y.slots[i]
		s.Want = d.Want
		if d.Want != slot.Up || s.Phase != slot.Waiting || s.Deadline.After(y.now) {
			continue
		}
		s.Phase, s.Started, s.Deadline = slot.Running, y.now, time.Time{}
		y.starts = append(y.starts, y.now)
		y.ends[i] = time.Time{}
		if d := y.lives(); d > 0 {
			y.ends[i] = y.now.Add(d)
		}
	}
}

func (y *toy) up() int {
	n := 0
	for i := range y.slots {
		if y.slots[i].Phase == slot.Running {
			n++
		}
	}
	return n
}

// TestBreakerInvariants runs fleets through random sickness: a hold starts
// nothing, a trial one at a time, what runs is always left alone, and whatever
// has been, a fleet that is well again is up within the longest pause, the
// proof and the ramp.
func TestBreakerInvariants(t *testing.T) {
	trips := 0
	for seed := range uint64(max(20, 60**rounds/100)) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		y := newToy(2 + rnd.IntN(12))
		sick := rnd.IntN(101)
		y.lives = func() time.Duration {
			if rnd.IntN(100) < sick {
				return time.Duration(1 + rnd.Int64N(int64(10*time.Second)))
			}
			return 0
		}
		for range 3000 {
			before, began := y.m.Breaker, len(y.starts)
			y.step()
			b := y.m.Breaker
			trips = max(trips, b.Trips)
			if b.Phase == Holding && before.Phase == Holding && len(y.starts) > began {
				t.Fatalf("seed %d: a start while starts are held", seed)
			}
			if b.Phase == Trying && before.Phase == Trying && startedSince(y.slots, b.Since) > 1 {
				t.Fatalf("seed %d: %d are tried at once", seed, startedSince(y.slots, b.Since))
			}
			if (b.Phase != Watching) != y.r.Rationed {
				t.Fatalf("seed %d: phase %d, rationed %v", seed, b.Phase, y.r.Rationed)
			}
			for i, d := range y.r.Decisions {
				if y.slots[i].Phase == slot.Running && d.Want != slot.Up {
					t.Fatalf("seed %d: what runs is told %v", seed, d)
				}
			}
			y.now = y.now.Add(100 * time.Millisecond)
		}
		y.lives = func() time.Duration { return 0 }
		for range 1800 {
			y.step()
			y.now = y.now.Add(100 * time.Millisecond)
		}
		if y.up() != len(y.slots) || y.m.Breaker.Phase != Watching {
			t.Fatalf("seed %d: %d of %d are up three minutes after the cause is gone: %+v", seed, y.up(), len(y.slots), y.m.Breaker)
		}
	}
	if trips < 5 {
		t.Errorf("no more than %d holds in a row: the test proves little", trips)
	}
}

// TestBreakerForgets: the pauses grow while holds follow each other, and start over after reset_after without one.
func TestBreakerForgets(t *testing.T) {
	y := newToy(4)
	sick := true
	y.lives = func() time.Duration {
		if sick {
			return time.Second
		}
		return 0
	}
	runFor := func(d time.Duration) {
		for end := y.now.Add(d); y.now.Before(end); y.now = y.now.Add(100 * time.Millisecond) {
			y.step()
		}
	}
	runFor(time.Minute)
	if y.m.Breaker.Trips < 4 {
		t.Fatalf("%d holds in a minute", y.m.Breaker.Trips)
	}
	sick = false
	runFor(5 * time.Minute)
	for i := range y.slots { // they die once more, together
		y.ends[i] = y.now
	}
	y.step()
	if b := y.m.Breaker; b.Trips != 1 || b.Until.Sub(y.now) > time.Minute {
		t.Errorf("after minutes of health the next hold is number %d", b.Trips)
	}
}

// TestBreakerTripsInTheRamp: the first one lives, those after it do not.
func TestBreakerTripsInTheRamp(t *testing.T) {
	y := newToy(8)
	y.lives = func() time.Duration { return time.Second }
	for y.m.Breaker.Phase != Holding {
		y.step()
		y.now = y.now.Add(100 * time.Millisecond)
	}
	began := len(y.starts)
	y.lives = func() time.Duration { return 0 }
	for y.m.Breaker.Phase != Ramping {
		y.step()
		y.now = y.now.Add(100 * time.Millisecond)
	}
	for i := range y.ends { // the last step has let two more start
		if y.slots[i].Phase == slot.Running && y.slots[i].Started.Equal(y.starts[len(y.starts)-1]) {
			y.ends[i] = y.now
		}
	}
	trips := y.m.Breaker.Trips
	y.step()
	if b := y.m.Breaker; b.Phase != Holding || b.Trips != trips+1 || b.Cause != "2 of 3 instances let through crashed" || len(y.starts) != began+3 || y.up() != 1 {
		t.Errorf("%d starts, %d up, %+v", len(y.starts)-began, y.up(), b)
	}
}

// TestTurnsAreKept: who has its turn in the start rate is not displaced by one that asks later.
func TestTurnsAreKept(t *testing.T) {
	p := Program{Name: "a", Min: 5, Max: 5}
	list := slots(5, func(i int, s *Slot) {
		if i == 3 {
			s.Want, s.Reason.Code, s.Deadline = slot.Up, slot.StartRate, now.Add(20*time.Millisecond)
		}
		if i == 0 {
			s.Reason.Code, s.Deadline = slot.Backoff, now.Add(time.Second)
		}
	})
	o := Observed{Conns: []Conn{{Name: "broker", State: ConnUp, At: now, Back: now, Sharers: 1}}}
	r := Decide(p, o, Memory{}, list, now)
	if up, _, _ := wants(r); up != 1 || r.Decisions[3].Want != slot.Up {
		t.Errorf("%+v", r.Decisions)
	}
	list[3].Reason, list[3].Deadline = slot.Reason{}, now.Add(time.Second)
	if r = Decide(p, o, Memory{}, list, now); r.Decisions[1].Want != slot.Up {
		t.Errorf("who could start at once waits for others: %+v", r.Decisions)
	}
}
