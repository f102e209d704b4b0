package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"qsuper/test/rig"
)

var fileFaults = []fault{
	{name: "F017_ReloadOfABadFile", score: 16, run: badReload},
	{name: "F023_SocketOfAnotherUser", score: 15, run: otherUser},
	{name: "F049_FileEmptyOrGone", score: 16, run: emptyFile},
	{name: "F053_FileThatExplodes", score: 9, run: explodingFile},
	{name: "F049_CommandsWithABrokenFile", score: 16, run: brokenFile},
	{name: "P23_StateDirectoryRemoved", score: 8, run: stateDirRemoved},
	{name: "F056_SocketIsASymlink", score: 10, run: socketSymlink},
	{name: "F004_AnotherDaemonAtTheSocket", score: 20, run: sameSocket},
	{name: "F081_StalePIDFile", score: 8, run: stalePIDFile},
	{name: "F085_StartOnAFullDisk", score: 8, run: startOnFullDisk},
	{name: "F085_StateDiskFull", score: 8, run: stateDiskFull},
	{name: "F122_ReloadTouchesOnlyWhatChanged", score: 8, run: reloadSome},
}

// fifty are the consumers of a file of some size; one entry can be replaced.
func fifty(n int, other string) []string {
	list := make([]string, 50)
	for i := range list {
		list[i] = crew(fmt.Sprint("c", i), "lines 2", "autostart: "+fmt.Sprint(i < 6))
	}
	if other != "" {
		list[n] = other
	}
	return list
}

func badReload(t *testing.T) {
	f := newFleet(t)
	f.Write(f.file("", fifty(0, "")...))
	f.Start()
	f.begun(6)
	before := f.pids()
	for name, text := range map[string]string{
		"syntax":        f.file("", fifty(0, "")...) + "  x: [",
		"unknown key":   f.file("", fifty(17, crew("c17", "lines 2", "intsances: 2"))...),
		"no program":    f.file("", fifty(17, "  c17: {command: [/nowhere/program]}\n")...),
		"no connection": f.file("", fifty(17, crew("c17", "lines 2", "requires: [nothing]"))...),
		"no such user":  f.file("", fifty(17, crew("c17", "lines 2", "user: no-such-user-here"))...),
		"twice":         f.file("", fifty(17, crew("c16", "lines 2"))...),
		"other bytes":   "\x00\x01\xff",
	} {
		f.Write(text)
		r := f.Run("reload", "--socket", f.Path("q.sock"))
		if r.Code != 78 {
			t.Errorf("%s: reload exits with %d, expected 78", name, r.Code)
		}
		if !strings.Contains(r.Stdout+r.Stderr, "qsuper.yaml:") {
			t.Errorf("%s: no line is named:\n%s%s", name, r.Stdout, r.Stderr)
		}
	}
	f.Write(f.file("", fifty(0, "")...))
	f.samePIDs(before)
	f.Must("reload")
	f.samePIDs(before)
	f.quiesce(0)
	f.linesWhole(false)
}

func emptyFile(t *testing.T) {
	f := newFleet(t)
	good := f.file("", talkers(4))
	f.Write(good)
	f.Start()
	f.begun(4)
	before := f.pids()
	place := f.Path("qsuper.yaml")
	replace := func(text string) {
		if err := os.WriteFile(place, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bad := map[string]func(){
		"empty":    func() { replace("") },
		"blanks":   func() { replace(" \n\t\n \n") },
		"comments": func() { replace("# all gone\n# moved away\n") },
		"deleted":  func() { _ = os.Remove(place) },
		"folder":   func() { _ = os.Remove(place); _ = os.Mkdir(place, 0o700) },
	}
	for name, spoil := range bad {
		spoil()
		if r := f.Run("reload", "--socket", f.Path("q.sock")); r.Code != 78 {
			t.Errorf("%s: reload exits with %d, expected 78: %s%s", name, r.Code, r.Stdout, r.Stderr)
		}
		if r := f.Run("run"); r.Code != 78 {
			t.Errorf("%s: a fresh start exits with %d, expected 78: %s", name, r.Code, r.Stderr)
		}
		_ = os.RemoveAll(place)
	}
	// Not even a new engine needs the file: it goes on with the copy in force.
	st := rig.Status{}
	if r := f.Run("status", "--json", "--socket", f.Path("q.sock")); r.Code != 0 {
		t.Errorf("status without a file: exit %d, %s", r.Code, r.Stderr)
	}
	f.Write(good)
	st = f.alive()
	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}
	kill(t, st.Daemon.EnginePID)
	eventually(t, rig.Patience, "the next engine answers without a file", func() bool {
		return f.Run("status", "--json", "--socket", f.Path("q.sock")).Code == 0
	})
	f.Write(good)
	f.samePIDs(before)
	f.quiesce(0)
	f.linesWhole(false)
}

// A file of a few hundred bytes that means gigabytes, and one that never ends.
func explodingFile(t *testing.T) {
	f := startFleet(t, talkers(2))
	f.begun(2)
	before := f.pids()
	held := usageOf(f.alive().Daemon.EnginePID)
	good := f.file("", talkers(2))
	bomb := "x0: &x0 [a, a, a, a, a, a, a, a, a]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("x%d: &x%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d, ", i-1), 9), ", "))
	}
	fifo := f.Path("fifo.yaml")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"aliases": good + bomb,
		"depth":   good + "x: " + strings.Repeat("[", 20000),
		"fifo":    "include: [fifo.yaml]\n" + good,
		"endless": "include: [/dev/zero]\n" + good,
	} {
		f.Write(text)
		if r := f.Run("reload"); r.Code != 78 {
			t.Errorf("%s: reload exits with %d, expected 78: %.300s%.300s", name, r.Code, r.Stdout, r.Stderr)
		}
		if r := f.Run("status", "--socket", f.Path("q.sock")); r.Code != 0 {
			t.Errorf("%s: O8 alive: status exits with %d: %s", name, r.Code, r.Stderr)
		}
	}
	f.Write(good)
	f.samePIDs(before)
	f.flat("the engine", f.alive().Daemon.EnginePID, held, 10)
	f.quiesce(0)
}

