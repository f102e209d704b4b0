package plan

import (
	"math"
	"time"

	"qsuper/health"
	"qsuper/slot"
)

// Pace is what max_wait has learned of a queue and those who work on it, from the
// readings alone. Arrivals are not seen, so that a fall of the depth tells the
// least that has gone. The zero value knows nothing.
type Pace struct {
	Rate    float64       // messages a second and instance; 0: not known
	Vague   float64       // standard deviation of a rate that was only guessed
	Startup time.Duration // from the start of an instance until it takes a message; 0: not known

	At      time.Time // of the latest reading that was used; zero: nothing is known of the moment before
	N       int       // instances there were then, over all hosts
	Ready   int64     // and messages that waited
	All     int64     // and with those in flight
	Blind   bool      // those in flight could not be counted
	Woken   time.Time // when the first instance was started after there were none, until it takes a message
	Settled time.Time // when those started last will work
	Span    Span
	Head    Head
	Trial   Trial
	Few     Sweep // the fewest instances of late, as far as the age of the oldest has told what they do
	Many    Sweep // and more
	Ceiling Ceiling
	Proven  int       // so many instances did more than fewer
	Raised  time.Time // when more were last asked for than are proven
	Load    float64   // instance-seconds of work since Memory.FewerSince began
	Loaded  time.Duration
}

// Span is a time in which messages waited and the number of instances stood still.
type Span struct {
	From  time.Time // zero: there is none
	N     int
	Ready int64 // at its beginning
	All   int64
	Took  time.Duration // until the latest reading
	Gone  int64         // least number of messages that have gone
	Gross float64       // messages gone a second, where the age of the oldest tells; 0: not known
}

// slope is how quickly everything grows, in messages a second; less than zero: it
// falls.
func (s *Span) slope() float64 { return -float64(s.Gone) / s.Took.Seconds() }

// Head follows who is first in line, where the backend does not tell its age: all
// that wait at To have arrived from From on, and Left of Total are still there.
type Head struct {
	From, To    time.Time
	Total, Left float64
}

// learn takes a new reading.
func (c *Pace) learn(p Program, o Observed, slots []Slot) {
	q := o.Queue
	if q == nil || q.State != health.OK { // nobody knows what has happened meanwhile
		c.At, c.Span, c.Head, c.Woken = time.Time{}, Span{}, Head{}, time.Time{}
		return
	}
	if !q.At.After(c.At) {
		return
	}
	n, began := staff(o, slots)
	all, blind := q.Ready, q.InFlight == health.NotKnown
	if !blind {
		all = satAdd(q.Ready, q.InFlight)
	}
	known, dt := !c.At.IsZero() && blind == c.Blind, q.At.Sub(c.At)
	if known {
		c.wake(q, n, began)
		c.follow(q, all, dt)
		c.Load += float64(atWork(q, n, slots)) * dt.Seconds()
		c.Loaded += dt
	}
	if !known || n > c.N {
		c.Settled = later(c.Settled, q.At.Add(c.Startup))
		if blind { // those who fetch ahead take more at first than they do
			c.Settled = later(c.Settled, q.At.Add(settle))
		}
	}
	burst := known && all-c.All > max(enough, c.All/2)+int64(3*c.Rate*float64(n)*dt.Seconds())
	c.At, c.N, c.Ready, c.All, c.Blind = q.At, n, q.Ready, all, blind
	if burst { // what came at once says nothing of what comes and goes all the time
		c.Span = Span{}
	}
	c.measure(p, q, n)
	c.doubt(p, q)
	c.judge(p)
}

// staff is how many instances there are, over all hosts, and when the first of
// this host's began.
func staff(o Observed, slots []Slot) (n int, began time.Time) {
	for i := range slots {
		s := &slots[i]
		if !s.Phase.Alive() && s.Phase != slot.Checking {
			continue
		}
		n++
		if !s.Started.IsZero() {
			began = Sooner(began, s.Started)
		}
	}
	if o.Fleet != nil {
		n += o.Fleet.Elsewhere
	}
	return n, began
}

// atWork is how many of n instances have a message. Where a backend cannot say,
// those that use processor time, and those of which nothing is known.
func atWork(q *Depth, n int, slots []Slot) int {
	if q.InFlight != health.NotKnown {
		return int(min(q.InFlight, int64(n)))
	}
	for i := range slots {
		if s := &slots[i]; s.Phase == slot.Running && !s.Quiet.IsZero() {
			n--
		}
	}
	return max(n, 0)
}

// wake learns what a start costs: from the first instance that comes when there
// were none, until a message is taken.
func (c *Pace) wake(q *Depth, n int, began time.Time) {
	if c.N == 0 && n > 0 && q.Ready > 0 {
		c.Woken = began
	}
	if c.Woken.IsZero() {
		return
	}
	switch {
	case n == 0 || q.InFlight == health.NotKnown && q.Ready > c.Ready:
		c.Woken = time.Time{} // it is gone, or new messages hide what it takes
	case q.InFlight > 0 || q.Ready < c.Ready:
		took := max(q.At.Sub(c.Woken), time.Millisecond)
		if c.Startup > 0 {
			took = (3*c.Startup + took) / 4
		}
		c.Startup, c.Woken = took, time.Time{}
	}
}

