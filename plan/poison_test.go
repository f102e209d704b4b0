package plan

import (
	"testing"
	"time"

	"qsuper/health"
	"qsuper/slot"
)

func TestPoisonHint(t *testing.T) {
	const at = 2100 * time.Millisecond
	same := []time.Duration{at, at + 90*time.Millisecond, at - 50*time.Millisecond, at, at}
	still := []int64{812, 812, 812, 812, 812, 812}
	const hint = "dies after 2.1 s each time while 812 messages stand still: one message may be poison"
	tests := []struct {
		name  string
		ran   []time.Duration
		ready []int64 // at each death, and now
		blind bool    // what is in flight is not known
		want  string
	}{
		{"poison", same, still, false, hint},
		{"four are no pattern", same[:4], still[:5], false, ""},
		{"other ages", []time.Duration{at, 3 * at, at / 2, at, 5 * at}, still, false, ""},
		{"dead at once: no message was taken", []time.Duration{5, 5, 5, 5, 5}, still, false, ""},
		{"the others get on", same, []int64{812, 811, 811, 810, 809, 808}, false, ""},
		{"progress before the last look", same, []int64{812, 812, 812, 812, 812, 700}, false, ""},
		{"publishers go on", same, []int64{812, 815, 830, 840, 850, 900}, false, "dies after 2.1 s each time while 900 messages wait and get no fewer: one message may be poison"},
		{"one is in flight, unseen", same, []int64{812, 811, 812, 811, 812, 811}, true, "dies after 2.1 s each time while 811 messages stand still: one message may be poison"},
		{"nothing waits any more", same, []int64{0, 0, 0, 0, 0, 0}, false, ""},
		{"nobody measures", same, []int64{-1, -1, -1, -1, -1, -1}, false, ""},
	}
	for _, tt := range tests {
		p := Program{Name: "a", Min: 2, Max: 2}
		look := func(ready int64) *Depth {
			d := depth(ready, 0)
			if tt.blind {
				d.InFlight = health.NotKnown
			}
			if ready < 0 {
				d.State = health.Unknown
			}
			return d
		}
		m, r := Memory{}, Result{}
		for i, ran := range tt.ran {
			m.Died(ran, look(tt.ready[i]))
			m = Decide(p, Observed{Queue: look(tt.ready[i])}, m, slots(2, nil), now).Memory
		}
		sick := slots(2, func(_ int, s *Slot) { s.Want, s.Reason.Code, s.Failures = slot.Up, slot.Backoff, 5 })
		r = Decide(p, Observed{Queue: look(tt.ready[len(tt.ran)])}, m, sick, now)
		if r.Hint != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, r.Hint, tt.want)
		}
		if s := Summarize(p, r, sick, now); tt.want != "" && s.Reason.Text != slot.Backoff.Sentence()+"; "+tt.want {
			t.Errorf("%s: the summary says %q", tt.name, s.Reason.Text)
		}
	}
}
