package slot

import "time"

// lockRetry spaces the tries for a slot that somebody else holds; hostRetry
// those for a host that is out of processes or memory.
const (
	lockRetry = 2 * time.Second
	hostRetry = time.Second
)

// Step is the life of a slot: it takes what happened and returns the new state
// and what is to be done now. It is total (any event in any state is legal),
// makes at most one transition, and drops answers of another run. After a step
// whose deadline is already due, the owner calls it again with Tick.
func Step(p Policy, s State, now time.Time, ev Event) (State, Effect) {
	if stale(s, ev) {
		return s, None
	}
	s = note(s, ev)
	switch s.Phase {
	case Waiting:
		return waiting(p, s, now, ev)
	case Checking:
		return checking(s, now, ev)
	case Spawning:
		return spawning(p, s, now, ev)
	case Running:
		return running(p, s, now, ev)
	case Draining:
		return draining(p, s, now, ev)
	case Killing:
		return killing(p, s, now, ev)
	default:
		return halted(p, s, now, ev)
	}
}

// stale reports answers to an earlier run: they die here, in one place.
func stale(s State, ev Event) bool {
	switch e := ev.(type) {
	case Opened:
		return e.Run != s.Run || s.Phase != Checking
	case Closed:
		return e.Run != s.Run || s.Phase != Checking
	case Spawned:
		return e.Run != s.Run || s.Phase != Spawning
	case SpawnFailed:
		return e.Run != s.Run || s.Phase != Spawning
	case Killed:
		return e.Run != s.Run || s.Phase != Draining
	case Fenced:
		return e.Run != s.Run || s.Phase != Running
	case Exited:
		return e.Run != s.Run || !s.Phase.Alive()
	case Adopt, Succeeded:
		return s.Phase != Waiting && s.Phase != Halted
	}
	return false
}

// note turns commands into facts; the phase then decides on the facts.
func note(s State, ev Event) State {
	switch e := ev.(type) {
	case Wish:
		s.Want, s.Wish = e.Want, e.Reason
	case Finish:
		if s.Phase == Running || s.Phase == Spawning {
			s.Again = e.Reason
		}
	case Retry:
		s.Failures, s.Quick, s.Final = 0, 0, false
		if s.Phase == Waiting {
			s.Deadline = time.Time{}
		}
	case Unlocked:
		if s.Phase == Waiting && (s.Reason.Code == Elsewhere || s.Reason.Code == HoldOff || s.Reason.Code == LockStore) {
			s.Deadline = time.Time{}
		}
	case KillNow:
		if s.Phase.Alive() {
			s.Now = true
			if e.Reason.Code != "" {
				s.Again = e.Reason
			}
		}
	}
	return s
}

// enter is the only way into a phase.
func enter(s State, to Phase, now time.Time, why Reason) State {
	s.Phase, s.Since, s.Reason = to, now, why
	s.Deadline = time.Time{}
	if !to.Alive() {
		s.PID, s.Started, s.Asked, s.Adopted, s.Again, s.Now = 0, time.Time{}, time.Time{}, false, Reason{}, false
	} else if s.Asked.IsZero() && (to == Draining || to == Killing) {
		s.Asked = now
	}
	if to == Waiting {
		s.Deadline = now // look again at once; a delay is set by who has one
	}
	return s
}

func due(s State, now time.Time) bool {
	return !s.Deadline.IsZero() && !now.Before(s.Deadline)
}

func waiting(p Policy, s State, now time.Time, ev Event) (State, Effect) {
	if e, ok := ev.(Adopt); ok {
		return adopt(p, s, now, e)
	}
	if e, ok := ev.(Succeeded); ok {
		return succeeded(s, now, e)
	}
	switch {
	case s.Want == Down:
		return enter(s, Halted, now, s.Wish), None
	case !s.Deadline.IsZero() && !due(s, now):
		return s, None // backoff, pacing or a retry: its reason stands
	case s.Want == Hold:
		// The wait is over but nobody wants it up: the planner's reason is the true one now.
		s.Deadline, s.Reason = time.Time{}, s.Wish
		return s, None
	}
	s.Run++
	return enter(s, Checking, now, s.Wish), Check
}

func checking(s State, now time.Time, ev Event) (State, Effect) {
	switch e := ev.(type) {
	case Opened:
		if s.Want != Up {
			return enter(s, Waiting, now, s.Wish), Release
		}
		return enter(s, Spawning, now, s.Wish), Spawn
	case Closed:
		s = enter(s, Waiting, now, e.Reason)
		s.Deadline = e.Retry
	}
	return s, None
}

func spawning(p Policy, s State, now time.Time, ev Event) (State, Effect) {
	switch e := ev.(type) {
	case Spawned:
		s = enter(s, Running, now, Reason{Code: Started})
		s.PID, s.Started = e.PID, now
		s.Deadline = limitAt(p, s)
		if s.Want == Down || s.Again.Code != "" || s.Now {
			s.Deadline = now
		}
	case SpawnFailed:
		return spawnFailed(p, s, now, e), Release
	case Exited: // the two answers may be one: it was gone before anybody looked
		return exited(p, s, now, e.Exit)
	}
	return s, None
}

