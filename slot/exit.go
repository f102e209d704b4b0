package slot

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// spinning is the number of quick clean exits in a row from which the reason
// says so in as many words.
const spinning = 10

// pacedWithWork bounds the pace while messages wait: publishers as fast as the
// consumer can hide its work from the depth, and must not be starved for it.
const pacedWithWork = 5 * time.Second

// exited records an exit, decides its class and what follows.
func exited(p Policy, s State, now time.Time, e ExitInfo) (State, Effect) {
	asked := s.Phase == Draining || s.Phase == Killing
	cause := s.Reason.Code
	if !asked {
		cause = ""
	}
	class := classify(p, e, asked, cause)
	s.Last = ExitRecord{
		Run: s.Run, Code: e.Code, Signal: e.Signal, Class: class, Step: e.Step,
		Cause: cause, At: e.At, Ran: e.Ran, Note: remark(e, class),
	}
	if asked && !s.Asked.IsZero() {
		s.Last.Took = max(0, now.Sub(s.Asked))
	}
	quick := e.Ran < p.MinUptime
	switch {
	case class.Failed():
		return failed(p, s, now, e), Release
	case class == ClassPermanent:
		return final(s, now, Permanent), Release
	case class == ClassStopped:
		s.Failures, s.Quick = 0, 0
		return enter(s, Waiting, now, Reason{Exit, s.Last.Detail()}), Release
	case class == ClassUnknown && quick:
		return failed(p, s, now, e), Release
	case class == ClassFenced:
		s.Quick = 0
		return enter(s, Waiting, now, Reason{Exit, s.Last.Detail()}), Release
	case p.Restart != Always && class != ClassRecycled && class != ClassUnknown:
		return final(s, now, Ended), Release
	}
	idle := quick && idleRun(class, e)
	if !idle {
		s.Failures = 0 // an end that proves nothing forgives nothing: crashes may alternate with it
	}
	return clean(p, s, now, e, idle), Release
}

// idleRun says whether a quick run has to be taken for one that did no work.
func idleRun(class Class, e ExitInfo) bool {
	return class == ClassEmpty || class == ClassRecycled || e.Work != WorkDone
}

func classify(p Policy, e ExitInfo, asked bool, cause Code) Class {
	switch {
	case e.ExecError != "":
		return ClassMisconfigured
	case asked && cause == MemoryHard, e.OOM:
		return ClassOOM
	case e.Fenced, asked && cause == LeaseLost:
		return ClassFenced
	case asked && cause == Timeout:
		return ClassTimeout
	case asked && comesBack(cause):
		return ClassRecycled
	case asked:
		return ClassStopped
	case e.Unknown:
		return ClassUnknown
	case e.Signal != 0:
		return ClassCrashed
	case slices.Contains(p.Permanent, e.Code):
		return ClassPermanent
	case slices.Contains(p.EmptyCodes, e.Code):
		return ClassEmpty
	case slices.Contains(p.Clean, e.Code):
		return ClassClean
	case e.Code == 126 || e.Code == 127:
		// What shells return for "cannot be run" and "not found".
		return ClassMisconfigured
	}
	return ClassCrashed
}

// comesBack tells the causes after which the slot starts again by itself.
func comesBack(c Code) bool {
	switch c {
	case TimeLimit, MemoryLimit, Recycle, Changed, Stall, RestartOn:
		return true
	}
	return false
}

// failed counts a failure and backs off: exponentially, with jitter, for ever.
// Stable is who has run for longer than the pause before it, and for reset_after.
func failed(p Policy, s State, now time.Time, e ExitInfo) State {
	if e.Ran >= max(p.ResetAfter, time.Second, p.Pause(s.Failures)) {
		s.Failures = 0
	}
	s.Failures++
	s.Quick = 0
	if p.Restart == Never {
		return final(s, now, Ended)
	}
	d := p.Delay(s.Run, s.Failures)
	s = enter(s, Waiting, now, Reason{Backoff, s.Last.Detail() + tries(s.Failures)})
	s.Deadline = now.Add(d)
	return s
}

func tries(n int) string {
	if n < 3 {
		return ""
	}
	return fmt.Sprintf("; %d times in a row", n)
}

// clean follows an exit that is no failure: at once, unless runs keep ending
// at once without doing anything. The first of those is forgiven.
func clean(p Policy, s State, now time.Time, e ExitInfo, idle bool) State {
	if !idle {
		s.Quick = 0
		return enter(s, Waiting, now, Reason{Exit, s.Last.Detail()})
	}
	s.Quick++
	if s.Quick < 2 {
		return enter(s, Waiting, now, Reason{Exit, s.Last.Detail()})
	}
	text := fmt.Sprintf("%s, %d times in a row without work", s.Last.Detail(), s.Quick)
	if s.Quick >= spinning {
		text = "spinning: " + text
	}
	d := p.Delay(s.Run, s.Quick-1)
	if e.Work != WorkUnknown {
		d = min(d, pacedWithWork)
	}
	s = enter(s, Waiting, now, Reason{Paced, text})
	s.Deadline = now.Add(d)
	return s
}

func final(s State, now time.Time, why Code) State {
	s.Final = true
	return enter(s, Halted, now, Reason{why, s.Last.Detail()})
}

// Pause is the wait after n failures in a row, before any jitter:
// initial·factor^(n-1), at most max; 0 for none.
func (p Policy) Pause(n int) time.Duration {
	if n < 1 {
		return 0
	}
	return time.Duration(min(float64(p.Initial)*math.Pow(p.Factor, float64(n-1)), float64(p.Max)))
}

// Delay is Pause less a random part of up to the jitter's share: by a hash of
// Key and try, so that replays agree.
func (p Policy) Delay(try uint64, n int) time.Duration {
	return time.Duration(float64(p.Pause(n)) * (1 - p.Jitter*share(p.Key, try)))
}

// share is a number in [0,1) that differs between slots and runs.
func share(key string, run uint64) float64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	var b [8]byte
	for i := range b {
		b[i] = byte(run >> (8 * i))
	}
	h.Write(b[:])
	// FNV's high bits hardly move for the last bytes: mix before taking them.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}

// Detail puts an exit into words, such as "exit 1 after 3.2s".
func (e ExitRecord) Detail() string {
	var text string
	switch {
	case e.Class == ClassMisconfigured && e.Note != "":
		return e.Note
	case e.Signal != 0:
		text = "killed by " + signalName(e.Signal)
	case e.Code < 0:
		text = "ended, status unknown"
	default:
		text = "exit " + strconv.Itoa(e.Code)
	}
	if e.Note != "" {
		text += ", " + e.Note
	}
	return text + " after " + round(e.Ran).String()
}

// remark is what neither code nor signal tell.
func remark(e ExitInfo, class Class) string {
	switch {
	case e.ExecError != "":
		return e.ExecError
	case e.Held:
		return "no moment without a message came within the grace; one may be cut in half"
	case e.Signal == int(syscall.SIGKILL) && class == ClassCrashed:
		return "not by qsuper (out of memory?)"
	}
	return ""
}

func round(d time.Duration) time.Duration {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond)
	case d < time.Minute:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// signals are those a consumer is likely to die of; syscall.Signal only has
// their descriptions.
var signals = map[int]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
	10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU",
	25: "SIGXFSZ", 31: "SIGSYS",
}

func signalName(n int) string {
	if name, ok := signals[n]; ok {
		return name
	}
	return fmt.Sprintf("signal %d", n)
}

// SignalName returns "SIGTERM" for 15, "" for 0.
func SignalName(n int) string {
	if n == 0 {
		return ""
	}
	return signalName(n)
}
