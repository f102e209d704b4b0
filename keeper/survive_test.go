package keeper

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A log that nobody reads any more must not end the keeper.
func TestBrokenStderr(t *testing.T) {
	t.Parallel()
	r := newRig(t, muteEnv+"=1")
	l, _ := r.connect()
	st := l.start(slot0, 1, r.spec(slot0, "exec sleep 1000"))
	if got := ignored(t, st.PID); got != 0 {
		t.Errorf("the consumer ignores %x", got)
	}
	l.kill() // which is logged
	if _, slots := r.connect(); slots[slot0].PID != st.PID {
		t.Errorf("%+v", slots)
	}
}

// Stops and a quit that come while processes are still being started reach each
// of them.
func TestStopWhileStarting(t *testing.T) {
	r := newRig(t)
	l, _ := r.connect()
	const n = 200
	name := func(i int) string { return fmt.Sprintf("many/%d", i) }
	for i := range n {
		l.ask(l.Start(StartRequest{Slot: name(i), Run: 1, Spec: r.command(name(i), "/bin/sleep", "1000")}))
	}
	for i := range n / 2 {
		s := StopRequest{Slot: name(i), Run: 1, Stop: Stop{Grace: time.Hour}, Now: i%2 == 0}
		l.ask(l.Stop(s))
	}
	l.ask(l.List()) // is answered when it is known which slots are taken
	l.ask(l.Quit(QuitRequest{Code: 4}))
	started, exited, listed := 0, 0, 0
	for exited < n {
		switch m := l.next().(type) {
		case Started:
			started++
		case SlotInfo:
			listed++
			if m.PID == 0 && m.Exit == nil {
				t.Errorf("neither taken nor free: %+v", m)
			}
		case Exited:
			exited++
			if m.Step == StepNone || m.Signal == 0 {
				t.Errorf("%+v", m)
			}
		case StartFailed:
			t.Fatalf("%+v", m)
		}
	}
	if started != n || listed != n {
		t.Errorf("%d started, %d listed", started, listed)
	}
	if c := r.code(); c != 4 {
		t.Errorf("exit status %d", c)
	}
}

// Somebody else's flock on a slot is told from our own.
func TestSlotHeldByAStranger(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	spec := r.spec(slot0, "exec sleep 1000")
	if err := os.MkdirAll(filepath.Dir(spec.Lock), 0o700); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("flock", spec.Lock, "sleep", "1000")
	other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer syscall.Kill(-other.Process.Pid, syscall.SIGKILL)
	eventually(t, "the stranger has the lock", func() bool {
		return exec.Command("flock", "-n", spec.Lock, "true").Run() != nil
	})
	l.ask(l.Start(StartRequest{Slot: slot0, Run: 1, Spec: spec}))
	f := get[StartFailed](l)
	if f.Kind != KindLocked || !strings.Contains(f.By, fmt.Sprintf("pid %d (flock", other.Process.Pid)) {
		t.Errorf("%+v", f)
	}
}

// The engine is killed again and again while processes start and end: no run is
// lost, none is started twice, and each one's exit is there until it is dealt with.
func TestEngineKilledUnderLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const slots, rounds = 4, 5
	spec, asked := map[string]Spec{}, map[string]uint64{}
	for i := range slots {
		name := fmt.Sprintf("load/%d", i)
		spec[name] = r.spec(name, fmt.Sprintf("echo x >> %s/count.%d", r.dir, i))
	}
	next := func(l *link, name string) {
		asked[name]++
		l.ask(l.Start(StartRequest{Slot: name, Run: asked[name], Spec: spec[name]}))
	}
	for range rounds {
		l, known := r.connect()
		for name := range spec {
			k := known[name]
			// The last request may have died with the engine that made it.
			if k.Run != asked[name] && k.Run+1 != asked[name] {
				t.Errorf("%s is at run %d, asked for %d", name, k.Run, asked[name])
			}
			if k.PID == 0 && k.Run != 0 && k.Exit == nil {
				t.Errorf("%s: the exit of run %d is lost", name, k.Run)
			}
			asked[name] = k.Run
			if k.PID == 0 {
				next(l, name)
			}
		}
		for exits := 0; exits < 10; {
			if e, ok := l.next().(Exited); ok {
				exits++
				next(l, e.Slot)
			}
		}
		l.kill()
	}
	l, known := r.connect()
	eventually(t, "all have ended", func() bool {
		known = l.list()
		for _, s := range known {
			if s.PID != 0 {
				return false
			}
		}
		return true
	})
	for i := range slots {
		b, _ := os.ReadFile(fmt.Sprintf("%s/count.%d", r.dir, i))
		if n, k := strings.Count(string(b), "x"), known[fmt.Sprintf("load/%d", i)]; uint64(n) != k.Run {
			t.Errorf("%d processes ran, and the last was run %d", n, k.Run)
		}
	}
}

