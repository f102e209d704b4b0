package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/keeper/storetest"
	"qsuper/pidfile"
	"qsuper/proc"
)

// The test binary plays every part: keeper, engine and consumer are processes
// of their own.
const (
	roleEnv = "QSUPER_TEST_ROLE"
	dirEnv  = "QSUPER_TEST_DIR"
	oomEnv  = "QSUPER_TEST_OOM" // the keeper's oom_score_adj

	muteEnv = "QSUPER_TEST_MUTE" // the keeper's stderr has no reader
	bareEnv = "QSUPER_TEST_BARE" // the keeper uses no cgroups

	// raceEnv keeps the race detector from sleeping a second at each exit.
	raceEnv = "GORACE=atexit_sleep_ms=0"
)

// patience is how long anything may take that is not a matter of time: the
// machine may be busy, and the race detector makes programs slow to start.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	proc.HelperMain()
	EscortMain()
	switch os.Getenv(roleEnv) {
	case "keeper":
		playKeeper()
	case "engine":
		if len(os.Args) > 1 {
			playTrial()
		}
		playEngine()
	case "consumer":
		playConsumer(os.Args[1:])
	}
	os.Exit(m.Run())
}

func playKeeper() {
	if score := os.Getenv(oomEnv); score != "" {
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte(score), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, "keeper:", err)
			os.Exit(1)
		}
	}
	if os.Getenv(muteEnv) != "" {
		r, w, err := os.Pipe()
		if err != nil {
			os.Exit(1)
		}
		r.Close()
		unix.Dup3(int(w.Fd()), 2, 0)
	}
	code, err := Run(context.Background(), Options{
		EngineArgv: []string{"/proc/self/exe"},
		EngineEnv:  []string{raceEnv, roleEnv + "=engine", dirEnv + "=" + os.Getenv(dirEnv)},
		StateDir:   os.Getenv(dirEnv), NoCgroups: os.Getenv(bareEnv) != "",
		KilledCode: 5,
		Log:        slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Binary:     "/proc/self/exe", Trial: []string{"qsuper", "trial"}, Heir: inherited(), Store: FindStore(),
	})
	var held *pidfile.Held
	switch {
	case errors.As(err, &held):
		os.Exit(75)
	case err != nil:
		fmt.Fprintln(os.Stderr, "keeper:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// playEngine hands its end of the keeper's socket to the test, which speaks for
// it, and lives until the keeper is gone or it is killed.
func playEngine() {
	to, err := net.Dial("unix", filepath.Join(os.Getenv(dirEnv), "engine.sock"))
	if err != nil {
		os.Exit(111)
	}
	rights := unix.UnixRights(EngineFD)
	if _, _, err := to.(*net.UnixConn).WriteMsgUnix([]byte(strconv.Itoa(os.Getpid())), rights, nil); err != nil {
		os.Exit(112)
	}
	raw, err := to.(*net.UnixConn).File()
	if err != nil {
		os.Exit(113)
	}
	fds := []unix.PollFd{{Fd: int32(raw.Fd()), Events: unix.POLLIN}, {Fd: EngineFD}}
	for {
		if n, _ := unix.Poll(fds, -1); n > 0 { // the test lets go, or the keeper does
			os.Exit(0)
		}
	}
}

// rig is a keeper with the test as its engine.
type rig struct {
	t      testing.TB
	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
	err    bytes.Buffer
	errMu  sync.Mutex
	engs   *net.UnixListener
	env    []string

	manager *storetest.Manager // nil: the keeper is nobody's service
}

// ways are those in which processes are held together. Where the machine has no
// cgroups both are the second.
var ways = []struct{ name, env string }{{"cgroup", bareEnv + "="}, {"session", bareEnv + "=1"}}

// link is one engine as the test sees it.
type link struct {
	*Client
	t      testing.TB
	rig    *rig
	pid    int
	ctl    *net.UnixConn // closing it lets the engine process exit 0
	raw    net.Conn
	hello  Hello
	pings  atomic.Int64 // answered
	events chan any
	gone   chan error
}

func newRig(t testing.TB, env ...string) *rig {
	t.Helper()
	r := newRigStill(t, env...)
	r.startKeeper(env...)
	return r
}

// newRigStill is newRig without its keeper, which startKeeper starts.
func newRigStill(t testing.TB, env ...string) *rig {
	t.Helper()
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "engine.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, engs: l, env: env}
	t.Cleanup(func() {
		l.Close() // whatever engine comes now gives up
		r.cmd.Process.Signal(syscall.SIGTERM)
		r.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.exited:
		case <-time.After(patience):
			r.cmd.Process.Kill()
			<-r.exited
			t.Error("the keeper had to be killed")
		}
		if t.Failed() || strings.Contains(r.stderr(), "DATA RACE") {
			t.Errorf("keeper's log:\n%s", r.stderr())
		}
	})
	return r
}

func (r *rig) startKeeper(env ...string) {
	r.t.Helper()
	r.cmd = exec.Command("/proc/self/exe")
	r.cmd.Env = append(os.Environ(), raceEnv, roleEnv+"=keeper", dirEnv+"="+r.dir)
	r.cmd.Env = append(r.cmd.Env, env...)
	r.cmd.Stderr = (*rigLog)(r)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if r.manager != nil {
		r.manager.Equip(r.cmd)
	}
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	storetest.Started(r.cmd)
	exited := make(chan struct{})
	r.exited = exited
	cmd := r.cmd
	cmd.WaitDelay = time.Second // consumers that outlive the keeper do not hold the test
	go func() { cmd.Wait(); close(exited) }()
}

type rigLog rig

func (l *rigLog) Write(b []byte) (int, error) {
	l.errMu.Lock()
	defer l.errMu.Unlock()
	return l.err.Write(b)
}

func (r *rig) stderr() string {
	r.errMu.Lock()
	defer r.errMu.Unlock()
	return r.err.String()
}

// code waits for the keeper to exit.
func (r *rig) code() int {
	r.t.Helper()
	select {
	case <-r.exited:
	case <-time.After(patience):
		r.t.Fatalf("the keeper does not exit; its log:\n%s", r.stderr())
	}
	return r.cmd.ProcessState.ExitCode()
}

// dial waits for the next engine and takes its socket, without a greeting.
func (r *rig) dial() *link {
	r.t.Helper()
	r.engs.SetDeadline(time.Now().Add(patience))
	ctl, err := r.engs.AcceptUnix()
	if err != nil {
		r.t.Fatalf("no engine: %v; the keeper's log:\n%s", err, r.stderr())
	}
	data, oob := make([]byte, 32), make([]byte, 64)
	n, on, _, _, err := ctl.ReadMsgUnix(data, oob)
	if err != nil {
		r.t.Fatal(err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:on])
	if err != nil || len(msgs) != 1 {
		r.t.Fatal("no descriptor from the engine: ", err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		r.t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "engine")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		r.t.Fatal(err)
	}
	pid, _ := strconv.Atoi(string(data[:n]))
	r.t.Cleanup(func() { conn.Close(); ctl.Close() })
	return &link{t: r.t, rig: r, pid: pid, ctl: ctl, raw: conn, events: make(chan any, 10000), gone: make(chan error, 1)}
}

// connect is dial, greeting and list.
func (r *rig) connect() (*link, map[string]SlotInfo) {
	r.t.Helper()
	l := r.greet()
	return l, l.list()
}

func (r *rig) greet() *link {
	r.t.Helper()
	l := r.dial()
	var err error
	if l.Client, l.hello, err = Connect(l.raw); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		err := l.Run(context.Background(), func(m any) {
			if _, ok := m.(Ping); ok {
				l.pings.Add(1)
				_ = l.Pong() // a keeper that is gone is seen elsewhere
				return
			}
			l.events <- m
		})
		l.ctl.Close()
		l.gone <- err
	}()
	return l
}

