package plan

import (
	"fmt"
	"math"
	"time"
)

// Trial compares what is done by more instances with what fewer did.
type Trial struct {
	From  Span      // of the fewer; N 0: there is no trial
	Until time.Time // then it is too old to compare
}

// Sweep is what so many instances did in messages a second, counted by Of messages.
type Sweep struct {
	At   time.Time // zero: there is none
	N    int
	Done float64
	Of   int64
}

// fresh is how long a sweep is worth comparing with.
const fresh = 30 * time.Minute

// Ceiling is a number of instances beyond which adding did not help, such as that
// of a database which all of them wait for.
type Ceiling struct {
	N     int // 0: none is known
	Until time.Time
	Pause time.Duration // until it is tried again
	Left  int           // how often more it is waited for those to go that are beyond it
	Firm  bool          // it is beyond doubt
	Why   string
}

// Adding is tried again after a pause that doubles each time it has not helped.
const (
	firstPause   = 30 * time.Second
	longestPause = 30 * time.Minute
)

// helped is the share of its due by which a further instance must have made things
// quicker, and sure how many standard deviations make a difference certain.
const (
	helped = 0.4
	sure   = 2
)

// plenty of messages must have gone before what is done is compared with.
const plenty = 40

// leastSpan is the shortest time that anything is concluded from.
const leastSpan = 2 * time.Second

// judge ends the trial when it is known whether those that were added do more.
// What has gone cannot be seen, only how much less there is: arrivals are taken to
// have been the same, and to come by chance.
func (c *Pace) judge(p Program) {
	t, s := &c.Trial, &c.Span
	if t.From.N == 0 {
		return
	}
	if c.Ready == 0 || c.N < t.From.N {
		*t = Trial{}
		return
	}
	if !c.At.Before(t.Until) {
		if ceil := &c.Ceiling; ceil.Firm { // nothing has shown that it is otherwise by now
			c.limit(p, ceil.N, ceil.Why, true)
		}
		*t = Trial{}
		return
	}
	if s.From.IsZero() || s.N <= t.From.N {
		return
	}
	if s.Took < max(c.patience(p)/2, leastSpan) || t.From.Took < leastSpan { // they may not all be at work
		return
	}
	before, gain, noise := c.compare(&t.From, s)
	if gain < -noise && s.Took < 2*c.patience(p) { // more may have arrived for a moment
		return
	}
	added := s.N - t.From.N
	noise = math.Hypot(noise, helped*c.Vague*float64(added))
	known := c.verdict(p, t.From.N, s.N, before, before+gain, noise)
	if known && c.Ceiling.N == 0 {
		// Less what chance may have added: too quick a rate leaves messages waiting.
		if each := math.Max(gain-noise, gain/2) / float64(added); c.Rate == 0 || each < c.Rate {
			c.Rate, c.Vague = blend(c.Rate, each), noise/float64(added)
		}
	} else if known { // perhaps an instance was never as quick as that
		c.Rate = math.Max(c.Rate/2, gain/float64(added))
	}
	if known {
		*t = Trial{}
	}
}

// sweep compares what the age of the oldest has told of few instances and of more,
// which is right whatever arrives.
func (c *Pace) sweep(p Program, w Sweep) {
	switch few := &c.Few; {
	case few.At.IsZero(), w.N <= few.N, w.At.Sub(few.At) > fresh:
		if c.Many.N <= w.N && few.N > w.N {
			c.Many = *few
		}
		*few = w
	default:
		c.Many = w
	}
	few, many := &c.Few, &c.Many
	if many.At.IsZero() || few.N >= many.N || w.At.Sub(many.At) > fresh || w.At.Before(c.Ceiling.Until) {
		return
	}
	noise := math.Hypot(few.Done/math.Sqrt(float64(few.Of)), many.Done/math.Sqrt(float64(many.Of)))
	if c.verdict(p, few.N, many.N, few.Done, many.Done, noise) {
		*many = Sweep{}
	}
}

