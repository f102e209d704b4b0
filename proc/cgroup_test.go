package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openCgroups is false where this machine does not allow cgroups; that it says
// why is what is tested then.
func openCgroups(t testing.TB) (*Cgroups, bool) {
	t.Helper()
	c, err := OpenCgroups(t.TempDir())
	if err != nil {
		if no, ok := errors.AsType[*NoCgroups](err); !ok || no.Hint == "" {
			t.Errorf("no cgroups, and no word on what to do: %v", err)
		}
		t.Logf("only the refusal is tested: %v", err)
		return nil, false
	}
	t.Cleanup(func() {
		left, err := c.Left()
		if len(left) > 0 || err != nil {
			t.Errorf("left behind: %d groups, %v", len(left), err)
		}
		c.Close()
		if _, err := os.Stat(c.Path()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left behind: %s, %v", c.Path(), err)
		}
	})
	return c, true
}

// newCgroup makes a group that the end of the test empties and removes.
func newCgroup(t testing.TB, c *Cgroups, name string) *Cgroup {
	t.Helper()
	g, err := c.New(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { scrap(t, g) })
	return g
}

func scrap(t testing.TB, g *Cgroup) {
	if err := g.Freeze(false); err != nil {
		t.Error(err)
	}
	if err := g.Kill(); err != nil {
		t.Error(err)
	}
	removed := func() bool {
		ReapStrangers(func(int) bool { return false })
		err := g.Remove()
		if err != nil && !errors.Is(err, syscall.EBUSY) {
			t.Error(err)
		}
		return err == nil
	}
	if t, ok := t.(*testing.T); ok {
		eventually(t, "the group is removed", removed)
		return
	}
	for !removed() {
	}
}

func populated(t testing.TB, g *Cgroup) bool {
	t.Helper()
	is, err := g.Populated()
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// What leaves its session, its group and its parent stays in the cgroup.
func TestCgroupHoldsWhatDaemonizes(t *testing.T) {
	c, ok := openCgroups(t)
	if !ok {
		return
	}
	g := newCgroup(t, c, "mail/worker-1#7")
	if populated(t, g) {
		t.Error("populated before anything was started")
	}
	s := sh("(setsid sh -c 'setsid sleep 1000 & exec sleep 1000' &) ; exit 3")
	s.Cgroup = g.FD()
	p := start(t, s)
	g.CloseFD()
	if e := reap(t, p); e.Code != 3 {
		t.Fatalf("%+v", e)
	}
	var pids []int
	eventually(t, "both are listed", func() bool {
		var err error
		if pids, err = g.Procs(); err != nil {
			t.Fatal(err)
		}
		return len(pids) == 2
	})
	if !populated(t, g) {
		t.Error("not populated")
	}
	if err := g.Remove(); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("removed with processes in it: %v", err)
	}
	if _, err := c.New("mail/worker-1#7"); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("a second run in it: %v", err)
	}
	// As the next keeper does.
	found, err := c.Left()
	if err != nil || len(found) != 1 || found[0].Path() != g.Path() {
		t.Errorf("%+v, %v", found, err)
	}
	again := OpenCgroup(g.Path())
	if !populated(t, again) {
		t.Error("not found again")
	}
	if err := again.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left", func() bool { return !populated(t, g) })
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	// All of it is harmless once the group is gone.
	left, err := again.Procs()
	is, perr := again.Populated()
	if err := errors.Join(err, perr, again.Kill(), again.Remove()); err != nil || len(left) > 0 || is {
		t.Errorf("after the removal: %v, %v, %v", left, is, err)
	}
}

func TestCgroupEvents(t *testing.T) {
	c, ok := openCgroups(t)
	if !ok {
		return
	}
	g := newCgroup(t, c, "events")
	s := spec("/bin/sleep", "1000")
	s.Cgroup = g.FD()
	p := start(t, s)
	fd, err := g.Events()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ep)
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLPRI, Fd: int32(fd)}); err != nil {
		t.Fatal(err)
	}
	told := func(ms int) bool {
		n, err := unix.EpollWait(ep, make([]unix.EpollEvent, 1), ms)
		for err == unix.EINTR {
			n, err = unix.EpollWait(ep, make([]unix.EpollEvent, 1), ms)
		}
		return n == 1
	}
	// The start itself may be told late.
	eventually(t, "it is quiet", func() bool { Rearm(fd); return !told(30) })

	if err := g.Freeze(true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "frozen is told", func() bool {
		told(1000)
		Rearm(fd)
		is, err := g.Frozen()
		return is && err == nil
	})
	if told(0) {
		t.Error("told again although it was rearmed")
	}
	began := Boottime()
	if err := g.Kill(); err != nil { // frozen ones die as well
		t.Fatal(err)
	}
	eventually(t, "the end is told", func() bool { ok := told(10000); Rearm(fd); return ok && !populated(t, g) })
	t.Logf("told %v after the kill", Boottime()-began)
	if e := reap(t, p); e.Signal != syscall.SIGKILL {
		t.Errorf("%+v", e)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	Rearm(fd)
	if is, err := g.Frozen(); is || err != nil {
		t.Errorf("a removed group: %v, %v", is, err)
	}
}

