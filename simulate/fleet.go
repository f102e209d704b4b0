// Package simulate plays a queue with those who work on it, on a clock of its own:
// pure, and the same for the same seed. What says how many run is a Rule: the
// planner of qsuper itself, or what others have published.
package simulate

import (
	"math/rand/v2"
	"time"

	"qsuper/health"
)

// Work is what the instances do.
type Work struct {
	Mean    time.Duration // of one message, when nobody stands in the way
	Exact   bool          // each takes the mean; else they are spread exponentially
	Startup time.Duration // from the start of an instance until it can take a message
	Life    time.Duration // an instance ends after this long, between two messages; 0: never
	Room    int           // more messages in work than this slow each other down, as a database or a lock does; 0: any number

	Blind bool // the backend tells nothing but what waits
	Aged  bool // it tells the age of the oldest
}

// Fleet is a queue with its instances. Moments count from its beginning.
type Fleet struct {
	Work
	Now  time.Duration
	Down bool // the backend is away: nobody takes a message, and nobody can say how many there are

	crew    []*Instance
	waiting []time.Duration // when those in the queue came, the oldest first
	waits   []time.Duration // of all that were taken, without the time in which the backend was away
	outages []Outage
	minutes time.Duration // instance-time
	started int
	most    int
	rng     *rand.Rand
}

// Instance is one process.
type Instance struct {
	Began  time.Duration
	Free   time.Duration // when it can take the next message
	Busy   bool          // it has one until Free
	Finish bool          // it is to end
	Gone   bool          // it has ended
}

// NewFleet is an empty queue with nobody at work.
func NewFleet(w Work, seed uint64) *Fleet {
	return &Fleet{Work: w, rng: rand.New(rand.NewPCG(seed, seed))}
}

// Start starts an instance.
func (f *Fleet) Start() *Instance {
	i := &Instance{Began: f.Now, Free: f.Now + f.Startup}
	f.crew = append(f.crew, i)
	f.started++
	return i
}

// Crew lists the instances there are, the oldest first.
func (f *Fleet) Crew() []*Instance { return f.crew }

// Publish puts messages into the queue, which came at these moments.
func (f *Fleet) Publish(at ...time.Duration) { f.waiting = append(f.waiting, at...) }

// Reading is what a probe sees now.
func (f *Fleet) Reading() health.Reading {
	r := health.Reading{State: health.OK, Ready: int64(len(f.waiting)), InFlight: 0, Delayed: health.NotKnown, Oldest: health.NotKnown, Consumers: health.NotKnown}
	if f.Down {
		return health.Reading{State: health.Unknown, Err: "connection refused"}
	}
	for _, i := range f.crew {
		if i.Busy {
			r.InFlight++
		}
	}
	if f.Blind {
		r.InFlight = health.NotKnown
	}
	if f.Aged {
		r.Oldest = 0
		if len(f.waiting) > 0 {
			r.Oldest = f.Now - f.waiting[0]
		}
	}
	return r
}

// Advance lets time pass until `to`.
func (f *Fleet) Advance(to time.Duration) {
	for len(f.waiting) > 0 && !f.Down {
		i := f.next(to)
		if i == nil {
			break
		}
		at := max(i.Free, f.waiting[0], f.Now)
		if at >= to {
			break
		}
		f.waits = append(f.waits, at-f.waiting[0]-away(f.outages, f.waiting[0], at))
		f.waiting = f.waiting[1:]
		i.Free, i.Busy = at+f.takes(at), true
	}
	f.minutes += time.Duration(len(f.crew)) * (to - f.Now)
	f.Now = to
	f.settle()
	f.most = max(f.most, len(f.crew))
}

// away is how much of a time the backend was away.
func away(outages []Outage, from, to time.Duration) time.Duration {
	var d time.Duration
	for _, o := range outages {
		d += max(0, min(to, o.To)-max(from, o.From))
	}
	return d
}

// next is who takes the first message in line; nil: nobody before `to`.
func (f *Fleet) next(to time.Duration) *Instance {
	var first *Instance
	for _, i := range f.crew {
		over := i.Finish || f.Life > 0 && i.Free-i.Began >= f.Life
		if !over && i.Free < to && (first == nil || i.Free < first.Free) {
			first = i
		}
	}
	return first
}

// takes is how long a message takes that is begun at a moment.
func (f *Fleet) takes(at time.Duration) time.Duration {
	d := float64(f.Mean)
	if !f.Exact {
		d *= f.rng.ExpFloat64()
	}
	busy := 1
	for _, i := range f.crew {
		if i.Busy && i.Free > at {
			busy++
		}
	}
	if f.Room > 0 && busy > f.Room {
		d *= float64(busy) / float64(f.Room)
	}
	return max(time.Duration(d), time.Millisecond)
}

// settle has those end who are done.
func (f *Fleet) settle() {
	kept := f.crew[:0]
	for _, i := range f.crew {
		if i.Free <= f.Now && i.Busy {
			i.Busy = false
		}
		if !i.Busy && (i.Finish || f.Life > 0 && f.Now-i.Began >= f.Life) {
			i.Gone = true
			continue
		}
		kept = append(kept, i)
	}
	clear(f.crew[len(kept):])
	f.crew = kept
}