// follow estimates who is first in line.
func (c *Pace) follow(q *Depth, all int64, dt time.Duration) {
	h := &c.Head
	switch {
	case q.Ready == 0:
		*h = Head{}
		return
	case h.To.IsZero():
		*h = Head{q.At, q.At, float64(q.Ready), float64(q.Ready)}
		return
	}
	gone := float64(c.All - all)
	if c.Rate > 0 {
		gone = math.Max(gone, c.rate()*float64(c.N)*dt.Seconds())
	}
	h.Left = math.Min(h.Left-math.Max(gone, 0), float64(q.Ready))
	if h.Left <= 0 {
		*h = Head{h.To, q.At, float64(q.Ready), float64(q.Ready)}
	}
}

// age is how long the first in line has waited, as far as can be said.
func (c *Pace) age(q *Depth, now time.Time) time.Duration {
	since := max(now.Sub(q.At), 0)
	if q.Oldest != health.NotKnown {
		return q.Oldest + since
	}
	h := &c.Head
	if h.To.IsZero() {
		return 0
	}
	passed := 1 - h.Left/h.Total
	came := h.From.Add(time.Duration(passed * float64(h.To.Sub(h.From))))
	return max(now.Sub(came), 0)
}

// measure goes on with the span, or begins another one.
func (c *Pace) measure(p Program, q *Depth, n int) {
	s := &c.Span
	if n == 0 || q.Ready == 0 || n != s.N && abs(n-s.N) > s.N/5 || q.At.Before(c.Settled) {
		*s = Span{}
	}
	if n == 0 || q.Ready == 0 || q.At.Before(c.Settled) {
		return
	}
	if s.From.IsZero() {
		*s = Span{From: q.At, N: n, Ready: c.Ready, All: c.All}
		return
	}
	s.Took, s.Gone = q.At.Sub(s.From), s.All-c.All
	if q.Oldest != health.NotKnown && q.Oldest+rounded < s.Took && s.Ready > 0 {
		gross := s.Gross
		if s.Ready >= enough && s.Took >= 5*rounded { // all that waited at its beginning are gone, and just so
			gross = float64(s.Ready) / s.Took.Seconds()
			c.Rate, c.Vague = blend(c.Rate, gross/float64(s.N)), 0
			if s.Ready >= plenty {
				c.sweep(p, Sweep{At: q.At, N: s.N, Done: gross, Of: s.Ready})
			}
		}
		*s = Span{From: q.At, N: s.N, Ready: c.Ready, All: c.All, Gross: gross}
		return
	}
	if s.Gone >= enough && s.Took >= leastSpan {
		least := float64(s.Gone) / s.Took.Seconds() / float64(s.N)
		if least *= 1 - 1/math.Sqrt(float64(s.Gone)); least > c.Rate { // less what chance may add
			c.Rate, c.Vague = blend(c.Rate, least), 0
		}
	}
}

// rounded is how much older than its age a message may be: some backends know whole
// seconds only.
const rounded = time.Second

// doubt lowers a rate that promises what does not come: messages have waited for
// most of max_wait, and far fewer of them have gone.
func (c *Pace) doubt(p Program, q *Depth) {
	s := &c.Span
	promised := c.Rate * float64(s.N) * s.Took.Seconds()
	if s.Gross > 0 || c.Ceiling.N > 0 || c.Trial.From.N > 0 || s.N >= p.Max { // it is known, or is about to be, or more cannot help
		return
	}
	if promised < 2*enough || float64(s.Gone) > promised/2 || c.age(q, q.At) < p.MaxWait*7/10 {
		return
	}
	c.Rate *= math.Max(0.7, float64(s.Gone)/promised)
	*s = Span{From: q.At, N: s.N, Ready: c.Ready, All: c.All, Gross: s.Gross}
}

// enough messages must have gone before a rate is made of them.
const enough = 10

// blend moves half of the way to what was seen last.
func blend(old, seen float64) float64 {
	if old == 0 {
		return seen
	}
	return (old + seen) / 2
}

// rate is messages a second and instance. As long as nobody knows it is the most
// that would not be a surprise: what has gone, and one more that might this moment.
func (c *Pace) rate() float64 {
	if c.Rate > 0 { // what was only guessed may be less: too quick a rate leaves messages waiting
		return math.Max(c.Rate-c.Vague, c.Rate/4)
	}
	s := &c.Span
	if s.Took <= 0 {
		return 0
	}
	return float64(max(s.Gone, 0)+1) / s.Took.Seconds() / float64(s.N)
}

func abs(n int) int { return max(n, -n) }
