package faults

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"qsuper/test/rig"
)

// Cases of the keeper's own death: the next one adopts what it has started.
var keeperFaults = []fault{
	{name: "F002_KeeperKilledNoSecondCopy", score: 20, run: noSecondCopy},
	{name: "F002_KeeperKilledUnderTalkers", score: 20, run: keeperKilled(50, false)},
	{name: "F002_KeeperAndEngineKilledUnderTalkers", score: 20, run: keeperKilled(50, true)},
	{name: "F002_LastWordsWhileNobodyLives", score: 20, run: lastWords},
	{name: "F002_KeeperKilledAgainAndAgain", score: 20, run: keeperKilledOften},
	{name: "F002_ConsumersEndWhileNobodyWatches", score: 20, run: endUnseen},
	{name: "F002_WaitsOutliveTheKeeper", score: 20, run: waitsOutlive},
	{name: "F002_KeeperKilledDuringStop", score: 20, run: keeperKilledDuringStop},
	{name: "F002_CleanupAfterKeeperAndEngine", score: 20, run: cleanUp},
	{name: "F002_CleanupThatHasToKill", score: 20, run: cleanUpByForce},
	{name: "F139_KeeperKilledUnderPlainShells", score: 12, run: keeperKilledUnderShells},
	{name: "F036_UpgradeOfAThousand", score: 12, kind: slow, run: upgradeOfAThousand},
}

// killKeeper kills the keeper, and the engine with it if asked, and waits until
// they are gone. An engine that is left holds the consumers' pipes for the next.
func (f *fleet) killKeeper(both bool) {
	f.T.Helper()
	st, ok := f.Status()
	if !ok || st.Daemon.KeeperPID != f.Cmd.Process.Pid {
		f.T.Fatalf("keeper_pid is %d, expected %d", st.Daemon.KeeperPID, f.Cmd.Process.Pid)
	}
	kill(f.T, f.Cmd.Process.Pid)
	eventually(f.T, rig.Patience, "the keeper is gone", f.Over)
	if both {
		kill(f.T, st.Daemon.EnginePID)
		eventually(f.T, rig.Patience, "its engine is gone", func() bool { return startTime(st.Daemon.EnginePID) == "" })
	}
}

