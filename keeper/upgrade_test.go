package keeper

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const spoilEnv = "QSUPER_TEST_SPOIL" // what is handed over cannot be used

// playTrial is the test binary as a program that is to take over.
func playTrial() {
	h, err := Trial()
	if err == nil {
		err = h.Pass(os.Stdout, "test")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func inherited() *Heir {
	h := TakeOver()
	if h != nil && os.Getenv(spoilEnv) != "" {
		h.err = errors.New("spoilt")
	}
	return h
}

// ask has the test binary tried and returns when the engine may leave.
func (l *link) upgradeTo(path string) Upgrading {
	l.t.Helper()
	l.ask(l.Upgrade(UpgradeRequest{Path: path}))
	return get[Upgrading](l)
}

// upgrade has the test binary take over and is the engine of the new keeper.
func (r *rig) upgrade(l *link) (*link, map[string]SlotInfo) {
	r.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	var u Upgrading
	eventually(r.t, "the upgrade before is over", func() bool { // its escort ends a moment after the new keeper has begun
		u = l.upgradeTo(exe)
		return !strings.Contains(u.Err, "under way")
	})
	if u.Err != "" || u.Version != "test" {
		r.t.Fatalf("%+v", u)
	}
	return r.leave(l)
}

// leave lets an engine end that has been told that it may.
func (r *rig) leave(l *link) (*link, map[string]SlotInfo) {
	r.t.Helper()
	l.ctl.Close()
	return r.connect()
}

// numbers checks that a log has whole lines in order, and returns how many.
func (r *rig) numbers(slot, format string) int {
	r.t.Helper()
	b, err := os.ReadFile(r.logPath(slot))
	if err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "end") {
			continue
		}
		n++
		if !strings.Contains(line, fmt.Sprintf(format, n)) || !strings.HasSuffix(line, "\n") || strings.Count(line, "line ") != 1 {
			r.t.Fatalf("%s: line %d is %q", slot, n, line)
		}
	}
	return n
}

// Consumers that write all the time, also half lines, go on over upgrades: same
// processes, no signal, each line whole and in its place, exact exit codes.
func TestConsumersDoNotNoticeAnUpgrade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	const script = `trap stop=1 TERM; for s in HUP INT QUIT USR1 USR2 ALRM PIPE WINCH; do trap "echo signal $s" $s; done
		i=0; while test -z "$stop"; do i=$((i+1)); printf 'line '; printf "$i."; echo; test $((i % 50)) = 0 && sleep 0.01; done; echo end; exit 7`
	began := map[string]Started{}
	for i, prefix := range []string{"none", "time", "json"} {
		s := r.spec("talk/"+itoa(i), script)
		s.Log.Prefix = prefix
		if i == 1 {
			s.Umask = new(uint32) // through the helper
		}
		began["talk/"+itoa(i)] = l.start("talk/"+itoa(i), 4, s)
	}
	for slot := range began {
		r.says(slot, "line 100.")
	}
	id := l.hello
	for range 5 {
		var slots map[string]SlotInfo
		l, slots = r.upgrade(l)
		if l.hello.PID != id.PID || !l.hello.StartedAt.Equal(id.StartedAt) || l.hello.Engines != id.Engines+1 {
			t.Fatalf("hello %+v after %+v", l.hello, id)
		}
		id = l.hello
		for slot, st := range began {
			if s := slots[slot]; s.PID != st.PID || s.Run != 4 || s.Adopted || s.Stopping != "" || s.StartedAt.Sub(st.At).Abs() > time.Millisecond {
				t.Errorf("%+v, not %+v", s, st)
			}
			if n := field(t, st.PID, "PPid"); n != itoa(r.cmd.Process.Pid) {
				t.Errorf("%s has parent %s", slot, n)
			}
		}
	}
	for slot := range began {
		l.ask(l.Stop(StopRequest{Slot: slot, Run: 4, Stop: Stop{Signal: 15, Grace: time.Minute}}))
	}
	for range began {
		if e := get[Exited](l); e.Code != 7 || e.Step != StepSignal || e.CPU == 0 {
			t.Errorf("%+v", e)
		}
	}
	for slot := range began {
		t.Logf("%s: %d lines", slot, r.numbers(slot, "line %d."))
	}
	// What is started now is as it would have been before.
	st := l.start("new/0", 1, r.spec("new/0", "exec sleep 1000"))
	if blocked := field(t, st.PID, "SigBlk"); blocked != "0000000000000000" || ignored(t, st.PID) != 0 {
		t.Errorf("blocks %s, ignores %x", blocked, ignored(t, st.PID))
	}
	// The loader still has a library open for a moment.
	eventually(t, "four descriptors", func() bool {
		fds, _ := os.ReadDir("/proc/" + itoa(st.PID) + "/fd")
		return len(fds) == 4
	})
}

