package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/test/rig"
)

// Cases of a host or a kernel that has nothing left to give.
var scarceFaults = []fault{
	{name: "F077_NoFilesOnTheHost", score: 9, run: noFiles(unix.ENFILE)},
	{name: "F077_NoDescriptorsInTheEngine", score: 9, run: noFiles(unix.EMFILE)},
	{name: "F078_NoMemoryForAStart", score: 9, run: noProcesses(unix.ENOMEM)},
	{name: "F076_NoProcessForAStart", score: 12, run: noProcesses(unix.EAGAIN)},
	{name: "F080_NoThreads", score: 9, run: noThreads},
	{name: "F075_KilledForMemory", score: 12, run: killedForMemory},
	{name: "F088_UserCannotBeSet", score: 10, run: userCannotBeSet},
	{name: "F044_PIDUsedAgain", score: 10, run: pidUsedAgain},
	{name: "F035_UpgradeUnderManyConsumers", score: 16, kind: slow, run: upgradeUnderMany},
}

// cpu is the processor time that processes have used.
func cpu(pids ...int) (ticks int) {
	for _, pid := range pids {
		for _, field := range []int{14, 15} {
			n, _ := strconv.Atoi(statField(pid, field))
			ticks += n
		}
	}
	return ticks
}

// While nothing can be opened, by the keeper and the engine or by the engine
// alone, consumers go on; nobody spins; and afterwards all is as it was.
func noFiles(errno syscall.Errno) func(*testing.T) {
	return func(t *testing.T) {
		r := newRefuser(t)
		f := newFleet(t)
		f.Write(f.file("", talkers(4), crew("brief", "lines 10 life 300ms", "instances: 2", "backoff: {initial: 100ms, max: 300ms}")))
		f.StartWith(r.launcher(f)...)
		f.begun(6)
		f.UntilRunning("talk", 4)
		talk := fmt.Sprint(f.Consumer("talk").PIDs())
		d := f.alive().Daemon
		poor := []int{d.EnginePID}
		if errno == unix.ENFILE {
			poor = append(poor, d.KeeperPID)
		}
		r.refuse(errno, poor, unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_ACCEPT4, unix.SYS_SOCKET, unix.SYS_PIPE2, unix.SYS_PIDFD_OPEN)
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(c)
		if err := unix.Connect(c, &unix.SockaddrUnix{Name: f.Path("q.sock")}); err != nil { // someone at the door
			t.Fatal(err)
		}
		ticks, used, since := len(f.journal.of(t, "tick")), cpu(poor...), now()
		eventually(t, rig.Patience, "consumers go on", func() bool { return len(f.journal.of(t, "tick")) > ticks+4*20 })
		if took := now() - since; cpu(poor...)-used > int(took/(20*time.Millisecond)) { // a tick is 10 ms
			t.Errorf("%d ms of processor time in %s without files", 10*(cpu(poor...)-used), took)
		}
		if r.count() == 0 {
			t.Error("nothing was refused: this case shows nothing")
		}
		r.refuse(0, nil)
		st := f.alive()
		if st.Daemon.KeeperPID != d.KeeperPID || st.Daemon.EnginePID != d.EnginePID {
			t.Errorf("%+v became %+v", d, st.Daemon)
		}
		if now := fmt.Sprint(f.UntilRunning("talk", 4).PIDs()); now != talk {
			t.Errorf("O5 fleet: it was %s and is %s", talk, now)
		}
		f.begun(len(f.journal.begins(t)) + 4)
		f.truth()
		f.quiesce(0)
		f.linesWhole(true) // with no file to go on in, a line says how much is missing
	}
}

// A start for which the kernel has no process or no memory fails, says so, and is
// tried again.
func noProcesses(errno syscall.Errno) func(*testing.T) {
	return func(t *testing.T) {
		r := newRefuser(t)
		f := newFleet(t)
		f.Write(f.file("", talkers(4), crew("more", "lines 5", "autostart: false", "instances: 3", "backoff: {initial: 200ms, max: 500ms}")))
		f.StartWith(r.launcher(f)...)
		f.begun(4)
		f.UntilRunning("talk", 4)
		before := f.journal.begins(t)
		r.refuse(errno, []int{f.Cmd.Process.Pid}, unix.SYS_CLONE, unix.SYS_CLONE3)
		f.Run("start", "more", "--no-wait")
		var c rig.ConsumerStatus
		eventually(t, rig.Patience, "status says why", func() bool {
			c = f.Consumer("more")
			return len(c.Slots) == 3 && strings.Contains(c.Slots[0].Reason, errno.Error())
		})
		if c.Running != 0 {
			t.Errorf("%+v", c)
		}
		n := r.count()
		eventually(t, rig.Patience, "it is tried again", func() bool { return r.count() > n+3 })
		f.stillThere(before)
		r.refuse(0, nil)
		f.UntilRunning("more", 3)
		f.begun(7)
		f.truth()
		f.quiesce(0)
		f.linesWhole(false)
	}
}