// What lies in the socket's place, a link or a file, is neither followed nor
// removed. A daemon does not start over it; one that runs goes on, and can be
// reached again once the place is free.
func socketSymlink(t *testing.T) {
	f := newFleet(t)
	f.Write(f.file("", talkers(1)))
	target := f.Path("precious")
	if err := os.WriteFile(target, []byte("do not touch"), 0o644); err != nil {
		t.Fatal(err)
	}
	sock := f.Path("q.sock")
	block := func() {
		_ = os.Remove(sock)
		if err := os.Symlink(target, sock); err != nil {
			t.Fatal(err)
		}
	}
	block()
	if r := f.Run("run"); r.Code != 1 || !strings.Contains(r.Stderr, sock+" is no socket but a symbolic link") {
		t.Errorf("run over a link: exit %d, %s", r.Code, r.Stderr)
	}
	if err := os.Remove(sock); err != nil {
		t.Fatal(err)
	}
	f.Start()
	f.begun(1)
	before := f.pids()
	engine := f.alive().Daemon.EnginePID
	block()
	kill(t, engine)
	eventually(t, rig.Patience, "the log says what is wrong", func() bool {
		return strings.Contains(rig.Tail(f.Path("daemon.log"), 1<<20), "is no socket but a symbolic link")
	})
	for range 3 {
		r := f.Run("status")
		if r.Code != 4 || !strings.Contains(r.Stderr, fmt.Sprintf("the daemon lives (keeper pid %d)", f.Cmd.Process.Pid)) || !strings.Contains(r.Stderr, "is no socket") {
			t.Errorf("status: exit %d, %s", r.Code, r.Stderr)
		}
	}
	if n := strings.Count(rig.Tail(f.Path("daemon.log"), 1<<20), "engine died"); n != 1 {
		t.Errorf("the engine died %d times, of what lies there", n)
	}
	if err := os.Remove(sock); err != nil {
		t.Fatal(err)
	}
	eventually(t, rig.Patience, "without the link the daemon answers", func() bool { _, ok := f.Status(); return ok })
	if b, err := os.ReadFile(target); string(b) != "do not touch" {
		t.Errorf("what the link pointed to is %q, %v", b, err)
	}
	if st, err := os.Lstat(target); err != nil || st.Mode() != 0o644 {
		t.Errorf("what the link pointed to has mode %v, %v", st.Mode(), err)
	}
	f.samePIDs(before)
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}

// Who is neither owner nor in the group of the socket is not let in, whatever he
// asks for.
func otherUser(t *testing.T) {
	f := startFleet(t, talkers(1))
	f.begun(1)
	before := f.pids()
	if err := os.Chmod(f.Dir, 0o755); err != nil { // the socket has to guard itself
		t.Fatal(err)
	}
	program := f.Path("qsuper") // the tests' own folder is not for others
	if b, err := os.ReadFile(rig.Binary); err != nil || os.WriteFile(program, b, 0o755) != nil {
		t.Fatal("copy the program: ", err)
	}
	for _, args := range [][]string{{"status"}, {"stop"}, {"stop", "talk"}, {"reload"}, {"logs"}, {"events"}} {
		cmd := exec.Command(program, append(args, "--socket", f.Path("q.sock"))...)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); err == nil || code <= 0 || !strings.Contains(string(out), "not allowed") {
			t.Errorf("%v as nobody: exit %d, %s", args, code, out)
		}
	}
	f.samePIDs(before)
	f.quiesce(0)
	f.linesWhole(false)
}