// A stop that is under way goes on with what is left of its grace, and so does its
// stop command.
func TestAStopGoesOnOverAnUpgrade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	deaf := l.start("deaf/0", 1, r.consumer("deaf/0", "ignore-term"))
	slow := l.start("slow/0", 1, r.consumer("slow/0", "on-term", "400ms", "9"))
	asked := l.start("asked/0", 1, r.consumer("asked/0", "on-term", "0s", "5"))
	for _, st := range []Started{deaf, slow, asked} {
		r.says(st.Slot, "ready")
	}
	const grace = 4 * time.Second
	began := time.Now()
	l.ask(l.Stop(StopRequest{Slot: "deaf/0", Run: 1, Stop: Stop{Signal: 15, Grace: grace}}))
	l.ask(l.Stop(StopRequest{Slot: "slow/0", Run: 1, Stop: Stop{Signal: 15, Grace: time.Minute}}))
	goFile := filepath.Join(r.dir, "go")
	l.ask(l.Stop(StopRequest{Slot: "asked/0", Run: 1, Stop: Stop{
		Signal: 12, Grace: time.Hour, Command: []string{"/bin/sh", "-c", "until test -e " + goFile + "; do sleep 0.01; done; kill -TERM $QSUPER_PID"},
	}}))
	l, slots := r.upgrade(l)
	if s := slots["deaf/0"]; s.Stopping != StepSignal || s.Remaining <= 0 || s.Remaining > grace-time.Since(began)+time.Second {
		t.Errorf("%+v", s)
	}
	if s := slots["asked/0"]; s.Stopping != StepSignal || s.PID != asked.PID {
		t.Errorf("%+v", s)
	}
	touch(t, goFile)
	exits := map[string]Exited{}
	for slot, s := range slots {
		if s.Exit != nil {
			exits[slot] = *s.Exit
		}
	}
	for len(exits) < 3 {
		e := get[Exited](l)
		exits[e.Slot] = e
	}
	if took := time.Since(began); took < grace || took > grace+20*time.Second {
		t.Errorf("the grace lasted %v", took)
	}
	if e := exits["deaf/0"]; e.Step != StepKill || e.Signal != 9 {
		t.Errorf("%+v", e)
	}
	if e := exits["slow/0"]; e.Step != StepSignal || e.Code != 9 {
		t.Errorf("%+v", e)
	}
	if e := exits["asked/0"]; e.Step != StepSignal || e.Code != 5 {
		t.Errorf("%+v", e)
	}
}

// Exits that nobody has dealt with, before and on the way, are told afterwards
// with their exact codes; memos stay; what was left behind is ended.
func TestExitsOverAnUpgrade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	goFile := filepath.Join(r.dir, "go")
	l.ask(l.Start(StartRequest{Slot: "before/0", Run: 7, Spec: r.spec("before/0", "exit 3"), Memo: []byte("memo")}))
	get[Exited](l)
	for i := range 10 {
		l.start("during/"+itoa(i), 1, r.spec("during/"+itoa(i), fmt.Sprintf("until test -e %s; do sleep 0.01; done; sleep 0.0%d; exit 1%d", goFile, i*7, i)))
	}
	left := r.consumer("left/0", "leave", "ignore-term", "end", "wait-for", goFile, "exit", "6")
	left.Stop.Grace = 300 * time.Millisecond
	l.start("left/0", 1, left)
	r.says("left/0", "left ")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if u := l.upgradeTo(exe); u.Err != "" {
		t.Fatal(u.Err)
	}
	touch(t, goFile)
	l, slots := r.leave(l)
	if s := slots["before/0"]; s.Exit == nil || s.Exit.Code != 3 || s.Exit.Run != 7 || string(s.Memo) != "memo" {
		t.Errorf("%+v", s)
	}
	exits := map[string]Exited{}
	for slot, s := range slots {
		if s.Exit != nil {
			exits[slot] = *s.Exit
		}
	}
	for len(exits) < 12 {
		e := get[Exited](l)
		exits[e.Slot] = e
	}
	for i := range 10 {
		if e := exits["during/"+itoa(i)]; e.Code != 10+i || e.Step != StepNone {
			t.Errorf("%+v", e)
		}
	}
	if e := exits["left/0"]; e.Code != 6 || e.Leftovers != 1 || e.Step != StepNone {
		t.Errorf("%+v", e)
	}
	eventually(t, "only the engine is left", func() bool { return childrenOf(t, r.cmd.Process.Pid) == 1 }) // the escort leaves a moment later
}