// v1Group makes a control group of the first version, and puts processes into it.
func (f *fleet) v1Group(controller, limit string, value int, pids ...int) (set func(int), put func(...int)) {
	f.T.Helper()
	group := filepath.Join("/sys/fs/cgroup", controller, rig.Root()+"-"+filepath.Base(f.Dir))
	write := func(name string, n int) {
		if err := os.WriteFile(filepath.Join(group, name), []byte(strconv.Itoa(n)), 0o600); err != nil {
			f.T.Errorf("%s group: %v", controller, err)
		}
	}
	if err := os.Mkdir(group, 0o700); err != nil {
		f.T.Fatalf("make a control group: %v (this case needs the v1 controller %s)", err, controller)
	}
	f.T.Cleanup(func() {
		eventually(f.T, rig.Patience, "the control group is empty", func() bool {
			b, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
			for pid := range strings.FieldsSeq(string(b)) {
				_ = os.WriteFile(filepath.Join("/sys/fs/cgroup", controller, "cgroup.procs"), []byte(pid), 0o600)
			}
			return os.Remove(group) == nil
		})
	})
	set = func(n int) { write(limit, n) }
	put = func(pids ...int) {
		for _, pid := range pids {
			write("cgroup.procs", pid)
		}
	}
	set(value)
	put(pids...)
	return set, put
}

// A limit of threads that is reached already: nothing of qsuper aborts that a
// consumer would notice, and all goes on once there is room.
func noThreads(t *testing.T) {
	f := startFleet(t, talkers(6), crew("more", "lines 5", "autostart: false", "instances: 4", "backoff: {initial: 200ms, max: 500ms}"))
	f.begun(6)
	before := f.UntilRunning("talk", 6).PIDs()
	d := f.alive().Daemon
	threads := usageOf(d.KeeperPID).threads + usageOf(d.EnginePID).threads
	set, _ := f.v1Group("pids", "pids.max", threads+1, d.KeeperPID, d.EnginePID)
	f.Run("start", "more", "--no-wait")
	for range 20 {
		f.Run("status")
	}
	ticks := len(f.journal.of(t, "tick"))
	eventually(t, rig.Patience, "consumers go on", func() bool { return len(f.journal.of(t, "tick")) > ticks+6*10 })
	if f.Over() {
		t.Fatal("the keeper has ended")
	}
	set(1000)
	eventually(t, rig.Patience, "it answers", func() bool { _, ok := f.Status(); return ok })
	f.UntilRunning("more", 4)
	if now := f.UntilRunning("talk", 6).PIDs(); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("O5 fleet: it was %v and is %v", before, now)
	}
	st := f.alive()
	if st.Daemon.EnginePID != d.EnginePID {
		t.Errorf("the engine, pid %d, has given up", d.EnginePID)
	}
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}

// The kernel ends the fattest process of a group that has too much: that is the
// consumer, though its keeper is protected, and it is restarted.
func killedForMemory(t *testing.T) {
	f := newFleet(t)
	f.Write(f.file("", talkers(2), crew("fat", "memory 200 lines 5", "autostart: false", "backoff: {initial: 300ms, max: 1s}")))
	f.StartWith("/bin/sh", "-c", `echo -500 >/proc/self/oom_score_adj; exec "$0" "$@"`)
	f.begun(2)
	talk := f.UntilRunning("talk", 2).PIDs()
	d := f.alive().Daemon
	set, _ := f.v1Group("memory", "memory.limit_in_bytes", 120<<20, d.KeeperPID, d.EnginePID)
	f.Must("start", "fat", "--no-wait")
	eventually(t, rig.Patience, "it has been killed twice, and comes back", func() bool {
		c := f.Consumer("fat")
		return c.Exits >= 2 && c.Slots[0].LastExit != nil && c.Slots[0].LastExit.Signal == "SIGKILL"
	})
	if e := f.Consumer("fat").Slots[0].LastExit; e.Class != "oom" && e.Class != "crashed" { // only version 2 of control groups tells
		t.Errorf("last exit: %+v", e)
	}
	set(1 << 30)
	f.UntilRunning("fat", 1)
	eventually(t, rig.Patience, "it lives", func() bool { return len(f.journal.begins(t)) >= 3 })
	for _, p := range f.processes() {
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.pid)); strings.TrimSpace(string(b)) != "0" {
			t.Errorf("%s pid %d has oom_score_adj %q", p.slot, p.pid, b)
		}
	}
	if now := f.UntilRunning("talk", 2).PIDs(); fmt.Sprint(now) != fmt.Sprint(talk) {
		t.Errorf("O5 fleet: it was %v and is %v", talk, now)
	}
	if st := f.alive(); st.Daemon.KeeperPID != d.KeeperPID || st.Daemon.EnginePID != d.EnginePID {
		t.Errorf("%+v became %+v", d, st.Daemon)
	}
	f.quiesce(0)
}

