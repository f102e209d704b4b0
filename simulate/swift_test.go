package simulate

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"qsuper/plan"
)

// backends are what a backend may tell beside the number of messages that wait.
var backends = map[string]Work{"sql": {Aged: true}, "redis": {}, "amqp": {Blind: true}}

// at is n messages at one moment.
func at(moment time.Duration, n int) []time.Duration {
	return slices.Repeat([]time.Duration{moment}, n)
}

func TestFirstMessageIsMetAtOnce(t *testing.T) {
	for name, w := range backends {
		w.Mean, w.Exact, w.Startup = time.Second, true, 2*time.Second
		r := Run(Day{Length: 5 * time.Minute, Arrive: at(time.Minute, 1)}, w, 1, time.Hour, maxWait(time.Hour))
		if r.Messages != 1 || r.Max > 4*time.Second || r.Starts != 1 {
			t.Errorf("%s: %d taken after %v, %d starts", name, r.Messages, r.Max, r.Starts)
		}
		if last := r.Number[len(r.Number)-1]; last != 0 {
			t.Errorf("%s: %d instances are left", name, last)
		}
	}
}

// What has been learned from one burst serves the next: it is met with as many as
// it takes, and no message waits for longer than it should.
func TestSecondBurstIsMetInTime(t *testing.T) {
	for name, w := range backends {
		w.Mean, w.Startup = time.Second, 2*time.Second
		d := Day{Length: 20 * time.Minute, Arrive: slices.Concat(at(time.Minute, 600), at(10*time.Minute, 600))}
		r := Run(d, w, 1, time.Minute, maxWait(time.Minute))
		if r.Messages != 1200 || r.Max > 90*time.Second {
			t.Errorf("%s: %d taken, the last after %v", name, r.Messages, r.Max)
		} else if second := slices.Max(r.Waits[600:]); second > 65*time.Second {
			t.Errorf("%s: the last of the second burst waits for %v", name, second)
		}
	}
}

// Messages that take longer than they may wait get an instance each.
func TestSlowMessages(t *testing.T) {
	for name, w := range backends {
		w.Mean, w.Exact, w.Startup = 10*time.Minute, true, 2*time.Second
		r := Run(Day{Length: 30 * time.Minute, Arrive: at(time.Minute, 16)}, w, 1, 2*time.Minute, maxWait(2*time.Minute))
		if r.Messages != 16 || r.Max > 3*time.Minute || r.Most > 16 {
			t.Errorf("%s: %d taken, the last after %v, %d at once", name, r.Messages, r.Max, r.Most)
		}
	}
}

// A load that does not change does not move the number to and fro.
func TestSteadyLoadIsCalm(t *testing.T) {
	for name, w := range backends {
		for seed, rate := range []float64{0.7, 3.3, 9.5, 14.2} {
			w.Mean, w.Startup, w.Life = time.Second, 2*time.Second, 10*time.Minute
			arrive := Poisson(rand.New(rand.NewPCG(uint64(seed), 2)), 0, 2*time.Hour, Steady(rate))
			r := Run(Day{Length: 2 * time.Hour, Arrive: arrive}, w, uint64(seed), time.Minute, maxWait(time.Minute))
			if n := r.Turns(30 * time.Minute); n > 20 || r.Late > 0.01 {
				t.Errorf("seed %d, %s, %.1f messages a second: turned %d times in 90 minutes, %.1f %% late", seed, name, rate, n, 100*r.Late)
			}
			if ideal := time.Duration(rate * float64(2*time.Hour)); r.InstanceTime > ideal*3/2+2*time.Hour {
				t.Errorf("seed %d, %s, %.1f messages a second: %v of instances for %v of work", seed, name, rate, r.InstanceTime, ideal)
			}
		}
	}
}

// Where only one message can be worked on at a time the number stays small, and
// nothing is lost by it.
func TestAddingThatDoesNotHelpStops(t *testing.T) {
	for name, w := range backends {
		w.Mean, w.Startup, w.Life, w.Room = 100*time.Millisecond, time.Second, 2*time.Minute, 1
		o := maxWait(30 * time.Second)
		limited := 0
		o.Trace = func(r plan.Result) {
			if r.Memory.Pace.Ceiling.N > 0 && limited == 0 {
				limited = r.Memory.Pace.Ceiling.N
			}
		}
		r := Run(Day{Length: 10 * time.Minute, Arrive: at(time.Minute, 3000)}, w, 1, 30*time.Second, o)
		if limited == 0 || limited > 3 || r.Most > 6 {
			t.Errorf("%s: limited to %d, %d at once of %d", name, limited, r.Most, o.Program.Max)
		}
		if r.Messages != 3000 || r.Max > 330*time.Second {
			t.Errorf("%s: %d of 3000 taken, the last after %v", name, r.Messages, r.Max)
		}
	}
}

// Where nothing stands in their way more are found to help, whatever the backend
// tells, and the limit of an hour ago does not last.
func TestCeilingIsLifted(t *testing.T) {
	for name, w := range backends {
		w.Mean, w.Startup, w.Life = time.Second, time.Second, 2*time.Minute
		o := maxWait(time.Minute)
		o.Program.Max = 16
		f, rule := NewFleet(w, 1), Rule(o)
		f.Room = 1
		for f.Now < 3*time.Hour {
			if f.Now%time.Minute == 0 {
				f.Publish(slices.Repeat([]time.Duration{f.Now}, 90)...)
			}
			if f.Now == time.Hour { // the database has been mended
				f.Room = 0
			}
			f.Advance(f.Now + time.Second)
			rule.Look(f)
		}
		if r := f.Reading(); r.Ready > 90 {
			t.Errorf("%s: %d messages wait two hours after, target %d, %+v", name, r.Ready, len(f.Crew()), o.memory.Pace.Ceiling)
		}
	}
}