// What was left behind, and has been counted, dies while there is no keeper to see
// it: it has been there all the same, and is reaped.
func TestLeftoverThatDiesDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	goFile := filepath.Join(r.dir, "go")
	left := r.consumer(slot0, "leave", "ignore-term", "end", "wait-for", goFile, "exit", "6")
	left.Stop.Grace = time.Hour
	l.start(slot0, 1, left)
	var pid int
	eventually(t, "it has left somebody", func() bool {
		b, _ := os.ReadFile(r.logPath(slot0))
		n, _ := fmt.Sscanf(string(b), "left %d", &pid)
		return n == 1 && strings.Contains(string(b), "ready") // and that one ignores TERM
	})
	touch(t, goFile)
	eventually(t, "it is counted", func() bool { return l.list()[slot0].Leftovers == 1 })
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.dir, "slow")
	const script = "#!/bin/sh\nif [ \"$1\" != trial ]; then kill -9 %d; while grep -q ') [RSDT] ' /proc/%d/stat; do :; done; fi\nexec %s \"$@\"\n"
	if err := os.WriteFile(path, fmt.Appendf(nil, script, pid, pid, exe), 0o755); err != nil {
		t.Fatal(err)
	}
	if u := l.upgradeTo(path); u.Err != "" {
		t.Fatal(u.Err)
	}
	l, slots := r.leave(l)
	e := slots[slot0].Exit
	if e == nil {
		e = new(get[Exited](l))
	}
	if e.Code != 6 || e.Leftovers != 1 {
		t.Errorf("%+v", e)
	}
	eventually(t, "only the engine is left", func() bool { return childrenOf(t, r.cmd.Process.Pid) == 1 })
}

// Whatever is wrong with a program, the old one stays in charge and says why.
func TestUpgradesThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	st := l.start(slot0, 1, r.spec(slot0, "exec sleep 1000"))
	script := func(name, text string) string {
		path := filepath.Join(r.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := script("plain", "#!/bin/sh\n")
	if err := os.Chmod(plain, 0o644); err != nil {
		t.Fatal(err)
	}
	elf := append([]byte("\x7fELF\x02\x01\x01"), bytes.Repeat([]byte{0}, 100)...)
	elf[16], elf[18], elf[20] = 2, 0xf3, 1 // an executable for RISC-V
	for name, c := range map[string]struct {
		path, says string
		config     bool
	}{
		"relative":       {"qsuper", "absolute path", false},
		"missing":        {filepath.Join(r.dir, "none"), "no such file", false},
		"directory":      {r.dir, "not a file", false},
		"not executable": {plain, "permission denied", false},
		"architecture":   {script("elf", string(elf)), "execute ", false},
		"crash":          {script("crash", "#!/bin/sh\nkill -SEGV $$\n"), "signal 11", false},
		"hangs":          {script("hangs", "#!/bin/sh\nsleep 1000\n"), "longer than 10s", false},
		"exit":           {script("exit", "#!/bin/sh\necho the reason >&2; exit 3\n"), "exit code 3: the reason", false},
		"file":           {script("file", "#!/bin/sh\necho qsuper.yaml:3 >&2; exit 78\n"), "qsuper.yaml:3", true},
		"silent":         {"/bin/true", "not a qsuper", false},
	} {
		if u := l.upgradeTo(c.path); !strings.Contains(u.Err, c.says) || u.Config != c.config {
			t.Errorf("%s: %+v", name, u)
		}
	}
	if s := l.list()[slot0]; s.PID != st.PID || s.Stopping != "" {
		t.Errorf("%+v", s)
	}
	// An engine that has something better to do stays.
	exe, _ := os.Executable()
	if u := l.upgradeTo(exe); u.Err != "" {
		t.Fatal(u.Err)
	}
	l.ask(l.Upgrade(UpgradeRequest{Cancel: true}))
	l.ask(l.Quit(QuitRequest{Code: 5}))
	get[Exited](l)
	if c := r.code(); c != 5 {
		t.Errorf("code %d", c)
	}
}

// A signal to the daemon that comes on the way is obeyed by the new one.
func TestTerminateDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	l.start(slot0, 1, r.consumer(slot0, "on-term", "0s", "4"))
	r.says(slot0, "ready")
	exe, _ := os.Executable()
	if u := l.upgradeTo(exe); u.Err != "" {
		t.Fatal(u.Err)
	}
	r.signal(syscall.SIGTERM)
	l, _ = r.leave(l)
	if !l.hello.Terminating {
		t.Errorf("%+v", l.hello)
	}
	l.kill() // the keeper goes on by itself
	if c := r.code(); c != 0 {
		t.Errorf("code %d", c)
	}
}

