package faults

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"qsuper/test/rig"
)

var engineFaults = []fault{
	{name: "F001_EngineKilledUnderFiftyTalkers", score: 20, run: engineKilledUnderTalkers},
	{name: "F139_EngineKilledUnderPlainShells", score: 12, run: engineKilledUnderShells},
	{name: "F005_EngineStopped", score: 20, run: engineStopped},
	{name: "F033_EngineKilledDuringStop", score: 15, run: engineKilledDuringStop},
	{name: "F004_HundredDaemonsAtOnce", score: 20, run: hundredDaemons},
	{name: "F061_TwoHundredStatusClients", score: 9, kind: slow, run: manyClients},
	{name: "F073_PausedThenEngineKilled", score: 12, run: pausedThenKilled},
}

func engineKilledUnderTalkers(t *testing.T) {
	f := startFleet(t, talkers(50))
	f.begun(50)
	f.UntilRunning("talk", 50)
	before := f.pids()
	for range 4 {
		f.KillEngine()
	}
	f.samePIDs(before)
	f.truth()
	f.quiesce(0)
	if n := f.linesWhole(false); n < 50*20 {
		t.Errorf("only %d lines in all", n)
	}
	if n := len(f.journal.begins(t)); n != 50 {
		t.Errorf("%d starts, expected 50", n)
	}
}

// Consumers without any care for their stdout: a shell that writes into a pipe
// nobody holds dies of SIGPIPE.
func engineKilledUnderShells(t *testing.T) {
	f := startShells(t, 6)
	before := f.pids()
	for range 6 {
		f.KillEngine()
	}
	f.samePIDs(before)
	f.quiesce(0)
	f.shellLines(6)
}

func startShells(t *testing.T, n int) *fleet {
	t.Helper()
	f := startFleet(t, fmt.Sprintf("  sh:\n    command: [/bin/sh, -c, 'i=0; while :; do i=$$((i+1)); echo \"tick $$i\"; sleep 0.1; done']\n    instances: %d\n", n))
	f.UntilRunning("sh", n)
	return f
}

// shellLines checks that every shell's lines are there, in order, from the first.
func (f *fleet) shellLines(slots int) {
	f.T.Helper()
	for slot := range slots {
		n := 0
		for _, line := range f.logLines(fmt.Sprintf("sh/%d", slot)) {
			if line == "" {
				continue
			}
			if n++; line != fmt.Sprint("tick ", n) {
				f.T.Fatalf("O3 lines: sh/%d: line %d is %q", slot, n, line)
			}
		}
		if n == 0 {
			f.T.Errorf("O3 lines: sh/%d: none", slot)
		}
	}
}

