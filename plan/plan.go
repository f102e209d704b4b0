// Package plan decides which slots of a consumer should run, and why not. It
// is pure: the same file, observations and moment give the same answer, which
// is what status and explain show.
package plan

import (
	"time"

	"qsuper/health"
	"qsuper/slot"
)

// Program is what the file says about one consumer, reduced to what decisions
// need.
type Program struct {
	Name        string
	Min, Max    int           // instances; equal when fixed
	PerInstance int           // messages per instance; 0 when fixed, or with MaxWait
	MaxWait     time.Duration // the longest a due message should wait; 0 when fixed, or with PerInstance
	StepUp      int           // most that the number grows by in StepTime; 0: no limit
	StepDown    int           // most that it shrinks by in a cooldown; 0: no limit
	Cooldown    time.Duration // how long the wish for fewer must last
	OnMessages  bool          // starts only when messages wait
	IdleTimeout time.Duration // 0: idle instances stay
	Queue       string        // "orders on broker", for texts; "" = no queue
	Window      Window        // nil: always
	Stall       time.Duration // how long an instance may do nothing while messages wait; 0: for ever
	Policy      slot.Policy   // what an exit means; Key is the consumer's name
}

// Window is a span of time that opens and closes.
type Window interface {
	Open(now time.Time) bool
	NextChange(now time.Time) time.Time // zero: never
	String() string
}

// Observed is what is known right now; every fact has its moment.
type Observed struct {
	Shutdown bool
	Stopped  string // who stopped it, e.g. "by root"; "" = nobody
	Paused   string // likewise
	Surge    int    // instances beyond those wanted, in slots beyond Max, while others are replaced
	Conns    []Conn // those it requires, in the order of the file
	Queue    *Depth // nil: no queue, or not measured yet
	Budget   Budget
	Fleet    *Fleet // nil: the slots are this host's own
	Signals  []Signal
	Sifted   time.Time // when it was last looked who uses the processor; zero: it has not been
}

// Conn is the state of one connection.
type Conn struct {
	Name    string
	State   ConnState
	Err     string
	Latency time.Duration
	At      time.Time // of the last answer or failure

	Back    time.Time // when it last came up after having been down; zero: it has not
	Turn    int       // place of this consumer among those that need it, from 0
	Sharers int       // how many those are
}

// ConnState says whether a connection answers.
type ConnState string

// The states of a connection. One that nobody has asked yet is unknown.
const (
	ConnUp      ConnState = "up"
	ConnDown    ConnState = "down"
	ConnUnknown ConnState = "unknown"
)

// Depth is a reading with its moment.
type Depth struct {
	health.Reading
	At time.Time
}

// Slot is a slot as the planner sees it.
type Slot struct {
	slot.State
	Stopped string    // who stopped just this slot; "" = nobody
	Quiet   time.Time // since when its processes have used no CPU; zero: not known, or busy
	Lease   Lease     // whose the slot is, when it is shared
	By      string    // LeaseElsewhere: the host

	Foreign  Foreign
	Launched time.Time // when its process was asked for: no later than its start
	Expires  time.Time // when a schedule of restart_on replaces it; zero: never
	Renewing bool      // its process, or the one before it, was asked to finish by restart_on, and no successor has proved stable
}

// Memory is what Decide has to remember from one call to the next.
type Memory struct {
	Target     int       // of the last decision
	FewerSince time.Time // since when fewer would do
	FewerMost  int       // most that were needed since then
	RoseAt     time.Time // when step_up was last used up
	Pace       Pace
	EmptySince time.Time // since when the queue has been empty and nothing in flight
	Breaker    Breaker
	StuckSince time.Time // since when messages have waited and none has gone; zero: they move, or nobody knows
	Stuck      int64     // how many, with those in flight, at the last look
	Blind      bool      // those in flight could not be counted then
	StalledAt  time.Time // when an instance was last asked to finish for it
	Spare      Spare     // slots of other hosts' share that nobody takes
	Deaths     []Death   // the latest crashes without progress between them, oldest first
	Renewal    Renewal
}

// Decision is what is wanted of one slot.
type Decision struct {
	Want   slot.Want
	Reason slot.Reason
}