func stalePIDFile(t *testing.T) {
	f := newFleet(t)
	f.Write(f.file("", talkers(1)))
	state, pidFile, target := f.Path("state"), f.Path("state/qsuper.pid"), f.Path("precious")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func() error{
		"dead":    func() error { return os.WriteFile(pidFile, []byte("4194300\n"), 0o600) },
		"another": func() error { return os.WriteFile(pidFile, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600) },
		"empty":   func() error { return os.WriteFile(pidFile, nil, 0o600) },
		"huge":    func() error { return os.WriteFile(pidFile, make([]byte, 8<<20), 0o600) },
		"link":    func() error { return os.Symlink(target, pidFile) },
	} {
		_ = os.Remove(pidFile)
		if err := os.WriteFile(target, []byte("do not touch"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		f.Start()
		n := len(f.journal.begins(t))
		f.UntilRunning("talk", 1)
		f.begun(max(n, 1))
		if b, _ := os.ReadFile(pidFile); strings.TrimSpace(string(b)) != fmt.Sprint(f.Cmd.Process.Pid) {
			t.Errorf("%s: the pid file says %.40q, the keeper is %d", name, b, f.Cmd.Process.Pid)
		}
		if b, _ := os.ReadFile(target); string(b) != "do not touch" {
			t.Errorf("%s: the target is %.40q", name, b)
		}
		f.quiesce(0)
	}
	f.linesWhole(false)
}

// With no space for its state the daemon goes on, and so do its consumers.
func stateDiskFull(t *testing.T) {
	f := newFleet(t)
	f.Write(f.file("", talkers(4), crew("brief", "lines 10 life 300ms")))
	disk := f.smallDisk("state", "4M")
	f.Start()
	f.begun(5)
	f.UntilRunning("talk", 4)
	talk := fmt.Sprint(f.Consumer("talk").PIDs())
	free := f.fill(disk)
	n := len(f.journal.begins(t))
	f.begun(n + 3) // starts go on
	f.alive()
	f.Write(f.file("", talkers(4), crew("brief", "lines 10 life 300ms"), crew("added", "lines 10")))
	f.Run("reload") // it may be refused, it may not hurt
	f.Run("stop", "brief")
	kill(t, f.alive().Daemon.EnginePID)
	eventually(t, rig.Patience, "the next engine answers", func() bool { _, ok := f.Status(); return ok })
	if now := fmt.Sprint(f.UntilRunning("talk", 4).PIDs()); now != talk {
		t.Errorf("O5 fleet: it was %s and is %s", talk, now)
	}
	free()
	f.Must("reload")
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
	if left, _ := filepath.Glob(f.Path("state/.new-*")); len(left) > 0 {
		t.Errorf("half-written files are left: %v", left)
	}
}

func reloadSome(t *testing.T) {
	f := startFleet(t, talkers(6), crew("other", "lines 20", "instances: 3"))
	f.begun(9)
	f.UntilRunning("talk", 6)
	other, talk := f.UntilRunning("other", 3).PIDs(), f.Consumer("talk").PIDs()
	reload := func(consumers ...string) {
		f.Write(f.file("", consumers...))
		f.Must("reload")
	}
	// Log size only: nobody is restarted. Fewer: those that stay are the same.
	reload(talkers(6), crew("other", "lines 20", "instances: 3", "logs: {max_size: 64KiB, keep: 50}"))
	if now := f.UntilRunning("other", 3).PIDs(); fmt.Sprint(now) != fmt.Sprint(other) {
		t.Errorf("a change of the logs: %v became %v", other, now)
	}
	reload(talkers(2), crew("other", "lines 20", "instances: 3", "logs: {max_size: 64KiB, keep: 50}"))
	if now := f.UntilRunning("talk", 2).PIDs(); fmt.Sprint(now) != fmt.Sprint(talk[:2]) {
		t.Errorf("fewer: %v became %v", talk, now)
	}
	reload(talkers(2))
	eventually(t, rig.Patience, "what was removed is gone", func() bool {
		st, ok := f.Status()
		return ok && len(st.Consumers) == 1
	})
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}
