// Package keeper is the tiny parent of every consumer: it starts, watches,
// stops and reaps them, holds their slot locks and their output, and restarts
// the engine. It knows no configuration, no broker and no network, so that
// little can go wrong in the one process whose death would matter.
//
// Keeper and engine talk over one inherited socketpair. A frame is a four-byte
// big-endian length of what follows, one byte of type, and a JSON body. Frames
// longer than MaxFrame end the connection. The keeper remembers everything the
// engine needs to go on after a crash: running slots, exits nobody has
// acknowledged yet, stops in progress with their remaining grace, and one
// opaque memo a slot.
package keeper

import "time"

// Version is the version of the protocol; it changes when an older peer could
// misread a frame.
const Version = 6

// MaxFrame bounds one frame, in bytes.
const MaxFrame = 1 << 20

// MaxMemo bounds the opaque memo that the engine may leave with a slot, in bytes.
const MaxMemo = 8 << 10

// Spec is all it takes to start one process. The engine resolves it; the
// keeper looks nothing up.
type Spec struct {
	Path   string   `json:"path"` // executable: absolute, or relative to Dir
	Argv   []string `json:"argv"` // Argv[0] included
	Env    []string `json:"env"`  // what the slots of a consumer have in common
	Own    []string `json:"own"`  // what is this slot's own; the keeper adds QSUPER_RUN_ID
	Dir    string   `json:"dir"`
	Cred   *Cred    `json:"cred,omitempty"`   // nil: the keeper's own
	Umask  *uint32  `json:"umask,omitempty"`  // nil: inherited
	NoFile *uint64  `json:"nofile,omitempty"` // soft RLIMIT_NOFILE, raised to the hard limit at most; nil: inherited
	Nice   *int     `json:"nice,omitempty"`   // -20..19; nil: inherited
	Lock   string   `json:"lock"`             // slot lock file
	FIFO   string   `json:"fifo"`             // output of the slot; "" = /dev/null
	Log    Log      `json:"log"`
	Stop   Stop     `json:"stop"`
	NoNew  bool     `json:"no_new_privs,omitempty"` // nothing it executes gains privileges, see prctl(2)
	Limits Limits   `json:"limits,omitzero"`        // of all that it starts together
	Tag    string   `json:"tag"`                    // names what the process is made from, for SlotInfo; up to 64 bytes without white space
}

// Limits are what a run may use at most, where it has a cgroup and that the
// controllers; 0 = no limit.
type Limits struct {
	PIDs   int   `json:"pids,omitempty"`   // processes and threads
	Memory int64 `json:"memory,omitempty"` // bytes
	CPU    int   `json:"cpu,omitempty"`    // weight, 1..10000
}

// Cred is who the process runs as.
type Cred struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups"`
}

// Log says where the output of a slot goes.
type Log struct {
	To       string `json:"to"` // file | stdout | both | none
	Path     string `json:"path"`
	MaxSize  int64  `json:"max_size"` // bytes; 0 = no rotation
	Keep     int    `json:"keep"`
	Compress bool   `json:"compress"`
	Prefix   string `json:"prefix"` // none | time | json
	Consumer string `json:"consumer"`
	Slot     int    `json:"slot"`
}

// Stop is the ladder of a graceful stop: Command (if any), Signal to Scope and
// CONT after it, Grace, SIGKILL to the group.
type Stop struct {
	Command []string      `json:"command,omitempty"`
	Signal  int           `json:"signal"`
	Scope   string        `json:"scope"` // process | group | tree: all that belongs to the run
	Grace   time.Duration `json:"grace"`

	// Hold leaves the signal out: the grace runs, and the engine looks for a moment
	// at which the process holds no message (StopRequest.Idle).
	Hold bool `json:"hold,omitempty"`

	// Why is the engine's own: it is told back with the slot and with the exit, to an
	// engine that was not there to ask. "" leaves what was said before.
	Why string `json:"why,omitempty"`
}

// Again is a standing order: when the run ends by itself with one of Codes after
// MinRan or more, and leaves nothing behind, the keeper starts the next one with
// the same specification and the number after it. That saves a replacement the
// way to the engine and back. The engine gives it only while nothing it knows
// would keep it from starting the successor itself, and it dies with the engine.
type Again struct {
	Codes  []int         `json:"codes"`
	MinRan time.Duration `json:"min_ran"`
}

// OnceTag begins the Tag of what must not be started a second time: the next
// keeper lists its run even when it ended while no keeper was there. Its line is
// written before the process is started, too, with no pid.
const OnceTag = "once:"

// Notify has the keeper tell the service manager something, see sd_notify(3): the
// service manager listens to no other process of the service, as consumers are some.
type Notify struct {
	State string `json:"state"`
}