// Result is a decision about a whole consumer.
type Result struct {
	Target    int         // instances wanted
	Wish      int         // that would be, but for the consumer's share of the budget
	Floor     int         // of these, as many as `min` guarantees
	Decisions []Decision  // one for each slot
	Reason    slot.Reason // why Target is what it is
	Memory    Memory
	Rationed  bool        // only some of those that are wanted may start: nobody may start one unasked
	Able      bool        // nothing but the lock keeps this host from running it
	Deaf      []int       // slots that seem to have gone deaf, the quietest first
	Hint      string      // what crashes may have in common, in words; "" = nothing is known
	Outdated  []int       // slots that are to be asked to finish now, because of restart_on
	Renewed   slot.Reason // why
	Pending   bool        // more are to follow: decide again whenever one has come or gone
	Sift      bool        // it has to be looked first who uses the processor
	Next      time.Time   // decide again then even if nothing changes; zero: no need
	Short     int         // slots that this host lacks of its share, while other hosts have all there are
}

// Decide says what is wanted of each slot. len(slots) may exceed the number of
// instances: the ones beyond are to go.
func Decide(p Program, o Observed, m Memory, slots []Slot, now time.Time) Result {
	r := Result{Memory: m, Decisions: make([]Decision, len(slots))}
	want, reason := shut(p, o, now)
	r.Able = want == slot.Up || reason.Code == slot.LockStore
	r.Memory.EmptySince = emptySince(o, m, now)
	if p.MaxWait > 0 {
		r.Memory.Pace.learn(p, o, slots)
	}
	poison(&r, p, o)
	stuck(&r, p, o, now)
	if p.Window != nil {
		r.Next = p.Window.NextChange(now)
	}
	if o.Fleet != nil {
		r.Next = Sooner(r.Next, o.Fleet.Next)
	}
	if want != slot.Up {
		all(&r, want, reason)
		if want == slot.Hold { // what runs keeps its place
			r.Wish = alive(slots)
		}
	} else {
		share(&r, p, o, slots, now)
	}
	individually(&r, p, o, slots)
	if want == slot.Up {
		foreign(&r, slots)
		ration(&r, p, o, slots, now)
		deaf(&r, p, slots, now)
	}
	outdated(&r, p, o, slots, now)
	return r
}

// shut is what the first gate that is shut demands; Up when none is.
func shut(p Program, o Observed, now time.Time) (slot.Want, slot.Reason) {
	for _, g := range gates {
		v := g.look(p, o, now)
		if v.State != Open && v.State != Skipped && g.want != nil {
			return g.want(p), slot.Reason{Code: v.code, Text: v.Evidence}
		}
	}
	return slot.Up, slot.Reason{Code: slot.OK}
}

// all gives every slot the same answer.
func all(r *Result, want slot.Want, reason slot.Reason) {
	r.Reason = reason
	if want == slot.Down { // what is merely held keeps its number: a blind moment is no wish for fewer
		r.Memory.Target, r.Memory.FewerSince = 0, time.Time{}
	}
	for i := range r.Decisions {
		r.Decisions[i] = Decision{want, reason}
	}
}

func alive(slots []Slot) int {
	n := 0
	for i := range slots {
		if slots[i].Phase.Alive() {
			n++
		}
	}
	return n
}

// individually overrides for slots that do not exist any more, or that a
// person stopped one by one.
func individually(r *Result, p Program, o Observed, slots []Slot) {
	for i := range slots {
		switch {
		case i >= p.Max+o.Surge:
			r.Decisions[i] = Decision{slot.Down, slot.Reason{Code: slot.Surplus, Text: "fewer instances are configured"}}
		case slots[i].Stopped != "":
			r.Decisions[i] = Decision{slot.Down, slot.Reason{Code: slot.Stopped, Text: "stopped " + slots[i].Stopped}}
		}
	}
}

// emptySince follows since when the queue has been known to be empty.
func emptySince(o Observed, m Memory, now time.Time) time.Time {
	q := o.Queue
	if q == nil || q.State != health.OK || q.Ready != 0 || q.InFlight > 0 {
		return time.Time{}
	}
	if m.EmptySince.IsZero() {
		return now
	}
	return m.EmptySince
}
