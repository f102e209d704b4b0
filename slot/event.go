package slot

import "time"

// Event is something that happened to a slot. The set is closed.
type Event interface{ event() }

type (
	// Tick means that time has passed; Step looks at the deadline.
	Tick struct{}

	// Wish is the planner's latest decision.
	Wish struct {
		Want   Want
		Reason Reason
	}

	// Finish asks a running process to finish and come back through the gates.
	Finish struct{ Reason Reason }

	// Retry is a person's wish to forget failures and try at once. It also ends
	// a Final halt.
	Retry struct{}

	// KillNow gives up the rest of the grace. In Running it kills at once.
	KillNow struct{ Reason Reason }

	// Unlocked says that what a slot waits for may be there: its lock.
	Unlocked struct{}

	// Fenced says that the keeper has asked the process to end, because this host's
	// lease on the slot runs out.
	Fenced struct{ Run uint64 }

	// Opened answers Check: a permit is held.
	Opened struct{ Run uint64 }

	// Closed answers Check: no permit; try again at Retry.
	Closed struct {
		Run    uint64
		Reason Reason
		Retry  time.Time
	}

	// Spawned answers Spawn.
	Spawned struct {
		Run uint64
		PID int
	}

	// Succeeded says that the keeper is starting the next process by itself, as it
	// had been told to. It is answered like Spawn, and the permit is taken.
	Succeeded struct{ Run uint64 }

	// SpawnFailed answers Spawn: nothing runs.
	SpawnFailed struct {
		Run    uint64
		Kind   SpawnFailure
		Reason string
	}

	// Killed says that the grace is over and the keeper has begun to kill.
	Killed struct{ Run uint64 }

	// Exited says that the process and its group are gone.
	Exited struct {
		Run  uint64
		Exit ExitInfo
	}

	// Adopt takes over a process that an earlier engine had started.
	Adopt struct {
		Run     uint64
		PID     int
		Started time.Time
		Step    string // step of a stop under way, or that ended it: "", "signal", "kill", "idle"
		Why     Reason // of that stop; no code: not known
	}
)

// SpawnFailure sorts failures to start.
type SpawnFailure uint8

// The kinds of failure to start.
const (
	FailExec   SpawnFailure = iota // the program cannot be run: backoff
	FailLocked                     // somebody else holds the slot: ask again soon
	FailHost                       // the host is out of something: ask again soon
)

// ExitInfo is what is known of an exit, before it is classified.
type ExitInfo struct {
	Code      int
	Signal    int
	Unknown   bool   // adopted, and nobody saw the status
	Step      string // step of a stop that ended it
	At        time.Time
	Ran       time.Duration
	Work      Work
	ExecError string // it never became the program
	Fenced    bool   // ended because the lease ran out
	OOM       bool   // the kernel killed it, or one of its own, for want of memory
	Held      bool   // killed because no safe point came within the grace
}

// Work says what the queue tells about a run: did it do anything?
type Work uint8

// The answers. Without a queue nobody can say.
const (
	WorkUnknown Work = iota
	WorkDone         // the depth fell, or nothing speaks against it yet
	WorkNone         // runs came and went, and the depth did not fall
)

func (Tick) event()        {}
func (Wish) event()        {}
func (Finish) event()      {}
func (Retry) event()       {}
func (KillNow) event()     {}
func (Opened) event()      {}
func (Unlocked) event()    {}
func (Fenced) event()      {}
func (Closed) event()      {}
func (Spawned) event()     {}
func (SpawnFailed) event() {}
func (Succeeded) event()   {}
func (Killed) event()      {}
func (Exited) event()      {}
func (Adopt) event()       {}

// Effect is what the owner of a slot has to do after a step. Every Check is
// answered exactly once by Opened or Closed, every Spawn by Spawned or
// SpawnFailed, every Stop and Kill in the end by Exited.
type Effect uint8

// The effects.
const (
	None    Effect = iota
	Check          // ask for a start permit
	Spawn          // start the process
	Stop           // begin the graceful ladder
	Kill           // kill now
	Release        // give the permit back
)

// String names the effect.
func (e Effect) String() string {
	return [...]string{"none", "check", "spawn", "stop", "kill", "release"}[e]
}
