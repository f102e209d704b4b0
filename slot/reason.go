package slot

// Code is a reason code: the same word in status, explain, events, logs and
// metrics. The list is closed; each code has its sentence in Codes.
type Code string

// Reason is a code with its evidence in plain words.
type Reason struct {
	Code Code
	Text string
}

// The closed list of reason codes. The first group is decided by the planner,
// the second by the life of the slot itself.
const (
	OK          Code = "ok"
	Stopped     Code = "stopped"
	Paused      Code = "paused"
	Window      Code = "window"
	Connection  Code = "connection"
	NoQueue     Code = "queue_missing"
	QueueUnsure Code = "queue_unknown"
	Empty       Code = "empty"
	Idle        Code = "idle"
	Surplus     Code = "surplus"
	Removed     Code = "removed"
	Shutdown    Code = "shutdown"
	Budget      Code = "budget"
	Ramp        Code = "ramp"
	Breaker     Code = "breaker"
	Scheduled   Code = "scheduled"
	Due         Code = "due"
	Overlap     Code = "overlap"
	Replaced    Code = "replaced"
	Missed      Code = "missed"
	Clock       Code = "clock"
	Elsewhere   Code = "elsewhere"
	LockStore   Code = "lock_store"
	ForeignLock Code = "foreign_lock"

	ForeignUnsure Code = "foreign_lock_unknown"

	StartRate   Code = "start_rate"
	Locked      Code = "locked"
	HoldOff     Code = "hold_off"
	LeaseLost   Code = "lease_lost"
	Host        Code = "host"
	Backoff     Code = "backoff"
	Paced       Code = "paced"
	Permanent   Code = "permanent"
	Ended       Code = "ended"
	TimeLimit   Code = "time_limit"
	Timeout     Code = "timeout"
	MemoryLimit Code = "memory_limit"
	MemoryHard  Code = "memory_hard"
	Recycle     Code = "recycle"
	Stall       Code = "stall"
	Changed     Code = "changed"
	RestartOn   Code = "restart_on"
	Started     Code = "started"
	Exit        Code = "exit"
	LogTrouble  Code = "log_trouble"

	LimitsMissed Code = "limits_missed"
	LogKept      Code = "log_kept"
)

// CodeInfo is a reason code and what it means.
type CodeInfo struct {
	Code Code
	Text string
}

// Codes is the closed list with one sentence each, for documentation and for
// texts that have no evidence of their own.
var Codes = []CodeInfo{
	{OK, "wanted, and nothing stands in the way"},
	{Stopped, "stopped by a person"},
	{Paused, "paused by a person"},
	{Window, "outside its active window"},
	{Connection, "a connection it needs does not answer"},
	{NoQueue, "its queue does not exist"},
	{QueueUnsure, "nobody can say how much waits in its queue"},
	{Empty, "no messages wait"},
	{Idle, "the queue has been empty and the instance idle for idle_timeout"},
	{Surplus, "fewer instances are needed"},
	{Removed, "no longer in the file"},
	{Shutdown, "the daemon is stopping"},
	{Budget, "the host's budget is used up"},
	{Ramp, "a connection is back: starts are spread out"},
	{Breaker, "its instances crash together; one is tried before the others"},
	{Scheduled, "waits for its next fire"},
	{Due, "a fire is due"},
	{Overlap, "was due while it still ran"},
	{Replaced, "its next fire takes its place"},
	{Missed, "was due while nobody was there"},
	{Clock, "the clock was set"},
	{Elsewhere, "other hosts run it"},
	{LockStore, "the store of its shared slots does not answer"},
	{ForeignLock, "somebody else has the application's own lock"},
	{ForeignUnsure, "nobody can say who has the application's own lock"},
	{StartRate, "waiting for its turn: starts are spread out"},
	{Locked, "another process holds the slot"},
	{HoldOff, "waiting until no other host can still believe that it has the slot"},
	{LeaseLost, "this host no longer has the slot for sure: another one may run it"},
	{Host, "the host cannot start a process now"},
	{Backoff, "crashed; waiting before the next try"},
	{Paced, "exits cleanly at once without doing work; restarts are spaced out"},
	{Permanent, "exited with a code that means: do not start me again"},
	{Ended, "exited, and `restart` says to leave it so"},
	{TimeLimit, "time_limit reached"},
	{Timeout, "timeout reached"},
	{MemoryLimit, "memory_limit reached"},
	{MemoryHard, "memory_hard exceeded"},
	{Recycle, "asked to finish and come back"},
	{Stall, "messages wait and it does nothing: asked to finish and come back"},
	{Changed, "its configuration changed"},
	{RestartOn, "something in restart_on changed: asked to finish and come back"},
	{Started, "started"},
	{Exit, "exited"},
	{LogTrouble, "its output cannot be written"},
	{LogKept, "its output is written again"},
	{LimitsMissed, "its limits do not hold on this host"},
}

// Sentence returns the sentence of a code, or the code itself if it is not in
// the list.
func (c Code) Sentence() string {
	for _, i := range Codes {
		if i.Code == c {
			return i.Text
		}
	}
	return string(c)
}

// String returns the evidence, or the sentence of the code without any.
func (r Reason) String() string {
	if r.Text != "" {
		return r.Text
	}
	return r.Code.Sentence()
}
