package plan

import (
	"testing"
	"time"

	"qsuper/slot"
)

// TestRampSharesFairly: whatever the numbers of consumers and slots, the starts of all together double every
// second, each consumer has its share, and the next look is never now.
func TestRampSharesFairly(t *testing.T) {
	for _, sharers := range []int{1, 2, 7, 100, 500} {
		for age := time.Duration(0); age < rampMost; age += 137 * time.Millisecond {
			total, least, most := 0, 1<<62, 0
			for turn := range sharers {
				own, next := rampOf(Conn{Back: now, Turn: turn, Sharers: sharers}, now.Add(age))
				if !next.After(now.Add(age)) {
					t.Fatalf("%d sharers, turn %d after %v: next look %v", sharers, turn, age, next.Sub(now))
				}
				if again, _ := rampOf(Conn{Back: now, Turn: turn, Sharers: sharers}, next); own < 1000 && again <= own && next.Sub(now) > age.Truncate(rampGrain)+rampGrain {
					t.Fatalf("%d sharers, turn %d after %v: looks again at %v for nothing", sharers, turn, age, next.Sub(now))
				}
				total, least, most = total+own, min(least, own), max(most, own)
			}
			limit := 1 << (int(age/time.Second) + 1)
			if total < limit/2 || total > limit || most-least > 1 {
				t.Fatalf("%d sharers after %v: %d starts, %d to %d each", sharers, age, total, least, most)
			}
		}
	}
}

// TestRampTouchesNothingThatRuns and gives no place to what has run since before.
func TestRampTouchesNothingThatRuns(t *testing.T) {
	p := Program{Name: "a", Min: 10, Max: 10}
	list := slots(10, func(i int, s *Slot) {
		if i < 4 {
			run(time.Hour)(i, s)
		}
	})
	o := Observed{Conns: []Conn{{Name: "broker", State: ConnUp, At: now, Back: now.Add(-time.Second), Sharers: 1}}}
	r := Decide(p, o, Memory{}, list, now)
	if up, hold, _ := wants(r); up != 4+2 || hold != 4 || r.Reason.Code != slot.Ramp || !r.Rationed || r.Next.IsZero() {
		t.Errorf("%d up, %d held, %v", up, hold, r.Reason)
	}
	for i := range 4 {
		if r.Decisions[i].Want != slot.Up {
			t.Errorf("slot %d runs and is told %v", i, r.Decisions[i])
		}
	}
	r = Decide(p, o, Memory{}, list, now.Add(4*time.Second))
	if up, _, _ := wants(r); up != 10 || r.Rationed {
		t.Errorf("%d up when the ramp is over", up)
	}
}
