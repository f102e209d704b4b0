package test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"qsuper/test/rig"
)

// call is `qsuper run --once`, as cron would call it.
func call(t *testing.T, d *rig.Daemon) (cmd *exec.Cmd, output *bytes.Buffer, ended chan struct{}) {
	t.Helper()
	cmd, output, ended = exec.Command(rig.Binary, "run", "--once", "-c", d.Path("qsuper.yaml")), new(bytes.Buffer), make(chan struct{})
	cmd.Env = append(os.Environ(), "RIG_DIR="+d.Dir)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
	})
	return cmd, output, ended
}

// One crontab line takes the place of the daemon: later calls find what an earlier
// one has started, and jobs that came due in between run once.
func TestCrontabLine(t *testing.T) {
	d := newDaemon(t, `defaults: {restart: always}
consumers:
  long: {command: [sleep, "1000"]}
  short: {shell: "echo x >> $RIG_DIR/short"}
jobs:
  each: {schedule: "* * * * * *", shell: "echo $QSUPER_FIRE >> $RIG_DIR/fires"}
`)
	words := func(name string) []string {
		raw, _ := os.ReadFile(d.Path(name))
		return strings.Fields(string(raw))
	}
	first, said, ended := call(t, d)
	pid := d.UntilRunning("long", 1).Slots[0].PID
	eventually(t, patience, "the short one has run", func() bool { return len(words("short")) == 1 })
	for i := 2; i < 5; i++ {
		<-time.After(1100 * time.Millisecond) // a minute, to the job
		fires := len(words("fires"))
		next, output, over := call(t, d)
		<-over
		if next.ProcessState.ExitCode() != 0 || output.Len() > 0 {
			t.Errorf("call %d: %v\n%s", i, next.ProcessState, output)
		}
		eventually(t, patience, "the short one and the job have run again", func() bool { return len(words("short")) == i && len(words("fires")) > fires })
	}
	if now := d.Consumer("long").Slots[0].PID; now != pid {
		t.Errorf("the long one was pid %d and is %d", pid, now)
	}
	d.Must("stop", "long")
	eventually(t, patience, "the first call ends", func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	if first.ProcessState.ExitCode() != 0 || said.Len() > 0 {
		t.Errorf("the first call: %v\n%s", first.ProcessState, said)
	}
	<-time.After(1100 * time.Millisecond)
	fires := len(words("fires"))
	_, said, ended = call(t, d)
	eventually(t, patience, "the call that follows ends", func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	if n := len(words("fires")); n == fires || said.Len() > 0 {
		t.Errorf("the call that follows ran %d fires\n%s", n-fires, said)
	}
	seen := map[string]bool{}
	for _, f := range words("fires") {
		if seen[f] {
			t.Errorf("the fire of %s ran twice", f)
		}
		seen[f] = true
	}
	d.Start() // and beside a daemon there is nothing to do
	beside, said, over := call(t, d)
	<-over
	if beside.ProcessState.ExitCode() != 75 || !strings.Contains(said.String(), "qsuper status") {
		t.Errorf("beside a daemon: %v\n%s", beside.ProcessState, said)
	}
}