// Lease is this host's right to run an exclusive slot that several hosts share. The
// keeper ends the process before it runs out, whatever the engine does.
type Lease struct {
	Token uint64        `json:"token"` // of the grant
	Until time.Duration `json:"until"` // CLOCK_BOOTTIME: nothing may run any more
	Fence time.Duration `json:"fence"` // grace of a stop for want of it
}

// Kinds of StartFailed.
const (
	KindLocked      = "locked"      // somebody else holds the slot
	KindExec        = "exec"        // the program cannot be run
	KindHost        = "host"        // no memory, descriptors or processes, or the state dir cannot be written
	KindBusy        = "busy"        // the slot runs another
	KindLease       = "lease"       // the lease is about to run out
	KindTerminating = "terminating" // everything is being stopped
)

// Steps of the ladder.
const (
	StepNone   = ""
	StepSignal = "signal" // the stop command or the signal is having its effect
	StepIdle   = "idle"   // ended at a moment when it held no message
	StepKill   = "kill"   // the grace is over: SIGKILL, again every few seconds
)

// Engine to keeper.
type (
	// StartRequest asks for one process in a slot. A slot that is taken answers
	// StartFailed with kind "busy". It acknowledges the exit of an earlier run.
	StartRequest struct {
		Slot string `json:"slot"` // "orders/0"
		Run  uint64 `json:"run"`
		Spec Spec   `json:"spec"`
		Memo []byte `json:"memo,omitempty"` // replaces the slot's memo

		Again *Again `json:"again,omitempty"` // what may follow; nil: the engine decides
		Lease *Lease `json:"lease,omitempty"` // nil: the slot is this host's own
	}

	// ExtendRequest says until when leases are sure now. It does not bring back what
	// is being ended already, and is ignored where the token is another.
	ExtendRequest struct {
		Until  time.Duration     `json:"until"`  // CLOCK_BOOTTIME
		Tokens map[string]uint64 `json:"tokens"` // by slot
	}

	// AgainRequest replaces the standing order of a run; nil withdraws it. It is
	// ignored when that run has ended already: Exited.Next tells what became of it.
	AgainRequest struct {
		Slot  string `json:"slot"`
		Run   uint64 `json:"run"`
		Again *Again `json:"again,omitempty"`
	}

	// AdoptRequest says what a process is that an earlier keeper has started: how
	// to stop it and where its output goes. It is ignored when it has ended.
	AdoptRequest struct {
		Slot string `json:"slot"`
		Run  uint64 `json:"run"`
		Spec Spec   `json:"spec"`
		Memo []byte `json:"memo,omitempty"`
	}

	// StopRequest begins the ladder. A second one for the same run never
	// lengthens or restarts the grace; Now goes to SIGKILL at once. It takes back a
	// standing order.
	StopRequest struct {
		Slot string `json:"slot"`
		Run  uint64 `json:"run"`
		Stop Stop   `json:"stop"`
		Now  bool   `json:"now,omitempty"`
		Idle bool   `json:"idle,omitempty"` // it stands still and holds no message: end it so
	}

	// FreezeRequest lets the processes of a run stand still, which Frozen answers,
	// or go on. They go on by themselves after 40 s, and when the engine is gone.
	FreezeRequest struct {
		Slot string `json:"slot"`
		Run  uint64 `json:"run"`
		On   bool   `json:"on"`
	}

	// AckRequest says that the exit of a run has been dealt with; the keeper
	// forgets it and keeps the memo.
	AckRequest struct {
		Slot string `json:"slot"`
		Run  uint64 `json:"run"`
		Memo []byte `json:"memo,omitempty"`
	}

	// DropRequest says that a slot no longer exists: FIFO and memo go, and an exit
	// that was not acknowledged. The lock file stays: a lock file that is unlinked
	// while somebody opens it lets two hold "the" lock. The request is ignored
	// while something runs in the slot.
	DropRequest struct {
		Slot string `json:"slot"`
	}

	// LogRequest changes where the output of a slot goes, without a restart.
	LogRequest struct {
		Slot string `json:"slot"`
		Log  Log    `json:"log"`
	}

	// QuitRequest ends the keeper once nothing runs any more; what still runs
	// goes through its ladder first.
	QuitRequest struct {
		Code int `json:"code"` // exit status of `qsuper run`
	}
)

