package faults

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/test/rig"
)

// Cases that set the clock, in a machine of their own.
var clockFaults = []fault{
	{name: "F071_ClockIsSet", score: 12, kind: slow, run: inMachine("F071_ClockIsSet", clockIsSet)},
	{name: "F072_LeapSecondAndSlew", score: 9, kind: slow, run: inMachine("F072_LeapSecondAndSlew", leapAndSlew)},
}

// clockFleet is a fleet in which all is going on that could be thought to have to do
// with the time of day: long runs with a limit, a pause after each crash, a stop with
// a grace, and two jobs.
type clockFleet struct {
	*fleet
	busy string // the processes that nothing must touch
}

const clockPause = 2 * time.Second // of those that crash

func newClockFleet(t *testing.T) *clockFleet {
	f := newFleet(t)
	f.Write(f.file("",
		crew("busy", "lines 5", "instances: 3", "time_limit: 12h"),
		crew("crash", "life 50ms code 3", "instances: 2", "backoff: {initial: 2s, max: 2s, jitter: 0%, reset_after: 1h}"),
		crew("deaf", "ignore", "stop: {grace: 3s}")) +
		"jobs:\n  minute: {schedule: '* * * * *', timezone: UTC, dir: " + f.Dir + ", shell: 'echo $QSUPER_FIRE >> minute'}\n" +
		"  noon: {schedule: '0 12 * * *', timezone: UTC, dir: " + f.Dir + ", shell: 'echo $QSUPER_FIRE >> noon'}\n")
	f.Start()
	f.UntilRunning("busy", 3)
	f.UntilRunning("deaf", 1)
	f.begun(7)
	return &clockFleet{fleet: f, busy: fmt.Sprint(f.Consumer("busy").PIDs())}
}

// around does something to the clock in the middle of a stop, of pauses and of work,
// and looks that nothing comes of it.
func (f *clockFleet) around(what string, change func()) {
	t := f.T
	t.Helper()
	deaf := watch(t, f.Consumer("deaf").PIDs()[0])
	asked := now()
	f.Must("stop", "deaf", "--no-wait")
	eventually(t, rig.Patience, "it has been asked", func() bool {
		c := f.Consumer("deaf")
		return len(c.Slots) == 1 && c.Slots[0].Phase == "draining"
	})
	change()
	f.alive()
	f.notBefore(deaf, asked, 3*time.Second)
	if late := time.Duration(deaf.at.Load()) - asked - 3*time.Second; late > 20*time.Second {
		t.Errorf("%s: O4 grace: it ended %s late", what, late)
	}
	f.Must("start", "deaf")
	f.UntilRunning("deaf", 1)
	// The pauses are as long as ever, neither left out nor for ever.
	before, from := f.crashes(), now()
	eventually(t, rig.Patience, what+": those that crash come back", func() bool { return f.crashes() >= before+6 })
	if most := 2 + 2*float64(now()-from)/float64(clockPause); float64(f.crashes()-before) > most {
		t.Errorf("%s: O10 rate: %d starts in %s, at most %.0f are allowed", what, f.crashes()-before, now()-from, most)
	}
	if pids := fmt.Sprint(f.Consumer("busy").PIDs()); pids != f.busy {
		t.Errorf("%s: O5 fleet: it was %s and is %s", what, f.busy, pids)
	}
}

func (f *clockFleet) crashes() (n int) {
	for _, r := range f.journal.begins(f.T) {
		if r.Slot == "crash/0" || r.Slot == "crash/1" {
			n++
		}
	}
	return n
}

// fires are those of a job that have run, each once.
func (f *clockFleet) fires(job string) []string {
	f.T.Helper()
	list := f.ran(job)
	seen := map[string]bool{}
	for _, at := range list {
		if seen[at] {
			f.T.Errorf("%s ran twice for %s", job, at)
		}
		seen[at] = true
	}
	return list
}

func (f *clockFleet) finish() {
	f.T.Helper()
	f.truth()
	r := f.Run("stop")
	if r.Code != 5 { // the deaf one
		f.T.Errorf("stop: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	eventually(f.T, rig.Patience, "the keeper ends", f.Over)
	f.noLeftovers()
	f.noOverlap()
	f.linesWhole(false)
}

func setClock(t *testing.T, to time.Time) {
	t.Helper()
	ts := unix.NsecToTimespec(to.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		t.Fatalf("set the clock: %v", err)
	}
}

func clockIsSet(t *testing.T) {
	setClock(t, time.Date(2026, 11, 20, 11, 30, 30, 0, time.UTC))
	f := newClockFleet(t)
	step := func(by time.Duration) func() { return func() { setClock(t, time.Now().Round(0).Add(by)) } }
	for _, s := range []struct {
		what        string
		by          time.Duration
		noon, least int // fires of noon after it in all; of minute at least
	}{
		{"ten minutes on", 10 * time.Minute, 0, 1},      // 11:40: those it has jumped over are one
		{"an hour on", time.Hour, 1, 2},                 // over noon: it is made up for, once
		{"an hour back", -time.Hour, 1, 2},              // noon comes again, and nothing runs
		{"a year on", 365 * 24 * time.Hour, 1, 2},       // too far to make up for anything
		{"two years back", -730 * 24 * time.Hour, 1, 2}, // nothing is repeated
		{"a year on again", 365 * 24 * time.Hour, 1, 2},
	} {
		f.around(s.what, step(s.by))
		if n := len(f.fires("noon")); n != s.noon {
			t.Errorf("%s: noon has run %d times, expected %d: %v", s.what, n, s.noon, f.fires("noon"))
		}
		if n := len(f.fires("minute")); n < s.least {
			t.Errorf("%s: minute has run %d times only", s.what, n)
		}
	}
	before := len(f.fires("minute"))
	eventually(t, 2*rig.Patience, "jobs come as ever", func() bool { return len(f.fires("minute")) > before })
	f.finish()
}

func leapAndSlew(t *testing.T) {
	setClock(t, time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)) // a host without a battery, before it has asked anybody
	f := newClockFleet(t)
	f.around("the first answer of a time server", func() { setClock(t, time.Date(2026, 12, 31, 23, 59, 50, 0, time.UTC)) })
	if n := len(f.fires("noon")); n > 1 {
		t.Errorf("noon has run %d times for years that nobody has seen", n)
	}
	adjust := func(what string, tx unix.Timex) func() {
		return func() {
			if _, err := unix.Adjtimex(&tx); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	const adjStatus, adjTick, staIns = 0x0010, 0x4000, 0x0010
	setClock(t, time.Date(2026, 12, 31, 23, 59, 57, 0, time.UTC))
	f.around("a leap second", adjust("leap second", unix.Timex{Modes: adjStatus, Status: staIns}))
	adjust("leap second over", unix.Timex{Modes: adjStatus})()
	f.around("a clock that is too fast", adjust("slew", unix.Timex{Modes: adjTick, Tick: 11000}))
	f.around("a clock that is too slow", adjust("slew", unix.Timex{Modes: adjTick, Tick: 9000}))
	f.fires("minute")
	f.finish()
}
