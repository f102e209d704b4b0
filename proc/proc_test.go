package proc

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	HelperMain()
	if os.Getenv(vacateWord) != "" {
		vacateMain()
	}
	// As the keeper does: what was inherited by accident goes no further, and what
	// outlives its parent comes to us.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

var null = func() int {
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	return fd
}()

func spec(argv ...string) *Spec {
	return &Spec{Path: argv[0], Argv: argv, Env: []string{"PATH=/usr/bin:/bin"}, Stdin: null, Stdout: null, Stderr: null}
}

func sh(script string) *Spec { return spec("/bin/sh", "-c", script) }

func start(t testing.TB, s *Spec) *Process {
	t.Helper()
	p, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !p.reaped {
			p.SignalGroup(syscall.SIGKILL)
			p.Wait()
		}
		p.Close()
	})
	return p
}

// reap waits for the pidfd as the loop does.
func reap(t testing.TB, p *Process) Exit {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(p.PidFD()), Events: unix.POLLIN}}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if n, _ := unix.Poll(fds, 1000); n > 0 {
			e, ok, err := p.Reap(true)
			if !ok || err != nil {
				t.Fatal("not reaped: ", err)
			}
			return e
		}
	}
	t.Fatal("the process does not end")
	return Exit{}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("not in time: ", what)
		}
	}
}

func TestExit(t *testing.T) {
	for script, want := range map[string]Exit{
		"exit 0":         {},
		"exit 255":       {Code: 255},
		"kill -TERM $$":  {Code: -1, Signal: syscall.SIGTERM},
		"kill -KILL $$":  {Code: -1, Signal: syscall.SIGKILL},
		"exec /bin/true": {},
	} {
		p := start(t, sh(script))
		if _, ok, err := p.Reap(true); ok && err != nil {
			t.Error(err)
		}
		if p.reaped { // it was quicker than we
			continue
		}
		got := reap(t, p)
		if got.MaxRSS <= 0 {
			t.Errorf("%s: %+v", script, got)
		}
		got.CPU, got.MaxRSS = 0, 0
		if got != want {
			t.Errorf("%s: %+v, not %+v", script, got, want)
		}
		if !p.Alone() {
			t.Errorf("%s: the group is not empty", script)
		}
		if err := p.SignalGroup(syscall.SIGTERM); err != syscall.ESRCH {
			t.Errorf("%s: signal to the group of a reaped process: %v", script, err)
		}
		if err := p.Signal(syscall.SIGTERM); err != syscall.ESRCH {
			t.Errorf("%s: signal to a reaped process: %v", script, err)
		}
	}
}

func TestStartErrorsHaveAKind(t *testing.T) {
	var lim, few syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	few = lim
	few.Cur = 3
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	_, err := Start(sh("exit 0"))
	if serr := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); serr != nil {
		t.Fatal(serr)
	}
	var failed *StartError
	if !errors.As(err, &failed) || failed.Kind != Host || !errors.Is(err, syscall.EMFILE) {
		t.Errorf("without descriptors: %v", err)
	}
	if _, err := Start(spec("/no/such")); !errors.As(err, &failed) || failed.Kind != Exec || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("missing program: %v", err)
	}
	if _, err := Start(spec("/bin/sh", "a\x00b")); !errors.As(err, &failed) || failed.Kind != Exec {
		t.Errorf("NUL in an argument: %v", err)
	}
	if _, err := Start(&Spec{}); !errors.As(err, &failed) || failed.Kind != Exec {
		t.Errorf("nothing: %v", err)
	}
}

