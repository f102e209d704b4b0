package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/test/rig"
)

var eventually = rig.Eventually

// fleet is a daemon with consumers of this package.
type fleet struct {
	*rig.Daemon
	journal journal
	self    string // the program of the consumers
}

// newFleet makes the folder; nothing runs yet.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := rig.NewDaemon(t, "")
	return &fleet{Daemon: d, journal: journal(d.Path("journal")), self: self}
}

// startFleet starts a daemon with these consumers.
func startFleet(t *testing.T, consumers ...string) *fleet {
	t.Helper()
	f := newFleet(t)
	f.Write(f.file("", consumers...))
	f.Start()
	return f
}

// file is a configuration: settings are lines of `daemon` and connections.
func (f *fleet) file(settings string, consumers ...string) string {
	text := settings + "defaults:\n  env: {" + consumerEnv + ": " + string(f.journal) + "}\nconsumers:\n" + strings.Join(consumers, "")
	return strings.ReplaceAll(text, "$SELF", f.self)
}

// crew is one consumer of a file: its words, then keys of it.
func crew(name, words string, keys ...string) string {
	return fmt.Sprintf("  %s:\n    command: [$SELF, %s]\n    spawn: always\n    %s\n", name, quoted(words), strings.Join(keys, "\n    "))
}

func quoted(words string) string {
	var list []string
	for _, w := range strings.Fields(words) {
		list = append(list, strconv.Quote(w))
	}
	return strings.Join(list, ", ")
}

// talkers are n busy consumers with numbered lines.
func talkers(n int) string {
	return crew("talk", "lines 20 pad 40", fmt.Sprintf("instances: %d", n))
}

// begun waits until so many consumers have begun, in all, and returns the journal.
func (f *fleet) begun(n int) []record {
	f.T.Helper()
	eventually(f.T, rig.Patience, fmt.Sprintf("%d consumers have begun", n), func() bool { return len(f.journal.begins(f.T)) >= n })
	return f.journal.begins(f.T)
}

// quiesce stops everything, waits for the end of the daemon, and judges what
// holds for every case: nothing overlapped, nothing is left.
func (f *fleet) quiesce(code int) rig.Result {
	f.T.Helper()
	r := f.Run("stop")
	if r.Code != code {
		f.T.Errorf("stop: exit %d, expected %d\n%s%s", r.Code, code, r.Stdout, r.Stderr)
	}
	eventually(f.T, rig.Patience, "the keeper ends", f.Over)
	f.noLeftovers()
	f.noOverlap()
	for _, r := range f.journal.of(f.T, "trouble") {
		f.T.Errorf("%s had trouble: %s", r.Slot, r.Detail)
	}
	return r
}

// process is one that this fleet's daemon has started, or a child of it.
type process struct {
	pid, parent int
	slot, run   string
}

// processes are all that carry this fleet's journal and a run in their
// environment. Zombies have no environment any more.
func (f *fleet) processes() (list []process) {
	for pid := range rig.ProcessesOf(string(f.journal)) {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		p := process{pid: pid}
		var consumer, slot string
		for kv := range strings.SplitSeq(string(env), "\x00") {
			switch name, value, _ := strings.Cut(kv, "="); name {
			case "QSUPER_RUN_ID":
				p.run = value
			case "QSUPER_CONSUMER":
				consumer = value
			case "QSUPER_SLOT":
				slot = value
			}
		}
		if p.run == "" {
			continue
		}
		p.slot = consumer + "/" + slot
		p.parent, _ = strconv.Atoi(statField(pid, 4))
		list = append(list, p)
	}
	return list
}

// statField is a field of /proc/PID/stat, counted from one as in proc(5); ""
// when there is no such process.
func statField(pid, n int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(string(b), ") ")
	if fields := strings.Fields(rest); ok && len(fields) > n-3 {
		return fields[n-3]
	}
	return ""
}

func startTime(pid int) string { return statField(pid, 22) }

// death is when a process ends, seen as soon as the kernel says so.
type death struct {
	pid int
	at  atomic.Int64
}

// watch begins to look at a living process.
func watch(t *testing.T, pid int) *death {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("watch pid %d: %v", pid, err)
	}
	d := &death{pid: pid}
	go func() {
		defer unix.Close(fd)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if n > 0 || err != nil && err != unix.EINTR {
				break
			}
		}
		d.at.Store(int64(now()))
	}()
	return d
}

func (d *death) wait(t *testing.T) time.Duration {
	t.Helper()
	eventually(t, rig.Patience, fmt.Sprintf("pid %d ends", d.pid), func() bool { return d.at.Load() != 0 })
	return time.Duration(d.at.Load())
}

// usage (O7) is what a process holds: descriptors, threads, resident memory.
type usage struct {
	fds, threads int
	rss          int // KiB
}

func usageOf(pid int) (u usage) {
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	u.fds = len(fds)
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		switch f := strings.Fields(line); f[0] {
		case "Threads:":
			u.threads, _ = strconv.Atoi(f[1])
		case "VmRSS:":
			u.rss, _ = strconv.Atoi(f[1])
		}
	}
	return u
}

// flat (O7) waits until a process holds no more than before. Threads that Go has
// made stay, and its heap breathes: a leak grows with what was repeated, so the
// bounds are a fraction of that.
func (f *fleet) flat(what string, pid int, before usage, repeated int) {
	f.T.Helper()
	var u usage
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		u = usageOf(pid)
		if u.fds <= before.fds+repeated/10 && u.threads <= before.threads+max(repeated/10, 8) && u.rss <= before.rss+20<<10 {
			return
		}
	}
	f.T.Errorf("O7 flat: %s held %+v and holds %+v", what, before, u)
}

// kill sends SIGKILL to one process.
func kill(t *testing.T, pid int) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("kill pid %d", pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		t.Fatalf("kill pid %d: %v", pid, err)
	}
}

// smallDisk mounts a file system of so many bytes on a folder of the fleet, for
// the time of the test.
func (f *fleet) smallDisk(name string, size string) string {
	f.T.Helper()
	dir := f.Path(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.T.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		f.T.Fatalf("mount a small tmpfs: %v (these cases run as root)", err)
	}
	// Last in, first out: while processes may still be there. A lazy unmount
	// does not wait for them, and nothing of it can stay.
	f.T.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			f.T.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fill takes all space of a folder and returns how to give it back.
func (f *fleet) fill(dir string) (free func()) {
	f.T.Helper()
	name := filepath.Join(dir, "ballast")
	file, err := os.Create(name)
	if err != nil {
		f.T.Fatal(err)
	}
	defer file.Close()
	block := make([]byte, 4096)
	for {
		if _, err := file.Write(block); err != nil {
			return func() { _ = os.Remove(name) }
		}
	}
}