// An engine that hangs is noticed by no consumer. What ends meanwhile waits for
// it, and nothing is started twice once it goes on.
func engineStopped(t *testing.T) {
	f := startFleet(t, talkers(8), crew("brief", "lines 10 life 500ms", "instances: 2"))
	f.begun(10)
	st, _ := f.Status()
	engine := st.Daemon.EnginePID
	if err := syscall.Kill(engine, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(engine, syscall.SIGCONT) }()
	seen := len(f.journal.of(t, "tick"))
	eventually(t, rig.Patience, "consumers go on", func() bool { return len(f.journal.of(t, "tick")) > seen+8*20 })
	if err := syscall.Kill(engine, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	began := len(f.journal.begins(t))
	f.begun(began + 4)
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}

const deafGrace = 4 * time.Second

// twoDeafAsked are in the middle of their grace, asked to stop at that time.
func twoDeafAsked(t *testing.T) (f *fleet, deaths []*death, asked time.Duration) {
	f = startFleet(t, crew("deaf", "ignore", "instances: 2", "stop: {grace: 4s}"))
	for _, r := range f.begun(2) {
		deaths = append(deaths, watch(t, r.PID))
	}
	f.UntilRunning("deaf", 2)
	asked = now()
	f.Must("stop", "deaf", "--no-wait")
	eventually(t, rig.Patience, "they have been asked", func() bool { return len(f.journal.of(t, "signal")) >= 2 })
	return f, deaths, asked
}

func engineKilledDuringStop(t *testing.T) {
	f, deaths, asked := twoDeafAsked(t)
	f.KillEngine()
	for _, d := range deaths {
		f.notBefore(d, asked, deafGrace)
		// Neither reset: a second grace would begin after the signal.
		if late := time.Duration(d.at.Load()) - asked - deafGrace; late > 3*time.Second {
			t.Logf("pid %d was killed %s after its grace", d.pid, late)
		}
	}
	if n := len(f.journal.of(t, "signal")); n != 2 {
		t.Errorf("%d signals, expected one each", n)
	}
	f.quiesce(0)
	if n := len(f.journal.begins(t)); n != 2 {
		t.Errorf("%d starts, expected 2: stopped means stopped", n)
	}
}

func hundredDaemons(t *testing.T) {
	f := newFleet(t)
	f.Write(f.file("", talkers(3)))
	const n = 100
	log, err := os.Create(f.Path("daemon.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	codes := make(chan int, n)
	var all sync.WaitGroup
	var cmds []*exec.Cmd
	for range n {
		cmd := exec.Command(rig.Binary, "run", "-c", f.Path("qsuper.yaml"))
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
		all.Go(func() { _ = cmd.Wait(); codes <- cmd.ProcessState.ExitCode() })
	}
	t.Cleanup(func() {
		for _, c := range cmds {
			_ = c.Process.Kill() // all have ended, unless the test failed
		}
		all.Wait()
	})
	for range n - 1 {
		select {
		case code := <-codes:
			if code != 75 {
				t.Errorf("a daemon that found another ends with %d, expected 75", code)
			}
		case <-time.After(2 * rig.Patience):
			t.Fatal("more than one daemon goes on")
		}
	}
	f.UntilRunning("talk", 3)
	f.begun(3)
	st := f.alive()
	if !slices.ContainsFunc(cmds, func(c *exec.Cmd) bool { return c.Process.Pid == st.Daemon.KeeperPID }) {
		t.Errorf("keeper_pid is %d, none of those started", st.Daemon.KeeperPID)
	}
	if b, _ := os.ReadFile(f.Path("state/qsuper.pid")); strings.TrimSpace(string(b)) != fmt.Sprint(st.Daemon.KeeperPID) {
		t.Errorf("the pid file says %q, status says %d", b, st.Daemon.KeeperPID)
	}
	if text := rig.Tail(f.Path("daemon.log"), 1<<20); !strings.Contains(text, fmt.Sprintf("the daemon with pid %d", st.Daemon.KeeperPID)) {
		t.Errorf("nobody was told the pid of the first:\n%.500s", text)
	}
	f.truth()
	f.Must("stop")
	if code := <-codes; code != 0 {
		t.Errorf("the daemon ends with %d", code)
	}
	f.noLeftovers()
	f.noOverlap()
	f.begunOnly(3)
}

// begunOnly checks how many consumers there have been, in all.
func (f *fleet) begunOnly(want int) {
	f.T.Helper()
	if n := len(f.journal.begins(f.T)); n != want {
		f.T.Errorf("%d starts, expected %d", n, want)
	}
}

func manyClients(t *testing.T) {
	f := startFleet(t, talkers(4))
	f.begun(4)
	f.UntilRunning("talk", 4)
	before := f.pids()
	st := f.alive()
	held := usageOf(st.Daemon.EnginePID)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				if r := f.Run("status"); r.Code != 0 {
					t.Errorf("status: exit %d\n%s", r.Code, r.Stderr)
				}
			}
		})
	}
	all.Wait()
	f.flat("the engine", st.Daemon.EnginePID, held, 200)
	f.samePIDs(before)
	f.quiesce(0)
	f.linesWhole(false)
}

func pausedThenKilled(t *testing.T) {
	f := startFleet(t, talkers(2))
	f.begun(2)
	f.Must("pause", "talk")
	f.UntilRunning("talk", 0)
	f.KillEngine()
	eventually(t, rig.Patience, "the engine answers", func() bool { return f.Consumer("talk").Name != "" })
	if c := f.Consumer("talk"); c.Running != 0 || c.State != "held" && c.State != "stopped" {
		t.Errorf("after the engine: %+v", c)
	}
	f.quiesce(0)
	f.Start()
	if c := f.Consumer("talk"); c.Running != 0 {
		t.Errorf("after the daemon: %+v", c)
	}
	f.Must("resume", "talk")
	f.UntilRunning("talk", 2)
	f.begun(4)
	f.quiesce(0)
	f.linesWhole(false)
}