func TestStrangersAreReaped(t *testing.T) {
	t.Parallel()
	r := newRig(t, bareEnv+"=1")
	l, _ := r.connect()
	l.start(slot0, 1, r.consumer(slot0, "away", "exit", "3"))
	if e := get[Exited](l); e.Code != 3 || e.Leftovers != 0 {
		t.Errorf("%+v", e)
	}
	if n := childrenOf(t, r.cmd.Process.Pid); n != 2 {
		t.Errorf("%d children, not engine and stranger", n)
	}
	eventually(t, "only the engine is left", func() bool { return childrenOf(t, r.cmd.Process.Pid) == 1 })
	// And again while its own children come and go.
	for i := range 5 { // in slots of their own: a stranger has its slot's lock
		slot := "away/" + itoa(i)
		l.start(slot, 1, r.consumer(slot, "away", "exit", "3"))
		get[Exited](l)
	}
	eventually(t, "only the engine is left", func() bool { return childrenOf(t, r.cmd.Process.Pid) == 1 })
}

func TestThreadsDoNotGrowWithChildren(t *testing.T) {
	r := newRig(t)
	l, _ := r.connect()
	start := func(from, to int) {
		for i := from; i < to; i++ {
			l.start(fmt.Sprintf("many/%d", i), 1, r.command(fmt.Sprintf("many/%d", i), "/bin/sleep", "1000"))
		}
	}
	start(0, 20)
	threads := func() int {
		d, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", r.cmd.Process.Pid))
		return len(d)
	}
	before := threads()
	start(20, 300)
	// A thread more may come for a system call that took long.
	if after := threads(); after > before+3 || after > 16 {
		t.Errorf("%d threads with 20 children, %d with 300", before, after)
	}
	began := time.Now()
	for i := range 300 {
		l.ask(l.Stop(StopRequest{Slot: fmt.Sprintf("many/%d", i), Run: 1, Stop: Stop{Signal: 15, Grace: time.Minute}}))
	}
	for i := 0; i < 300; {
		if e, ok := l.next().(Exited); ok {
			i++
			if e.Signal != 15 || e.Step != StepSignal {
				t.Errorf("%+v", e)
			}
		}
	}
	t.Logf("300 stopped in %v", time.Since(began))
}

func TestDescriptorsStayFlat(t *testing.T) {
	r := newRig(t)
	l, _ := r.connect()
	umask := uint32(0o22)
	quick, helped := r.command("flat/0", "/bin/true"), r.command("flat/1", "/bin/true")
	helped.Umask = &umask
	bad := r.command("flat/2", "/no/such")
	count := func() int {
		d, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.cmd.Process.Pid))
		return len(d)
	}
	before := 0
	for run := range uint64(1000) {
		l.ask(l.Start(StartRequest{Slot: "flat/0", Run: run, Spec: quick}))
		get[Exited](l)
		if run%50 == 0 {
			l.ask(l.Start(StartRequest{Slot: "flat/1", Run: run, Spec: helped}))
			get[Exited](l)
			l.ask(l.Start(StartRequest{Slot: "flat/2", Run: run, Spec: bad}))
			get[StartFailed](l)
		}
		if run == 50 {
			before = count()
		}
	}
	if after := count(); after > before+1 { // a log file may be open or not
		t.Errorf("%d descriptors after 50 runs, %d after 1,000", before, after)
	}
}