func spawnFailed(p Policy, s State, now time.Time, e SpawnFailed) State {
	switch e.Kind {
	case FailLocked:
		s = enter(s, Waiting, now, Reason{Locked, e.Reason})
		s.Deadline = now.Add(lockRetry)
	case FailHost:
		s = enter(s, Waiting, now, Reason{Host, e.Reason})
		s.Deadline = now.Add(hostRetry)
	default:
		s, _ = exited(p, s, now, ExitInfo{Code: -1, At: now, ExecError: e.Reason})
	}
	return s
}

func running(p Policy, s State, now time.Time, ev Event) (State, Effect) {
	switch e := ev.(type) {
	case Exited:
		return exited(p, s, now, e.Exit)
	case Fenced:
		return drain(p, s, now, Reason{Code: LeaseLost}), None
	}
	switch {
	case s.Now && s.Again.Code == LeaseLost:
		return enter(s, Killing, now, s.Again), Kill
	case s.Now && s.Want == Down:
		return enter(s, Killing, now, s.Wish), Kill
	case s.Now:
		return enter(s, Killing, now, s.Again), Kill
	case s.Want == Down:
		return drain(p, s, now, s.Wish), Stop
	case s.Again.Code != "":
		return drain(p, s, now, s.Again), Stop
	case due(s, now) && p.Timeout > 0:
		return drain(p, s, now, Reason{Timeout, "timeout " + p.Timeout.String() + " reached"}), Stop
	case due(s, now):
		s.Again = Reason{TimeLimit, "time_limit " + p.TimeLimit.String() + " reached"}
		return drain(p, s, now, s.Again), Stop
	}
	return s, None
}

// drain shows when the grace ends; the keeper is who enforces it, so nothing
// here kills when that moment passes.
func drain(p Policy, s State, now time.Time, why Reason) State {
	s = enter(s, Draining, now, why)
	s.Deadline = now.Add(p.Grace)
	return s
}

func draining(p Policy, s State, now time.Time, ev Event) (State, Effect) {
	switch e := ev.(type) {
	case Exited:
		return exited(p, s, now, e.Exit)
	case Killed:
		return enter(s, Killing, now, s.Reason), None
	}
	if s.Now {
		why := s.Reason
		if s.Again.Code == MemoryHard || s.Again.Code == LeaseLost {
			why = s.Again // a limit of its own, whatever it was draining for
		}
		return enter(s, Killing, now, why), Kill
	}
	return s, None
}

func killing(p Policy, s State, now time.Time, ev Event) (State, Effect) {
	if e, ok := ev.(Exited); ok {
		return exited(p, s, now, e.Exit)
	}
	return s, None
}

func halted(p Policy, s State, now time.Time, ev Event) (State, Effect) {
	if e, ok := ev.(Adopt); ok {
		return adopt(p, s, now, e)
	}
	if e, ok := ev.(Succeeded); ok {
		return succeeded(s, now, e)
	}
	switch {
	case s.Final:
		return s, None
	case s.Want == Down:
		s.Reason = s.Wish
		return s, None
	}
	return enter(s, Waiting, now, s.Wish), None
}

// succeeded follows a start that nobody here has asked for just now. If it is no
// longer wanted it ends as soon as it runs.
func succeeded(s State, now time.Time, e Succeeded) (State, Effect) {
	s.Run, s.Final = e.Run, false
	return enter(s, Spawning, now, s.Wish), None
}

// adopt takes over a process of an earlier engine, with the step of its stop.
func adopt(p Policy, s State, now time.Time, e Adopt) (State, Effect) {
	s.Run = e.Run
	why := s.Reason
	if e.Why.Code != "" {
		why = e.Why
	}
	switch e.Step {
	case "kill":
		s = enter(s, Killing, now, why)
	case "signal", "idle":
		s = enter(s, Draining, now, why)
	default:
		s = enter(s, Running, now, Reason{Code: Started, Text: "adopted"})
	}
	s.PID, s.Started, s.Adopted, s.Final = e.PID, e.Started, true, false
	if s.Phase == Running {
		s.Since, s.Deadline = e.Started, limitAt(p, s)
	}
	return s, None
}

// limitAt is when time_limit ends this run: up to Spread of it earlier, so that
// instances started together do not recycle together.
func limitAt(p Policy, s State) time.Time {
	if p.Timeout > 0 {
		return s.Started.Add(p.Timeout)
	}
	if p.TimeLimit <= 0 {
		return time.Time{}
	}
	early := time.Duration(float64(p.TimeLimit) * p.Spread * share(p.Key, s.Run))
	return s.Started.Add(p.TimeLimit - early)
}