func TestKinFindsWhatIsLeft(t *testing.T) {
	p := start(t, sh("sleep 1000 & (sleep 1000 & exec sleep 1000) & exit 3"))
	if e := reap(t, p); e.Code != 3 {
		t.Fatalf("%+v", e)
	}
	if p.Alone() {
		t.Fatal("said to be alone")
	}
	known := map[int]*Member{}
	eventually(t, "three are found", func() bool {
		found, _ := p.Kin(Mark{}, nil, func(pid int) bool { return known[pid] != nil })
		for _, m := range found {
			known[m.PID] = &m
		}
		return len(known) == 3
	})
	for _, m := range known {
		if m.Gone() {
			t.Errorf("%d is said to be gone", m.PID)
		}
		if err := m.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	for _, m := range known {
		eventually(t, "it is gone", m.Gone)
		m.Close()
	}
	eventually(t, "the group is empty", func() bool { // zombies may have become ours only now
		found, sure := p.Kin(Mark{}, nil, nobody)
		return len(found) == 0 && sure && p.Alone()
	})
}

// A zombie that nobody else will reap is not alive, and does not stay.
func TestKinReapsZombies(t *testing.T) {
	p := start(t, sh("(exit 0) & exec sleep 0.1")) // sleep never waits
	reap(t, p)
	eventually(t, "only zombies were left, and now nothing is", func() bool {
		found, sure := p.Kin(Mark{}, nil, nobody)
		return len(found) == 0 && sure && p.Alone()
	})
}

// The number of a leader that has been given away belongs to somebody else.
func TestKinOfAStranger(t *testing.T) {
	p := start(t, sh("sleep 1000 & wait"))
	ghost := &Process{PID: p.PID, Began: p.Began, pidfd: -1, status: -1, reaped: true}
	eventually(t, "the child is there", func() bool {
		u, err := UsageAt(p.PID)
		return err == nil && u.Processes == 2
	})
	if found, _ := ghost.Kin(Mark{}, nil, nobody); len(found) != 0 {
		t.Errorf("%v would have been signalled", found)
	}
	later := &Process{PID: p.PID, Began: Boottime() + time.Hour, pidfd: -1, status: -1}
	if found, _ := later.Kin(Mark{}, nil, nobody); len(found) != 0 {
		t.Errorf("%v would have been signalled", found)
	}
}

func TestReapStrangersLeavesOurs(t *testing.T) {
	ours := start(t, sh("exit 7"))
	fds := []unix.PollFd{{Fd: int32(ours.PidFD()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 60000); n != 1 {
		t.Fatal("the process does not end: ", err)
	}
	// setsid and a parent that leaves at once: an orphan comes to us.
	stranger := start(t, sh("setsid sh -c 'exit 0' & exit 0"))
	reap(t, stranger)
	mine := func(pid int) bool { return pid == ours.PID }
	if _, again := ReapStrangers(mine); !again {
		t.Error("our zombie was not seen")
	}
	if e := reap(t, ours); e.Code != 7 {
		t.Errorf("%+v", e)
	}
	eventually(t, "the stranger is reaped", func() bool {
		_, again := ReapStrangers(func(int) bool { return false })
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return !again && err == unix.ECHILD
	})
}

func TestUsage(t *testing.T) {
	p := start(t, sh("sleep 1000 & sh -c 'sleep 1000 & wait' & setsid sleep 1000 & wait"))
	other := start(t, spec("/bin/sleep", "1000"))
	t.Cleanup(func() { // one of them is in a session of its own
		for _, pid := range children(p.PID, nil, make([]byte, 1024)) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	var tree Usage
	eventually(t, "five processes are measured", func() bool {
		tree = UsageOf([]int{p.PID, other.PID, 1 << 30})[p.PID]
		return tree.Processes == 5
	})
	at, err := UsageAt(p.PID)
	if err != nil || at.Processes != 5 || at.RSS < tree.RSS/2 || at.RSS > tree.RSS*2 {
		t.Errorf("%+v in a sweep, %+v alone; %v", tree, at, err)
	}
	eventually(t, "the other sleeps", func() bool {
		st, ok := readStat(other.PID, make([]byte, 1024))
		return ok && st.state == 'S'
	})
	all := UsageOf([]int{p.PID, other.PID, 1 << 30})
	if len(all) != 2 || all[other.PID].Processes != 1 {
		t.Errorf("%+v", all)
	}
	// The kernel's exact count, which walks the page tables. It may still be loading.
	eventually(t, "as much memory as the kernel says", func() bool {
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", other.PID))
		if err != nil {
			t.Fatal(err)
		}
		_, rss, _ := strings.Cut(string(rollup), "Rss:")
		var kb int64
		fmt.Sscan(rss, &kb)
		got := UsageOf([]int{other.PID})[other.PID].RSS
		return kb > 0 && got > kb*512 && got < kb*2048
	})
	// A leader that leaves does not hide what is in its session.
	left := start(t, sh("sleep 1000 & exec sleep 1000"))
	eventually(t, "two", func() bool { return UsageOf([]int{left.PID})[left.PID].Processes == 2 })
	if _, err := UsageAt(1 << 30); !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

func TestParseStat(t *testing.T) {
	for name, line := range map[string]string{
		"empty": "", "no name": "12 sleep S 1", "short": "12 (x) S 1 2 3",
	} {
		if s, ok := parseStat(12, []byte(line)); ok {
			t.Errorf("%s: %+v", name, s)
		}
	}
	line := "12 (a) b (c) S 1 2 3 0 -1 4194304 1 2 3 4 100 50 0 0 20 0 1 0 700 8192 5 18446744073709551615"
	s, ok := parseStat(12, []byte(line))
	want := stat{pid: 12, ppid: 1, pgrp: 2, session: 3, cpu: 1500 * time.Millisecond, started: 7 * time.Second, rss: 5 * int64(os.Getpagesize()), state: 'S'}
	if !ok || s != want {
		t.Errorf("%+v, not %+v", s, want)
	}
}
