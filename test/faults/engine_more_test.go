package faults

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"qsuper/test/rig"
)

var engineMoreFaults = []fault{
	{name: "F001_EngineKilledWhileStarting", score: 20, run: engineKilledWhileStarting},
	{name: "F001_ExitsWhileTheEngineIsDead", score: 20, run: exitsUnseenByEngine},
	{name: "F001_EngineThatCannotLive", score: 20, run: engineCannotLive},
	{name: "F008_StopWhileTheEngineIsStopped", score: 20, kind: slow, run: stopWithoutEngine},
	{name: "F005_EngineHangsAndIsReplaced", score: 20, kind: slow, run: engineHangs},
	{name: "F066_KeeperStoppedAndContinued", score: 15, run: keeperStopped},
}

// An engine that stands still is noticed by the keeper itself and replaced. No
// consumer notices.
func engineHangs(t *testing.T) {
	const n = 6
	f := startFleet(t, talkers(n))
	f.begun(n)
	f.UntilRunning("talk", n)
	before := f.pids()
	hung := f.alive().Daemon.EnginePID
	born := startTime(hung)
	if err := syscall.Kill(hung, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*rig.Patience, "it is gone", func() bool { return startTime(hung) != born })
	f.samePIDs(before)
	if st := f.alive(); st.Daemon.EnginePID == hung {
		t.Errorf("%+v", st.Daemon)
	}
	f.logged("after the new engine")
	f.quiesce(0)
	f.linesWhole(false)
}

// killNow kills the engine and waits for nothing.
func (f *fleet) killNow() {
	f.T.Helper()
	if st, ok := f.Status(); ok {
		kill(f.T, st.Daemon.EnginePID)
	}
}

// An engine that dies between asking for a start and hearing of it.
func engineKilledWhileStarting(t *testing.T) {
	const n = 60
	f := newFleet(t)
	f.Write(f.file("  start_rate: 0\n", crew("talk", "lines 5", fmt.Sprintf("instances: %d", n))))
	f.Start()
	for range 5 {
		f.Must("stop-workers", "talk")
		f.killNow()
		eventually(t, rig.Patience, "an engine answers", func() bool { _, ok := f.Status(); return ok })
	}
	f.UntilRunning("talk", n)
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}

// Exits that no engine was there for are told to the next one, with their codes.
func exitsUnseenByEngine(t *testing.T) {
	const n = 8
	f := newFleet(t)
	f.Write(f.file("", crew("talk", "lines 20 until "+f.Path("gone")+" 42", fmt.Sprintf("instances: %d", n), "backoff: {initial: 1h, max: 1h}")))
	f.Start()
	f.begun(n)
	f.UntilRunning("talk", n)
	engine := f.alive().Daemon.EnginePID
	if err := syscall.Kill(engine, syscall.SIGSTOP); err != nil { // dead to the world, and no successor yet
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Path("gone"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, rig.Patience, "all have ended", func() bool { return len(f.processes()) == 0 })
	kill(t, engine)
	eventually(t, rig.Patience, "the next engine tells how they ended", func() bool {
		c := f.Consumer("talk")
		told := 0
		for _, s := range c.Slots {
			if s.LastExit != nil && s.LastExit.Code == 42 && s.LastExit.Class == "crashed" && s.Failures == 1 {
				told++
			}
		}
		return told == n
	})
	f.quiesce(0)
	f.linesWhole(false)
}

// SIGTERM with an engine that hangs: the keeper stops all by itself, with grace.
func stopWithoutEngine(t *testing.T) {
	f := startFleet(t, crew("busy", "lines 20 finish 1s parting 5", "instances: 4", "stop: {grace: 60s}"))
	f.begun(4)
	f.UntilRunning("busy", 4)
	engine := f.alive().Daemon.EnginePID
	if err := syscall.Kill(engine, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := f.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, rig.Patience, "the keeper ends", f.Over)
	if n := len(f.journal.of(t, "end")); n != 4 {
		t.Errorf("%d ended by themselves, expected 4", n)
	}
	if startTime(engine) != "" {
		t.Errorf("the engine, pid %d, is left behind", engine)
	}
	f.noLeftovers()
	f.linesWhole(false)
}

// A keeper that stands still, as in a suspended container: its consumers wait at
// most for their pipes, and all goes on after it.
func keeperStopped(t *testing.T) {
	f := startFleet(t, talkers(8), crew("brief", "lines 10 life 300ms", "instances: 2"))
	f.begun(10)
	f.UntilRunning("talk", 8)
	talk := fmt.Sprint(f.Consumer("talk").PIDs())
	if err := f.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Cmd.Process.Signal(syscall.SIGCONT) })
	ticks := len(f.journal.of(t, "tick"))
	eventually(t, rig.Patience, "consumers go on", func() bool { return len(f.journal.of(t, "tick")) > ticks+8*20 })
	if err := f.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	f.begun(len(f.journal.begins(t)) + 4)
	if now := fmt.Sprint(f.UntilRunning("talk", 8).PIDs()); now != talk {
		t.Errorf("O5 fleet: it was %s and is %s", talk, now)
	}
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}

// An engine that dies again and again is not "no daemon": who asks is told that
// consumers go on, and when the next one is tried.
func engineCannotLive(t *testing.T) {
	f := startFleet(t, talkers(3))
	f.begun(3)
	before := f.pids()
	d := f.alive().Daemon
	if err := os.Mkdir(f.Path("state/intents.json"), 0o700); err != nil { // it must read this
		t.Fatal(err)
	}
	kill(t, d.EnginePID)
	var said string
	eventually(t, rig.Patience, "status tells of it", func() bool {
		r := f.Run("status")
		said = r.Stderr
		return r.Code == 4 && strings.Contains(said, "times in a row") && strings.Contains(said, "next try in")
	})
	if !strings.Contains(said, fmt.Sprintf("the daemon lives (keeper pid %d), and so do its consumers", d.KeeperPID)) {
		t.Errorf("status says %q", said)
	}
	if err := os.Remove(f.Path("state/intents.json")); err != nil {
		t.Fatal(err)
	}
	eventually(t, rig.Patience, "it answers", func() bool { _, ok := f.Status(); return ok })
	if _, err := os.Stat(f.Path("state/engine-crashes.json")); err == nil {
		t.Error("the record of crashes is still there")
	}
	f.samePIDs(before)
	f.quiesce(0)
	f.linesWhole(false)
}