func (l *link) list() map[string]SlotInfo {
	l.t.Helper()
	if err := l.List(); err != nil {
		l.t.Fatal(err)
	}
	slots := map[string]SlotInfo{}
	for {
		switch m := l.next().(type) {
		case SlotInfo:
			slots[m.Slot] = m
		case ListEnd:
			return slots
		}
	}
}

func (l *link) next() any {
	l.t.Helper()
	select {
	case m := <-l.events:
		return m
	case <-time.After(patience):
		l.t.Fatalf("nothing from the keeper; its log:\n%s", l.rig.stderr())
	}
	return nil
}

// get returns the next frame of a type and drops others.
func get[T any](l *link) T {
	l.t.Helper()
	for {
		m := l.next()
		if v, ok := m.(T); ok {
			return v
		}
		l.t.Logf("passed over: %+v", m)
	}
}

// kill ends the engine's process as a crash does.
func (l *link) kill() {
	l.t.Helper()
	if err := syscall.Kill(l.pid, syscall.SIGKILL); err != nil {
		l.t.Fatal(err)
	}
	l.waitGone()
}

func (l *link) waitGone() {
	l.t.Helper()
	select {
	case <-l.gone:
	case <-time.After(patience):
		l.t.Fatal("the keeper did not hang up")
	}
}

// spec is a shell script in a slot of its own, with lock and log.
func (r *rig) spec(slot, script string) Spec {
	s := r.command(slot, "/bin/sh", "-c", script)
	return s
}

func (r *rig) command(slot string, argv ...string) Spec {
	file := strings.ReplaceAll(slot, "/", ".")
	consumer, number, _ := strings.Cut(slot, "/")
	n, _ := strconv.Atoi(number)
	return Spec{
		Path: argv[0], Argv: argv, Env: []string{"PATH=/usr/bin:/bin"}, Dir: r.dir,
		Lock: filepath.Join(r.dir, "locks", file+".lock"),
		FIFO: filepath.Join(r.dir, "fifo", file),
		Log:  Log{To: "file", Path: r.logPath(slot), Prefix: "none", Consumer: consumer, Slot: n},
		Stop: Stop{Signal: int(syscall.SIGTERM), Scope: "process", Grace: 30 * time.Second},
	}
}

func (r *rig) logPath(slot string) string {
	return filepath.Join(r.dir, strings.ReplaceAll(slot, "/", ".")+".log")
}

func (l *link) start(slot string, run uint64, s Spec) Started {
	l.t.Helper()
	if err := l.Start(StartRequest{Slot: slot, Run: run, Spec: s}); err != nil {
		l.t.Fatal(err)
	}
	for {
		switch m := l.next().(type) {
		case Started:
			return m
		case StartFailed:
			l.t.Fatalf("start %s: %+v", slot, m)
		}
	}
}

// eventually polls until ok says so.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond) // what is asked may go through all of /proc
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("not in time: ", what)
		}
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// consumer is the test binary as a process that misbehaves, see playConsumer.
func (r *rig) consumer(slot string, args ...string) Spec {
	exe, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	s := r.command(slot, append([]string{exe}, args...)...)
	s.Env = append(s.Env, raceEnv, roleEnv+"=consumer")
	return s
}

// says waits until the log of a slot holds a text.
func (r *rig) says(slot, text string) {
	r.t.Helper()
	eventually(r.t, slot+" says "+text, func() bool {
		b, _ := os.ReadFile(r.logPath(slot))
		return bytes.Contains(b, []byte(text))
	})
}