// Keeper to engine.
type (
	// Hello is the first frame of both sides.
	Hello struct {
		Version     int       `json:"version"`
		PID         int       `json:"pid"`
		StartedAt   time.Time `json:"started_at"`
		Engines     int       `json:"engines"`     // how many engines there have been, this one included
		Terminating bool      `json:"terminating"` // a stop of the whole had begun
		Contained   string    `json:"contained"`   // ByCgroup, or BySession with the reason
	}

	// SlotInfo is one slot in answer to List, followed by ListEnd.
	SlotInfo struct {
		Slot      string        `json:"slot"`
		Run       uint64        `json:"run"` // that runs, else that of Exit
		PID       int           `json:"pid"` // 0: nothing runs
		StartedAt time.Time     `json:"started_at"`
		Stopping  string        `json:"stopping"`       // step of the ladder under way
		Remaining time.Duration `json:"remaining"`      // of the grace
		Why       string        `json:"why,omitempty"`  // Stop.Why
		Adopted   bool          `json:"adopted"`        // an earlier keeper has started it, or its output waits: AdoptRequest is to follow
		Tag       string        `json:"tag,omitempty"`  // Spec.Tag of what runs
		Leftovers int           `json:"leftovers"`      // the process is gone, and so many of its group still hold the slot
		Exit      *Exited       `json:"exit,omitempty"` // not acknowledged yet
		Memo      []byte        `json:"memo,omitempty"`
		Log       LogState      `json:"log"`
		Lease     *Lease        `json:"lease,omitempty"`  // of what runs
		Missed    string        `json:"missed,omitempty"` // see Started
	}

	// LogState says whether output is being kept.
	LogState struct {
		Dropped  int64     `json:"dropped"`        // bytes lost since the keeper started
		Degraded string    `json:"degraded"`       // why nothing can be written now; "" = all is well
		Since    time.Time `json:"since,omitzero"` // since when it is degraded
	}

	// Started follows a successful exec.
	Started struct {
		Slot string    `json:"slot"`
		Run  uint64    `json:"run"`
		PID  int       `json:"pid"`
		At   time.Time `json:"at"`
		Pipe bool      `json:"pipe,omitempty"` // what it prints goes through the slot's pipe

		Missed string `json:"missed,omitempty"` // which of Spec.Limits do not hold, and why; "" = all do
	}

	// StartFailed means that nothing runs.
	StartFailed struct {
		Slot string `json:"slot"`
		Run  uint64 `json:"run"`
		Kind string `json:"kind"` // one of the Kind constants
		Err  string `json:"err"`
		By   string `json:"by,omitempty"` // locked: who holds it, e.g. "pid 812 (php bin/console)"
	}

	// Stopping tells of a step of the ladder that the engine has not just asked
	// for: the kill, and, with Leftovers, the end of what a process that exited by
	// itself has left behind.
	Stopping struct {
		Slot      string        `json:"slot"`
		Run       uint64        `json:"run"`
		Step      string        `json:"step"`
		Remaining time.Duration `json:"remaining"`
		Leftovers int           `json:"leftovers,omitempty"`
		Fenced    bool          `json:"fenced,omitempty"` // because the lease runs out
	}

	// Frozen says that the processes of a run stand still, or that they do not.
	Frozen struct {
		Slot string `json:"slot"`
		Run  uint64 `json:"run"`
		PIDs []int  `json:"pids"`
		Err  string `json:"err,omitempty"` // why they do not; they have gone on
	}

	// Exited is sent when the process and everything in its group are gone.
	Exited struct {
		Slot      string        `json:"slot"`
		Run       uint64        `json:"run"`
		PID       int           `json:"pid"`
		Code      int           `json:"code"`   // -1 when a signal ended it or nothing is known
		Signal    int           `json:"signal"` // 0: none
		Core      bool          `json:"core,omitempty"`
		Step      string        `json:"step"` // ladder step that ended it, or what it left behind
		At        time.Time     `json:"at"`   // when the process itself exited
		Ran       time.Duration `json:"ran"`
		CPU       time.Duration `json:"cpu"`                  // user + system
		MaxRSS    int64         `json:"max_rss"`              // bytes, of the main process and its waited-for children
		Leftovers int           `json:"leftovers,omitempty"`  // processes of its group that had to be ended after it
		ExecError string        `json:"exec_error,omitempty"` // it never became the program: why
		Held      bool          `json:"held,omitempty"`       // killed because no safe point came within the grace (Stop.Hold)
		OOM       bool          `json:"oom,omitempty"`        // the kernel killed it, or one of its own, for want of memory
		Fenced    bool          `json:"fenced,omitempty"`     // it was ended because the lease ran out
		Why       string        `json:"why,omitempty"`        // Stop.Why
		Next      uint64        `json:"next,omitempty"`       // run that is being started in its place by a standing order; Started or StartFailed follows
	}

	// Terminate is a signal to the whole: TERM or INT once, Now at the second.
	Terminate struct {
		Now bool      `json:"now"`
		At  time.Time `json:"at,omitzero"` // with Now: since when the keeper kills, and says so
	}

	// Reload is a SIGHUP to the keeper.
	Reload struct{}

	// ListEnd follows the last SlotInfo.
	ListEnd struct{}
)
