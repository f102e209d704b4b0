package faults

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/test/rig"
)

var exitFaults = []fault{
	{name: "F037_CrashesAtOnceForEver", score: 15, run: crashesForEver},
	{name: "F038_ExitsCleanlyAtOnce", score: 15, run: exitsCleanly},
	{name: "F095_EachSignal", score: 8, kind: slow, run: eachSignal},
	{name: "F032_FewDescriptors", score: 12, run: fewDescriptors},
	{name: "F055_ProgramMissing", score: 12, run: programMissing},
	{name: "F076_TooMuchMemory", score: 12, run: tooMuchMemory},
}

// backedOff bounds starts by the pauses there must have been between them, after
// so many free ones.
func (f *fleet) backedOff(slots, free int, initial, most time.Duration, jitter float64, since time.Duration) {
	f.T.Helper()
	elapsed, at, allowed := now()-since, time.Duration(0), free
	for pause := initial; at <= elapsed; pause = min(2*pause, most) {
		at += time.Duration(float64(pause) * (1 - jitter))
		allowed++
	}
	if n := len(f.journal.begins(f.T)); n > allowed*slots {
		f.T.Errorf("O10 rate: %d starts in %s, at most %d are allowed", n, elapsed.Round(time.Millisecond), allowed*slots)
	}
}

func crashesForEver(t *testing.T) {
	since := now()
	f := startFleet(t, crew("crash", "say here-is-no-shop life 1ms code 7", "instances: 5", "backoff: {initial: 100ms, factor: 2, max: 800ms, jitter: 50%}"))
	f.begun(5 * 6)
	f.backedOff(5, 1, 100*time.Millisecond, 800*time.Millisecond, 0.5, since)
	if r := f.Run("status"); r.Code != 3 {
		t.Errorf("status of a crash loop: exit %d, expected 3", r.Code)
	}
	var why rig.Explain
	f.JSON(&why, "explain", "crash")
	if len(why.Exits) != 10 {
		t.Errorf("explain tells of %d exits, expected ten", len(why.Exits))
	}
	for _, e := range why.Exits {
		if e.Class != "crashed" || e.Code != 7 {
			t.Errorf("exit: %+v", e)
		}
	}
	// It never gives up: the last state is not an end.
	n := len(f.journal.begins(t))
	f.begun(n + 5)
	f.quiesce(0)
}

// With nothing that says how much waits, a consumer that ends cleanly at once
// has done no work.
func exitsCleanly(t *testing.T) {
	since := now()
	f := startFleet(t, crew("spin", "life 1ms", "instances: 4", "backoff: {initial: 200ms, max: 1s, jitter: 0%}"))
	f.begun(4 * 5)
	f.backedOff(4, 2, 200*time.Millisecond, time.Second, 0, since) // the first quick exit is free
	c := f.Consumer("spin")
	if c.Crashes != 0 || c.Slots[0].LastExit == nil || c.Slots[0].LastExit.Class != "clean" {
		t.Errorf("status: %+v", c)
	}
	f.quiesce(0)
}

func eachSignal(t *testing.T) {
	var list []string
	for sig := 1; sig <= 64; sig++ {
		s := unix.Signal(sig)
		switch s {
		case unix.SIGKILL, unix.SIGSEGV, unix.SIGBUS, unix.SIGABRT, unix.SIGTERM, unix.SIGINT, unix.SIGHUP:
			list = append(list, crew(fmt.Sprint("sig", sig), fmt.Sprint("raise ", sig), "limits: {nofile: 64}", "backoff: {initial: 1h, max: 1h}"))
		}
	}
	f := startFleet(t, list...)
	for sig := 1; sig <= 64; sig++ {
		name := unix.SignalName(unix.Signal(sig))
		c := f.Consumer(fmt.Sprint("sig", sig))
		if c.Name == "" {
			continue
		}
		eventually(t, rig.Patience, name+" is told", func() bool {
			c = f.Consumer(c.Name)
			return len(c.Slots) == 1 && c.Slots[0].LastExit != nil
		})
		if e := c.Slots[0].LastExit; e.Class != "crashed" || e.Signal == "" && e.Code != 2 {
			t.Errorf("%s: %+v", name, e)
		}
	}
	f.quiesce(0)
}

// A keeper that runs out of descriptors refuses what does not fit, and what runs
// goes on.
func fewDescriptors(t *testing.T) {
	f := startFleet(t, talkers(4), crew("more", "lines 5", "autostart: false", "instances: 50"))
	f.begun(4)
	f.UntilRunning("talk", 4)
	before := f.journal.begins(t)
	keeper := f.Cmd.Process.Pid
	var old unix.Rlimit
	if err := unix.Prlimit(keeper, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	few := unix.Rlimit{Cur: uint64(usageOf(keeper).fds + 40), Max: old.Max}
	if err := unix.Prlimit(keeper, unix.RLIMIT_NOFILE, &few, nil); err != nil {
		t.Fatal(err)
	}
	f.Run("start", "more", "--no-wait")
	f.begun(6) // some fit
	eventually(t, rig.Patience, "status says what is wrong", func() bool {
		c := f.Consumer("more")
		for _, s := range c.Slots {
			if s.PID == 0 && s.Reason != "" {
				return true
			}
		}
		return false
	})
	f.alive()
	for _, r := range before {
		if startTime(r.PID) == "" {
			t.Errorf("O5 fleet: %s pid %d is gone", r.Slot, r.PID)
		}
	}
	if err := unix.Prlimit(keeper, unix.RLIMIT_NOFILE, &old, nil); err != nil {
		t.Fatal(err)
	}
	f.UntilRunning("more", 50)
	f.truth()
	f.quiesce(0)
	f.linesWhole(true) // with no descriptor for a log file a line says how much is missing
}

func programMissing(t *testing.T) {
	f := newFleet(t)
	program := f.Path("program")
	if err := os.Symlink("/bin/sleep", program); err != nil {
		t.Fatal(err)
	}
	f.Write(f.file("", "  lost:\n    command: ["+program+", \"1000\"]\n    backoff: {initial: 200ms, max: 500ms}\n", talkers(2)))
	f.Start()
	f.UntilRunning("lost", 1)
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	f.Run("restart", "lost", "--timeout", "2s")
	eventually(t, rig.Patience, "status says that the program is missing", func() bool {
		c := f.Consumer("lost")
		return c.Running == 0 && len(c.Slots) == 1 && c.Slots[0].Reason != "" && c.Slots[0].Failures > 1
	})
	if r := f.Run("check"); r.Code != 78 {
		t.Errorf("check: exit %d, expected 78", r.Code)
	}
	if err := os.Symlink("/bin/sleep", program); err != nil {
		t.Fatal(err)
	}
	f.UntilRunning("lost", 1) // by itself
	f.quiesce(0)
}

// memory_hard ends the one that has too much, and nobody else.
func tooMuchMemory(t *testing.T) {
	f := startFleet(t, talkers(2), crew("fat", "memory 300", "memory_hard: 150MiB", "backoff: {initial: 10s}"))
	f.begun(3)
	eventually(t, rig.Patience, "it has been killed for its memory", func() bool {
		c := f.Consumer("fat")
		return len(c.Slots) == 1 && c.Slots[0].LastExit != nil
	})
	if e := f.Consumer("fat").Slots[0].LastExit; e.Class != "oom" {
		t.Errorf("last exit: %+v", e)
	}
	f.quiesce(0)
	f.linesWhole(false)
}