// verdict says whether it is known what n2 instances do beside n1, and draws the
// conclusion: done are messages a second.
func (c *Pace) verdict(p Program, n1, n2 int, done1, done2, noise float64) bool {
	due := done1 * float64(n2-n1) / float64(n1)
	short := helped*due - (done2 - done1)
	switch {
	case due <= 0 || math.Abs(short) < sure*noise:
		return false
	case short < 0:
		c.Proven, c.Ceiling = n2, Ceiling{}
		return true
	}
	// As many as would do what is done now, each as quick as the fewer were.
	done2 = math.Max(done2, 0)
	n := min(max(int(math.Ceil(float64(n1)*done2/done1-0.1)), n1), n2-1)
	if c.Ceiling.N > 0 { // nothing has shown that more than that help
		n = min(n, c.Ceiling.N)
	}
	c.limit(p, n, fmt.Sprintf("%d did %s messages a second, %d do %s", n1, figure(done1), n2, figure(done2)), short >= 2*sure*noise)
	return true
}

// compare is what a span has done in messages a second, how much more another one
// did, and how far chance may have moved that.
func (c *Pace) compare(a, b *Span) (before, gain, noise float64) {
	before = math.Max(c.Rate*float64(a.N), -a.slope())
	before = math.Max(before, 1/a.Took.Seconds()) // the next might have gone this moment
	gain = a.slope() - b.slope()
	events := func(s *Span, done float64) float64 { // arrivals and departures
		return math.Max(s.slope()+2*done, 1/s.Took.Seconds()) / s.Took.Seconds()
	}
	return before, gain, math.Sqrt(events(a, before) + events(b, math.Max(before, before+gain)))
}

// limit keeps to n instances for a while.
func (c *Pace) limit(p Program, n int, why string, firm bool) {
	pause := firstPause
	if c.Ceiling.N > 0 {
		pause = min(2*c.Ceiling.Pause, longestPause)
	}
	n, left := max(n, p.Min, 1), 2
	if firm {
		left = 10
	}
	c.Ceiling = Ceiling{N: n, Until: c.At.Add(pause), Pause: pause, Left: left, Firm: firm, Why: why}
	c.Proven = min(c.Proven, n)
}

// patience is how long the effect of more instances is waited for before even more
// are added.
func (c *Pace) patience(p Program) time.Duration {
	return max(p.MaxWait/8, 2*c.Startup, 3*time.Second)
}

// grow bounds the way from `have` instances to more: at once to as many as have
// proved of use, else twice as many when it is known what those do that there are.
// Beyond a ceiling a quarter more are tried, when its pause is over.
func (c *Pace) grow(p Program, have, want int, now time.Time) int {
	ceil, pending, free := &c.Ceiling, c.Trial.From.N > 0, c.Proven
	if ceil.N > 0 {
		free = ceil.N
		if over := !now.Before(ceil.Until); over && c.N > free && !pending && ceil.Left > 0 {
			ceil.Left--
			ceil.Until = now.Add(ceil.Pause)
		}
		if now.Before(ceil.Until) {
			return min(want, free)
		}
	}
	if want <= have || want <= free {
		return want
	}
	s, wait := &c.Span, c.patience(p)
	if ceil.N > 0 {
		wait *= 4
	}
	told := s.N >= have && !pending && s.Took >= wait/2 && s.Took.Seconds()*c.Rate*float64(s.N) >= plenty
	if have > 0 && !told && (ceil.Firm && pending || now.Before(later(c.Raised, c.Settled).Add(wait))) {
		return max(have, min(want, free))
	}
	top := max(2*have, free, 1)
	if ceil.N > 0 {
		from := max(have, free)
		if !pending { // those that have not gone by now are what is to be compared with
			from = max(from, c.N)
		}
		top = from + (from+3)/4
	}
	want = min(want, top)
	if !pending && s.N > 0 && s.Took >= leastSpan {
		c.Trial = Trial{From: *s, Until: now.Add(max(p.MaxWait, 2*time.Minute))}
	}
	c.Raised = now
	return want
}

// figure is a number as texts show it.
func figure(x float64) string {
	if x >= 100 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2g", x)
}