var moments = flag.Int("moments", 8, "in the change of keepers, at which it is terminated")

// A TERM at any moment of the change is obeyed, and never ends the keeper as it
// would a program that has no handler yet.
func TestTerminateWhileTheNextKeeperBegins(t *testing.T) {
	exe, _ := os.Executable()
	for i := range *moments {
		r := newRig(t)
		l, _ := r.connect()
		st := l.start(slot0, 1, r.consumer(slot0, "on-term", "0s", "4"))
		r.says(slot0, "ready")
		if u := l.upgradeTo(exe); u.Err != "" {
			t.Fatal(u.Err)
		}
		l.ctl.Close()
		for end := time.Now().Add(time.Duration(i) * 28 * time.Millisecond / time.Duration(*moments)); time.Now().Before(end); {
		}
		r.signal(syscall.SIGTERM)
		if l = r.greet(); !l.hello.Terminating {
			get[Terminate](l)
		}
		l.kill() // the keeper goes on by itself
		if c := r.code(); c != 0 || alive(st.PID) {
			t.Fatalf("after %d steps: code %d", i, c)
		}
	}
}

// What cannot be understood is no reason to lose anything: it is as if the keeper
// had died.
func TestASpoiltUpgradeAdopts(t *testing.T) {
	t.Parallel()
	r := newRig(t, spoilEnv+"=1")
	l, _ := r.connect()
	spec := r.spec(slot0, "echo one; trap 'echo bye; exit 7' TERM; while :; do sleep 0.01; done")
	st := l.start(slot0, 1, spec)
	nobodys(t, st.PID)
	r.says(slot0, "one")
	l, slots := r.upgrade(l)
	if s := slots[slot0]; s.PID != st.PID || !s.Adopted {
		t.Errorf("%+v", s)
	}
	l.ask(l.Adopt(AdoptRequest{Slot: slot0, Run: 1, Spec: spec}))
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: spec.Stop}))
	if e := get[Exited](l); e.Code != 7 {
		t.Errorf("%+v", e)
	}
	r.says(slot0, "bye")
}

func TestHandoverOfAnotherVersion(t *testing.T) {
	for _, text := range []string{"", "{}", `{"version":99}`, `{"version":1,"slots":7}`, "\x00"} {
		if h, err := decodeHandover([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, h)
		}
	}
	if h, err := decodeHandover([]byte(`{"version":1,"later":true,"slots":[{"name":"a/0"}]}`)); err != nil || len(h.Slots) != 1 {
		t.Errorf("%+v, %v", h, err)
	}
}

// A program that passed its trial and is gone when it is to be executed: the old
// one goes on in its place.
func TestUpgradeToWhatHasVanished(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	st := l.start(slot0, 1, r.spec(slot0, "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"))
	r.says(slot0, "ready")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.dir, "vanishes")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec "+exe+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if u := l.upgradeTo(path); u.Err != "" {
		t.Fatal(u.Err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l, slots := r.leave(l)
	if s := slots[slot0]; s.PID != st.PID || s.Adopted || l.hello.Engines != 2 {
		t.Errorf("%+v, %+v", l.hello, s)
	}
	if !strings.Contains(r.stderr(), "the old one goes on") {
		t.Error("nothing is said of it")
	}
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Stop: Stop{Signal: 15, Grace: time.Minute}}))
	if e := get[Exited](l); e.Code != 7 {
		t.Errorf("%+v", e)
	}
}
