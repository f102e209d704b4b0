package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/test/rig"
)

// Cases of the whole host: its power is cut, or it is shut down.
var powerFaults = []fault{
	{name: "F140_PowerIsCut", score: 12, kind: slow, run: powerIsCut},
	{name: "F140_EverybodyIsToldToEnd", score: 12, kind: slow, run: everybodyIsTold},
}

const (
	powerConsumers, powerInstances = 20, 5
	powerRounds                    = 5
)

// powerIsCut does so at random moments while people stop and start consumers. What
// they were told is done is so when the host is there again, and what nobody has
// stopped runs.
func powerIsCut(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		untilThePowerIsCut(t)
		return
	}
	disk := t.TempDir() + "/disk"
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", disk).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	state := map[string]string{} // what somebody was told, by consumer
	told := 0
	for round := range powerRounds {
		var words []string
		for name, s := range state {
			words = append(words, name+":"+s)
		}
		m := boot(t, "F140_PowerIsCut", strings.Join(words, ","), "ubd0="+disk)
		began := time.Now()
		for !m.said("\nTOLD") && !m.over() && time.Since(began) < 2*time.Minute {
			<-time.After(50 * time.Millisecond)
		}
		t.Logf("round %d: a command was done after %s", round, time.Since(began).Round(100*time.Millisecond))
		// This is the fault, not a wait.
		<-time.After(time.Duration(random.Int64N(int64(3 * time.Second))))
		m.cut()
		if !m.said("\nUP") || m.said("--- FAIL") || m.said("--- PASS") {
			t.Fatalf("round %d:\n%s", round, m.tail())
		}
		// A command whose answer was lost may have been done or not.
		for line := range strings.Lines(m.console()) {
			var name, s string
			if n, _ := fmt.Sscanf(line, "ASKED %s", &name); n == 1 {
				delete(state, name)
			}
			if n, _ := fmt.Sscanf(line, "TOLD %s %s", &name, &s); n == 2 {
				state[name] = s
				told++
			}
		}
	}
	t.Logf("%d commands were done in %d rounds", told, powerRounds)
}

// untilThePowerIsCut is the case in the machine.
func untilThePowerIsCut(t *testing.T) {
	f := newFleet(t)
	if err := os.Mkdir(f.Path("state"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/dev/ubda", f.Path("state"), "ext4", 0, ""); err != nil {
		t.Fatalf("mount the disk: %v", err)
	}
	text := "  start_rate: 0\nconsumers:\n"
	for i := range powerConsumers {
		text += fmt.Sprintf("  c%d: {command: [/bin/sleep, '100000'], spawn: always, instances: %d}\n", i, powerInstances)
	}
	f.Write(text)
	f.Start()
	known := map[string]string{}
	for word := range strings.SplitSeq(os.Getenv(aboutEnv), ",") {
		if name, s, ok := strings.Cut(word, ":"); ok {
			known[name] = s
		}
	}
	var other []string
	for deadline := time.Now().Add(rig.Patience); ; <-time.After(100 * time.Millisecond) {
		st, ok := f.Status()
		other = nil
		for _, c := range st.Consumers {
			if is := fmt.Sprint(c.State, " ", c.Running); is != fmt.Sprint("running ", powerInstances) && is != "stopped 0" || known[c.Name] != "" && known[c.Name] != c.State {
				other = append(other, c.Name+" is "+is+", somebody was told "+known[c.Name])
			}
		}
		if ok && len(st.Consumers) == powerConsumers && other == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the power was cut: %v, %v", ok, other)
		}
	}
	for _, c := range f.alive().Consumers {
		for _, s := range c.Slots {
			if s.Adopted {
				t.Errorf("%s/%d: adopted from another boot", c.Name, s.Slot)
			}
		}
	}
	if t.Failed() {
		return
	}
	fmt.Println("\nUP")
	for { // until then
		name := fmt.Sprint("c", rand.IntN(powerConsumers))
		verb, s := "stop", "stopped"
		if rand.IntN(2) == 0 {
			verb, s = "start", "running"
		}
		fmt.Println("\nASKED", name)
		_ = unix.IoctlSetInt(int(os.Stdout.Fd()), unix.TCSBRK, 1) // when it has left the machine
		f.Must(verb, name)
		fmt.Println("\nTOLD", name, s)
	}
}

// everybodyIsTold is what shutting a host down does where there is no service manager:
// all processes have a TERM in the same moment.
func everybodyIsTold(t *testing.T) {
	const n = 500
	f := newFleet(t)
	f.Write(f.file("  start_rate: 0\n", crew("busy", "lines 1 finish 500ms parting 2", fmt.Sprintf("instances: %d", n), "stop: {grace: 60s}")))
	f.Start()
	f.begun(n)
	f.UntilRunning("busy", n)
	for pid := range rig.ProcessesOf(f.Dir) {
		_ = syscall.Kill(pid, syscall.SIGTERM) // one that is gone is as good
	}
	eventually(t, 2*rig.Patience, "the keeper ends", f.Over)
	if code := f.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit %d", code)
	}
	if ended := len(f.journal.of(t, "end")); ended != len(f.journal.begins(t)) {
		t.Errorf("%d of %d ended by themselves", ended, len(f.journal.begins(t)))
	}
	if st, err := os.Stat(f.Path("state/ending")); err == nil {
		t.Errorf("it leaves %s behind", st.Name())
	}
	f.noLeftovers()
	f.noOverlap()
	f.linesWhole(false)
}