// A process whose user cannot be set never runs, least of all as root.
func userCannotBeSet(t *testing.T) {
	r := newRefuser(t)
	f := newFleet(t)
	f.Write(f.file("", talkers(1), "  mail:\n    command: [/bin/sh, -c, 'id -u; exec sleep 1000']\n    user: nobody\n    autostart: false\n    backoff: {initial: 200ms, max: 500ms}\n"))
	f.StartWith(r.launcher(f)...)
	f.begun(1)
	for _, call := range []int{unix.SYS_SETUID, unix.SYS_SETGROUPS} {
		r.refuse(unix.EPERM, nil, unix.SYS_SETRESUID, call)
		f.Must("start", "mail", "--no-wait")
		eventually(t, rig.Patience, "it was tried", func() bool { return r.count() > 2 })
		eventually(t, rig.Patience, "status says why", func() bool {
			c := f.Consumer("mail")
			return len(c.Slots) == 1 && c.Slots[0].PID == 0 && strings.Contains(c.Slots[0].Reason, "operation not permitted")
		})
		if lines := strings.Join(f.logLines("mail/0"), ""); lines != "" {
			t.Fatalf("it ran: %q", lines)
		}
		f.Must("stop", "mail")
	}
	r.refuse(0, nil)
	f.Must("start", "mail")
	eventually(t, rig.Patience, "it runs as nobody", func() bool { return f.logLines("mail/0")[0] == "65534" })
	f.quiesce(0)
}

// A consumer has ended while no keeper lived, and a stranger has its number: he
// is neither adopted nor signalled, whatever is asked for.
func pidUsedAgain(t *testing.T) {
	f := startFleet(t, talkers(2))
	list := f.begun(2)
	f.UntilRunning("talk", 2)
	f.killKeeper(true)
	for _, r := range list {
		kill(t, r.PID)
		eventually(t, rig.Patience, "it is gone", func() bool { return startTime(r.PID) == "" })
	}
	journal := journal(f.Path("strangers"))
	var strangers []string
	for _, r := range list {
		s := f.processWithPID(r.PID, string(journal))
		strangers = append(strangers, fmt.Sprint(s, "@", startTime(s)))
	}
	eventually(t, rig.Patience, "the strangers live", func() bool {
		met := 0
		for _, r := range journal.begins(t) {
			if r.PID == list[0].PID || r.PID == list[1].PID {
				met++
			}
		}
		return met == 2
	})
	f.Start()
	f.begun(4)
	f.UntilRunning("talk", 2)
	f.KillEngine()
	f.Run("restart", "talk")
	f.Run("stop", "--now", "talk")
	f.killKeeper(false)
	f.Start()
	f.quiesce(0)
	for i, r := range list {
		if now := fmt.Sprint(r.PID, "@", startTime(r.PID)); now != strangers[i] || statField(r.PID, 3) == "Z" {
			t.Errorf("the stranger %s is %s, in state %s", strangers[i], now, statField(r.PID, 3))
		}
	}
	for _, r := range journal.of(t, "signal") {
		t.Errorf("a stranger was signalled: %+v", r)
	}
}

// processWithPID starts a stranger who has this pid: the kernel can be told which
// number was given last. Others on the host may be quicker, so it may take some
// tries.
func (f *fleet) processWithPID(pid int, journal string) int {
	f.T.Helper()
	for range 1000 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0o600); err != nil {
			f.T.Fatal(err)
		}
		p, err := os.StartProcess(f.self, []string{f.self}, &os.ProcAttr{
			Env: append(os.Environ(), consumerEnv+"="+journal), Files: []*os.File{nil, nil, nil}, Sys: &syscall.SysProcAttr{Setsid: true},
		})
		if err != nil {
			f.T.Fatal(err)
		}
		end := func() { _ = p.Kill(); _, _ = p.Wait() }
		if p.Pid == pid {
			f.T.Cleanup(end)
			return pid
		}
		end()
	}
	f.T.Fatalf("pid %d could not be had", pid)
	return 0
}

// Another binary takes over under hundreds of talkers.
func upgradeUnderMany(t *testing.T) {
	const n = 500
	f := newFleet(t)
	f.Write(f.file("  start_rate: 0\n", fmt.Sprintf("  sh:\n    command: [/bin/sh, -c, 'i=0; while :; do i=$$((i+1)); echo \"tick $$i\"; sleep 1; done']\n    instances: %d\n", n)))
	f.Start()
	f.UntilRunning("sh", n)
	before := f.pids()
	for range 3 {
		f.Must("upgrade")
	}
	f.samePIDs(before)
	f.quiesce(0)
	f.shellLines(n)
}
