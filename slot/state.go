package slot

import "time"

// Phase is what a slot is doing now.
type Phase uint8

// The phases. The process exists from Spawning (perhaps) to the end of Killing.
const (
	Waiting  Phase = iota // nothing runs; it may start when wanted and due
	Checking              // asking for a start permit
	Spawning              // exec requested
	Running               // the process lives
	Draining              // asked to finish; its grace runs
	Killing               // killed; waiting for the kernel to say so
	Halted                // nothing runs, and nothing starts until asked
)

// Phases names them as status prints them.
var Phases = [...]string{"waiting", "checking", "spawning", "running", "draining", "killing", "halted"}

// String returns the name that status prints.
func (p Phase) String() string { return Phases[p] }

// Alive says whether a process may exist in this phase.
func (p Phase) Alive() bool { return p >= Spawning && p <= Killing }

// Want is what the planner wishes for a slot, apart from what is.
type Want uint8

// The wishes. Hold leaves a running process alone and starts nothing.
const (
	Down Want = iota // drain what runs, start nothing
	Hold             // leave what runs, start nothing
	Up               // run
)

// String returns the word that explain prints.
func (w Want) String() string { return [...]string{"down", "hold", "up"}[w] }

// State is everything known about one slot; it is what status shows. There is
// one deadline: the moment this phase changes by itself (zero: never).
type State struct {
	Phase    Phase
	Want     Want
	Wish     Reason    // why the planner wants what it wants
	Reason   Reason    // why the slot is in this phase
	Run      uint64    // number of the latest attempt; answers carry it
	PID      int       // 0 unless a process is known
	Adopted  bool      // the process was started by an earlier engine
	Since    time.Time // start of the phase
	Started  time.Time // start of the process
	Deadline time.Time
	Failures int       // crashes in a row
	Quick    int       // quick clean exits in a row
	Asked    time.Time // when the stop under way began
	Again    Reason    // not empty: finish and come back
	Now      bool      // the grace was given up
	Final    bool      // Halted until a person or a new configuration asks
	Last     ExitRecord
}

// ExitRecord is how the latest process ended. Run 0 means there was none.
type ExitRecord struct {
	Run    uint64
	Code   int    // -1: a signal ended it, or nothing is known
	Signal int    // 0: none
	Class  Class  // see Class
	Step   string // step of a stop that ended it: "", "signal", "kill"
	Cause  Code   // why it had been asked to end, if it had
	At     time.Time
	Ran    time.Duration
	Took   time.Duration // from being asked to end until it had ended
	Note   string        // what code and signal do not say, e.g. "no such file: /srv/app/php"
}

// Class sorts exits by what follows from them.
type Class string

// The exit classes.
const (
	ClassClean         Class = "clean"
	ClassEmpty         Class = "empty"
	ClassRecycled      Class = "recycled"
	ClassStopped       Class = "stopped"
	ClassCrashed       Class = "crashed"
	ClassOOM           Class = "oom"
	ClassTimeout       Class = "timeout" // of a job that ran for too long
	ClassMisconfigured Class = "misconfigured"
	ClassPermanent     Class = "permanent"
	ClassUnknown       Class = "unknown"
	ClassFenced        Class = "fenced"
	ClassElsewhere     Class = "elsewhere" // of a fire that another host has
)

// Failed says whether a class counts as a failure.
func (c Class) Failed() bool {
	return c == ClassCrashed || c == ClassOOM || c == ClassMisconfigured || c == ClassTimeout
}

// Policy is what the configuration says about one slot. It is plain data.
type Policy struct {
	Key        string // "orders/0": seeds the jitter, so that it is spread yet reproducible
	Restart    Restart
	Clean      []int
	EmptyCodes []int
	Permanent  []int

	Initial    time.Duration
	Factor     float64
	Max        time.Duration
	Jitter     float64 // 0..1
	ResetAfter time.Duration
	MinUptime  time.Duration // 0: quick clean exits are never paced

	TimeLimit time.Duration // 0: none
	Timeout   time.Duration // instead of TimeLimit: the run has failed; 0: none
	Spread    float64       // 0..1: share of TimeLimit by which instances differ
	Grace     time.Duration // for display: the keeper enforces it
}

// Restart says what follows an exit that nobody asked for.
type Restart uint8

// The restart policies.
const (
	Always     Restart = iota
	Unexpected         // after failures only
	Never
)