// upgradeOfAThousand has another binary take over from one that holds as many slots
// as a host may have, fifty of which print all the time.
func upgradeOfAThousand(t *testing.T) {
	const silent, loud = 950, 50
	f := newFleet(t)
	f.Write(f.file("  start_rate: 0\n", talkers(loud),
		fmt.Sprintf("  quiet: {command: [/bin/sleep, '100000'], spawn: always, instances: %d}\n", silent)))
	f.Start()
	list := f.begun(loud)
	f.UntilRunning("talk", loud)
	quiet := f.UntilRunning("quiet", silent).PIDs()
	before := f.pids()
	for range 3 {
		r := f.Must("upgrade")
		t.Logf("upgraded in %v", r.Took)
		f.UntilRunning("talk", loud)
		if now := f.UntilRunning("quiet", silent).PIDs(); !slices.Equal(now, quiet) {
			t.Error("O5 fleet: processes were replaced")
		}
		f.samePIDs(before)
	}
	f.stillThere(list)
	f.logged("after three upgrades")
	if r := f.Run("stop", "quiet", "talk"); r.Code != 0 {
		t.Errorf("stop: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	f.quiesce(0)
	f.linesWhole(false)
	if again := len(f.journal.begins(t)); again != loud {
		t.Errorf("%d starts, expected %d", again, loud)
	}
}

// stillThere checks that all of these are alive, and did not begin later.
func (f *fleet) stillThere(list []record) {
	f.T.Helper()
	for _, r := range list {
		if startTime(r.PID) == "" {
			f.T.Errorf("O5 fleet: %s pid %d is gone", r.Slot, r.PID)
		}
	}
}

// Whatever the next daemon makes of them, consumers of a dead keeper live on and
// nobody is started beside them.
func noSecondCopy(t *testing.T) {
	const n = 10
	f := startFleet(t, talkers(n))
	list := f.begun(n)
	f.killKeeper(true)
	f.stillThere(list)
	r := f.Run("status")
	said := r.Stdout + r.Stderr
	for _, want := range []string{fmt.Sprintf("left %d processes running, and nobody watches: talk (pid ", n), fmt.Sprintf("and %d more)", n-5), `"qsuper cleanup"`, `"qsuper start"`} {
		if r.Code != 4 || !strings.Contains(said, want) {
			t.Errorf("status: exit %d, without %q:\n%s", r.Code, want, said)
		}
	}
	f.Start()
	ticks := len(f.journal.of(t, "tick"))
	eventually(t, rig.Patience, "they go on for a while", func() bool { return len(f.journal.of(t, "tick")) > ticks+n*20 })
	f.stillThere(list)
	if again := len(f.journal.begins(t)); again != n {
		t.Errorf("O1 overlap: %d starts beside the %d that live", again-n, n)
	}
	f.noOverlap()
	f.alive()
}

func keeperKilled(n int, both bool) func(t *testing.T) {
	return func(t *testing.T) {
		f := startFleet(t, talkers(n))
		list := f.begun(n)
		f.UntilRunning("talk", n)
		before := f.pids()
		f.killKeeper(both)
		f.stillThere(list)
		f.Start()
		f.UntilRunning("talk", n)
		f.samePIDs(before)
		for _, s := range f.Consumer("talk").Slots {
			if !s.Adopted {
				t.Errorf("talk/%d is not said to be adopted: %+v", s.Slot, s)
			}
		}
		f.truth()
		f.logged("after the new keeper")
		f.KillEngine() // adopted twice over
		f.samePIDs(before)
		f.stopAdopted(n)
		f.quiesce(0)
		f.linesWhole(false)
		if again := len(f.journal.begins(t)); again != n {
			t.Errorf("%d starts, expected %d", again, n)
		}
	}
}

// stopAdopted stops the talkers, of whose exits no keeper can be told: each ends
// by itself, is counted, and its code is not made up.
func (f *fleet) stopAdopted(n int) {
	f.T.Helper()
	var reply rig.Reply
	if r := f.JSON(&reply, "stop", "talk"); r.Code != 0 || reply.Killed != 0 || len(reply.Outcomes) != n {
		f.T.Errorf("stop: exit %d, killed %d, %d outcomes, expected 0, 0 and %d", r.Code, reply.Killed, len(reply.Outcomes), n)
	}
	for _, o := range reply.Outcomes {
		// Who reaps it may be faster than the keeper, which does not guess then.
		if o.Exit == nil || o.Exit.Code != -1 && o.Exit.Code != 0 || o.Exit.Signal != "" {
			f.T.Errorf("%s/%d ended with 0 if anybody saw it, but it is %+v", o.Consumer, o.Slot, o.Exit)
		}
	}
	if ended := len(f.journal.of(f.T, "end")); ended != n {
		f.T.Errorf("%d ended by themselves, expected %d", ended, n)
	}
	for _, p := range f.processes() {
		f.T.Errorf("stop has returned, and there is %+v", p)
	}
}

func keeperKilledOften(t *testing.T) {
	f := startFleet(t, talkers(20), crew("brief", "lines 20 life 400ms", "instances: 4"))
	f.begun(24)
	f.UntilRunning("talk", 20)
	talk := fmt.Sprint(f.UntilRunning("talk", 20).PIDs())
	for i := range 5 {
		began := len(f.journal.begins(t))
		// Not with its engine, which holds the pipes of those that end meanwhile.
		f.killKeeper(false)
		f.Start()
		if again := fmt.Sprint(f.UntilRunning("talk", 20).PIDs()); again != talk {
			t.Errorf("O5 fleet: round %d: it was %s and is %s", i, talk, again)
		}
		f.begun(began + 4)
		f.noOverlap()
	}
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}

// Those that end between two keepers are found missing, and are started once.
func endUnseen(t *testing.T) {
	const n = 12
	f := startFleet(t, talkers(n))
	list := f.begun(n)
	f.UntilRunning("talk", n)
	f.killKeeper(true)
	for _, r := range list[:n/2] {
		kill(t, r.PID)
	}
	eventually(t, rig.Patience, "half of them are gone", func() bool {
		for _, r := range list[:n/2] {
			if s := statField(r.PID, 3); s != "" && s != "Z" {
				return false
			}
		}
		return true
	})
	f.Start()
	f.UntilRunning("talk", n)
	f.begun(n + n/2)
	f.stillThere(list[n/2:])
	f.truth()
	f.quiesce(0)
	if again := len(f.journal.begins(t)); again != n+n/2 {
		t.Errorf("%d starts, expected %d", again, n+n/2)
	}
}

// A wait after a failure goes on under the next keeper, and so does the end of what
// exited for good; an end in good order, or a change of what failed, ends both.
func waitsOutlive(t *testing.T) {
	f := newFleet(t)
	consumers := func(words string) string {
		return f.file("", crew("waits", "lines 1 "+words, "backoff: {initial: 1h, max: 1h}"), crew("final", "code 7 life 1ms", "exit: {permanent: [7]}"))
	}
	f.Write(consumers("code 3 life 1ms"))
	f.Start()
	f.begun(2)
	state := func(name, code string) func() bool {
		return func() bool {
			c := f.Consumer(name)
			return len(c.Slots) == 1 && c.Slots[0].Code == code && c.Slots[0].LastExit != nil && c.Slots[0].LastExit.Code > 0
		}
	}
	kept := func() {
		t.Helper()
		eventually(t, rig.Patience, "it waits", state("waits", "backoff"))
		eventually(t, rig.Patience, "the other has ended for good", state("final", "permanent"))
	}
	kept()
	deadline := f.Consumer("waits").Slots[0].Deadline
	for range 2 {
		f.killKeeper(true)
		f.Start()
		kept()
		if now := f.Consumer("waits").Slots[0].Deadline; now.Sub(deadline).Abs() > time.Second {
			t.Errorf("it waited until %s, and waits until %s", deadline, now)
		}
		f.KillEngine()
		kept()
	}
	if n := len(f.journal.begins(t)); n != 2 {
		t.Errorf("%d starts", n)
	}
	f.killKeeper(true)
	f.Write(consumers("code 3 life 2ms"))
	f.Start()
	f.begun(3)
	kept()
	f.StopAll()
	f.Start()
	f.begun(5)
	kept()
	f.quiesce(0)
}

// Stopped means stopped, also by a keeper that is dead: the next one goes on
// with it, not before the grace has ended.
func keeperKilledDuringStop(t *testing.T) {
	f, deaths, asked := twoDeafAsked(t)
	f.killKeeper(true)
	f.Start()
	for _, d := range deaths {
		f.notBefore(d, asked, deafGrace)
	}
	eventually(t, rig.Patience, "status knows", func() bool { c := f.Consumer("deaf"); return c.State == "stopped" && c.Running == 0 })
	f.quiesce(0)
	if n := len(f.journal.begins(t)); n != 2 {
		t.Errorf("%d starts, expected 2", n)
	}
}

// Nobody wants the daemon back: what it has left is stopped with its grace, its last
// lines are kept, and a stranger is not touched.
func cleanUp(t *testing.T) {
	const n = 6
	f := startFleet(t, crew("busy", "lines 20 finish 500ms parting 5", fmt.Sprintf("instances: %d", n), "stop: {grace: 60s}"))
	list := f.begun(n)
	f.UntilRunning("busy", n)
	if r := f.Run("cleanup"); r.Code != 75 {
		t.Errorf("cleanup under a daemon that lives: exit %d\n%s", r.Code, r.Stderr)
	}
	f.killKeeper(true)
	f.Must("cleanup", "--cut-off") // it was not: the next daemon may adopt them
	f.stillThere(list)
	f.Must("cleanup")
	f.noLeftovers()
	if ended := len(f.journal.of(t, "end")); ended != n {
		t.Errorf("%d ended by themselves, expected %d", ended, n)
	}
	f.linesWhole(false)
	if r := f.Must("cleanup"); r.Stdout != "" { // there is nothing any more
		t.Errorf("cleanup of nothing: %s", r.Stdout)
	}
	f.Start()
	f.begun(2 * n)
	f.quiesce(0)
	f.linesWhole(false)
}

// What a cleanup has to kill is listed, as by a stop.
func cleanUpByForce(t *testing.T) {
	f := startFleet(t, crew("busy", "lines 20 finish 100ms", "stop: {grace: 60s}"), crew("deaf", "ignore", "instances: 2", "stop: {grace: 1s}"))
	f.begun(3)
	f.UntilRunning("busy", 1)
	f.UntilRunning("deaf", 2)
	f.killKeeper(true)
	var reply rig.Reply
	if r := f.JSON(&reply, "cleanup"); r.Code != 5 || reply.Killed != 2 || len(reply.Outcomes) != 3 {
		t.Errorf("cleanup: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	for _, o := range reply.Outcomes {
		if killed := o.Exit != nil && o.Exit.Step == "kill"; killed != (o.Consumer == "deaf") {
			t.Errorf("%s/%d: %+v", o.Consumer, o.Slot, o.Exit)
		}
	}
	f.noLeftovers()
	f.linesWhole(false)
}

func keeperKilledUnderShells(t *testing.T) {
	f := startShells(t, 6)
	before := f.pids()
	for i := range 3 {
		f.killKeeper(i > 0)
		f.Start()
		f.UntilRunning("sh", 6)
		f.samePIDs(before)
	}
	f.quiesce(0)
	f.shellLines(6)
}