// What a consumer makes below its group belongs to the run.
func TestCgroupBelow(t *testing.T) {
	c, ok := openCgroups(t)
	if !ok {
		return
	}
	g := newCgroup(t, c, "below")
	s := sh("mkdir -p " + g.Path() + "/a/b && echo $$ >" + g.Path() + "/a/b/cgroup.procs && exec sleep 1000")
	s.Cgroup = g.FD()
	p := start(t, s)
	eventually(t, "it has moved", func() bool {
		text, err := os.ReadFile(g.Path() + "/a/b/cgroup.procs")
		return err == nil && strings.TrimSpace(string(text)) == fmt.Sprint(p.PID)
	})
	if pids, err := g.Procs(); err != nil || !slices.Equal(pids, []int{p.PID}) {
		t.Errorf("%v, %v", pids, err)
	}
	if err := g.Remove(); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("removed: %v", err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := reap(t, p); e.Signal != syscall.SIGKILL {
		t.Errorf("%+v", e)
	}
	eventually(t, "all of it is removed", func() bool { return g.Remove() == nil })
	if _, err := os.Stat(g.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// The exec helper and the spawner start in the group as well.
func TestCgroupOfHelperAndSpawner(t *testing.T) {
	c, ok := openCgroups(t)
	if !ok {
		return
	}
	sp, err := NewSpawner(func(f func()) { go f() })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sp.Run(ctx) }()
	if err := sp.Ready(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	umask := uint32(0o27)
	helped := spec("/bin/sleep", "1000")
	helped.Umask = &umask
	g := newCgroup(t, c, "helper")
	helped.Cgroup = g.FD()
	p := start(t, helped)
	if pids, err := g.Procs(); err != nil || !slices.Equal(pids, []int{p.PID}) {
		t.Errorf("helper: %v, %v", pids, err)
	}

	g = newCgroup(t, c, "spawner") // after the tables are separate
	spawned := spec("/bin/sleep", "1000")
	spawned.Cgroup = g.FD()
	done := make(chan error, 1)
	sp.Start(spawned, func(started *Process, err error) { p = started; done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if pids, err := g.Procs(); err != nil || !slices.Equal(pids, []int{p.PID}) {
		t.Errorf("spawner: %v, %v", pids, err)
	}
	if err := g.Kill(); err != nil {
		t.Error(err)
	}
	if e := reap(t, p); e.Signal != syscall.SIGKILL {
		t.Errorf("%+v", e)
	}
}

// A group that is not there is the host's fault, not the program's.
func TestStartInARemovedCgroup(t *testing.T) {
	c, ok := openCgroups(t)
	if !ok {
		return
	}
	g := newCgroup(t, c, "removed")
	fd, err := unix.Dup(g.FD())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	s := sh("exit 0")
	s.Cgroup = fd
	_, err = Start(s)
	if failed, ok := errors.AsType[*StartError](err); !ok || failed.Kind != Host || !strings.Contains(failed.Op, "cgroup") {
		t.Errorf("%v", err)
	}
}

func TestCgroupLimits(t *testing.T) {
	c, ok := openCgroups(t)
	if !ok {
		return
	}
	if err := c.Enable("memory", "pids"); err != nil {
		// As in hybrid mode, where version 1 has the controllers.
		if no, ok := errors.AsType[*NoCgroups](err); !ok || no.Hint == "" {
			t.Errorf("%v", err)
		}
		g := newCgroup(t, c, "limits")
		missed := g.Set(Limits{Pids: 3, Memory: 16 << 20})
		if len(missed) != 2 || missed[0].Limit != "pids_max" || !errors.Is(missed[1].Err, errors.ErrUnsupported) {
			t.Errorf("%+v", missed)
		}
		if _, err := g.OOMKills(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v", err)
		}
		return
	}
	g := newCgroup(t, c, "limits")
	if missed := g.Set(Limits{Pids: 4, Memory: 64 << 20}); len(missed) != 0 {
		t.Fatalf("%+v", missed)
	}
	s := sh("exec tail /dev/zero") // takes what it can
	s.Cgroup = g.FD()
	if e := reap(t, start(t, s)); e.Signal != syscall.SIGKILL {
		t.Errorf("%+v", e)
	}
	if n, err := g.OOMKills(); n != 1 || err != nil {
		t.Errorf("%d out-of-memory kills, %v", n, err)
	}
}

func TestNoCgroups(t *testing.T) {
	for name, tc := range map[string]struct{ mounts, groups, want string }{
		"unified": {
			"24 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/system.slice/qsuper.service\n",
			"/sys/fs/cgroup/system.slice/qsuper.service",
		},
		"hybrid, with a space": {
			"31 1 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n41 31 0:38 / /sys/fs/cg\\040roup/unified rw shared:3 - cgroup2 cgroup2 rw\n",
			"1:cpu:/\n0::/\n", "/sys/fs/cg roup/unified",
		},
		"mounted from within": {
			"24 1 0:22 /a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/a/b\n", "/sys/fs/cgroup/b",
		},
		"outside":      {"24 1 0:22 /a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/b\n", "!outside"},
		"not mounted":  {"24 1 0:22 / /proc rw - proc proc rw\n", "0::/\n", "!not mounted"},
		"version 1":    {"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "1:cpu:/\n", "!version 1 only"},
		"out of space": {"24\n\n", "0::/../x\n", "!not mounted"},
	} {
		got, err := findCgroup(tc.mounts, tc.groups)
		want, wrong := strings.CutPrefix(tc.want, "!")
		switch no, _ := errors.AsType[*NoCgroups](err); {
		case wrong && (no == nil || no.Hint == "" || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %q, %v", name, got, err)
		case !wrong && (err != nil || got != want):
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	c := &Cgroups{top: "/proc/self", base: "/proc/self/qsuper"}
	if no, ok := errors.AsType[*NoCgroups](c.try()); !ok || !strings.Contains(no.Error(), "Delegate=yes") {
		t.Errorf("%v", no)
	}
	c = &Cgroups{top: t.TempDir()} // has no cgroup.controllers
	if no, ok := errors.AsType[*NoCgroups](c.Enable("memory")); !ok {
		t.Errorf("%v", no)
	}
}

// vacateWord makes TestMain leave its group, and say so.
const vacateWord = "QSUPER_TEST_VACATE"

func vacateMain() {
	c, err := OpenCgroups("/x")
	if err == nil {
		err = c.vacate()
	}
	fmt.Println(err)
	now, _ := os.ReadFile("/proc/self/cgroup")
	fmt.Println(string(now))
	again, err := OpenCgroups("/x")
	fmt.Println(err, again != nil && c != nil && again.base == c.base)
	os.Exit(0)
}

// Where controllers are to be enabled the processes of the top go aside, and the
// place for runs stays what it was.
func TestTheTopIsVacated(t *testing.T) {
	c, ok := openCgroups(t)
	if !ok {
		return
	}
	for name, want := range map[string]string{"scope": "/" + keeperGroup, "x.service": "DelegateSubgroup="} {
		g := newCgroup(t, c, "vacate")
		top := filepath.Join(g.Path(), name)
		if err := os.Mkdir(top, 0o755); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(top, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		s := spec(os.Args[0])
		s.Env, s.Cgroup, s.Stdout = []string{vacateWord + "=1"}, fd, pipe[1]
		p := start(t, s)
		unix.Close(fd)
		unix.Close(pipe[1])
		buf := make([]byte, 8192)
		n := 0
		for m := 1; m > 0; {
			m, _ = unix.Read(pipe[0], buf[n:])
			n += max(m, 0)
		}
		unix.Close(pipe[0])
		reap(t, p)
		said := string(buf[:n])
		if !strings.Contains(said, want) || !strings.Contains(said, "<nil> true") {
			t.Errorf("%s: %s", name, said)
		}
		scrap(t, g)
	}
}

func TestLeafName(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"a", "a/1", "a_2f1", "a 1", ".", "..", "", "cgroup.procs", "ä", strings.Repeat("x", 300), strings.Repeat("x", 301), "a\x00"} {
		leaf := leafName(name)
		if other, twice := seen[leaf]; twice {
			t.Errorf("%q and %q are both %q", name, other, leaf)
		}
		seen[leaf] = name
		if len(leaf) > 255 || filepath.Base(leaf) != leaf || !strings.HasPrefix(leaf, runGroup) {
			t.Errorf("%q becomes %q", name, leaf)
		}
	}
}
