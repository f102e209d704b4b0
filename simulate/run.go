package simulate

import (
	"slices"
	"time"
)

// Rule says how many run. It is asked once a second, and starts instances and asks
// others to finish.
type Rule interface {
	Look(f *Fleet)
}

// Day is what happens to a queue.
type Day struct {
	Length  time.Duration
	Arrive  []time.Duration // of messages, in order
	Outages []Outage
}

// Outage is a time in which the backend is away.
type Outage struct{ From, To time.Duration }

// Result is how a day went. Time in which the backend was away is not waited.
type Result struct {
	Messages     int // taken
	Left         int // not taken at the end
	Mean, P95    time.Duration
	Max          time.Duration
	Late         float64       // share that waited for longer than was wanted
	InstanceTime time.Duration // of all instances together
	Starts, Most int           // instances started, and at once
	Number       []int         // of instances, each second
	Waits        []time.Duration
}

// Turns counts how often, from a moment on, the number of instances begins to fall
// after it rose, or to rise after it fell.
func (r *Result) Turns(from time.Duration) int {
	n, last := 0, 0
	for i := max(1, int(from.Seconds())); i < len(r.Number); i++ {
		step := r.Number[i] - r.Number[i-1]
		if step != 0 && last != 0 && step > 0 != (last > 0) {
			n++
		}
		if step != 0 {
			last = step
		}
	}
	return n
}

// Run lets a rule govern a day. Messages should not wait for longer than wanted.
func Run(d Day, w Work, seed uint64, wanted time.Duration, rule Rule) Result {
	f, came := NewFleet(w, seed), 0
	f.outages = d.Outages
	var number []int
	for f.Now < d.Length {
		to := f.Now + time.Second
		n := came
		for n < len(d.Arrive) && d.Arrive[n] < to {
			n++
		}
		f.Publish(d.Arrive[came:n]...)
		came = n
		f.Down = slices.ContainsFunc(d.Outages, func(o Outage) bool { return o.From <= f.Now && f.Now < o.To })
		f.Advance(to)
		rule.Look(f)
		number = append(number, len(f.crew))
	}
	return f.result(wanted, number)
}

func (f *Fleet) result(wanted time.Duration, number []int) Result {
	r := Result{Messages: len(f.waits), Left: len(f.waiting), InstanceTime: f.minutes, Starts: f.started, Most: f.most, Number: number, Waits: f.waits}
	if r.Messages == 0 {
		return r
	}
	all := slices.Clone(f.waits)
	slices.Sort(all)
	var sum time.Duration
	late := 0
	for _, w := range all {
		sum += w
		if w > wanted {
			late++
		}
	}
	r.Mean, r.P95, r.Max = sum/time.Duration(len(all)), all[len(all)*95/100], all[len(all)-1]
	r.Late = float64(late) / float64(len(all))
	return r
}
