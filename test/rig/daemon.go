// Package rig runs the built binary as a user would: a YAML file, commands,
// exit codes and --json, with real brokers and databases (test/servers) and
// real third-party consumers (test/apps). It knows nothing of qsuper's inside.
package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"qsuper/keeper/storetest"
)

// Binary is the qsuper that all tests drive; Main builds it.
var Binary string

// Main builds the binary, runs the tests and returns the exit code.
func Main(m *testing.M) int {
	end, err := guard()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer end()
	if Binary = os.Getenv("RIG_BINARY"); Binary != "" { // somebody has built it
		return m.Run()
	}
	Binary = filepath.Join(root, "qsuper")
	build := exec.Command("go", "build", "-o", Binary, "qsuper/cmd/qsuper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Patience bounds every wait for something that should take a moment: generous,
// because other work may keep the machine busy.
const Patience = 60 * time.Second

// Eventually polls until cond is true, and ends the test when that takes longer
// than within.
func Eventually(t *testing.T, within time.Duration, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !cond(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

// Daemon is one `qsuper run` with a folder of its own: file, state, logs, socket.
type Daemon struct {
	T      *testing.T
	Dir    string
	Binary string    // what the daemon is started from
	Cmd    *exec.Cmd // the keeper
	// Service, if not nil, holds descriptors for the daemon as systemd does.
	Service *storetest.Manager
	stderr  *os.File      // the daemon's own log
	ended   chan struct{} // closed when the keeper has ended
}

// header is what every test's file begins with. Paths are relative to it; the
// socket's must stay short, whatever the test is called.
const header = `version: 1
daemon:
  name: test
  state_dir: state
  log_dir: logs
  socket: {path: q.sock}
  interval: 100ms
`

// NewDaemon writes the file; nothing runs yet. Whatever has the folder's name
// in its command line or environment is gone when the test has ended.
func NewDaemon(t *testing.T, file string) *Daemon {
	t.Helper()
	dir, err := os.MkdirTemp(root, "*.d") // with an end, so that no name is the beginning of another
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{T: t, Dir: dir, Binary: Binary}
	t.Cleanup(d.cleanup)
	d.Write(file)
	return d
}

// Serve has the daemon begin as a service whose manager holds up to max descriptors.
func (d *Daemon) Serve(max int) {
	d.T.Helper()
	d.Service = storetest.New(d.T, d.Path("n.sock"), max)
}

// StartDaemon starts `qsuper run` and waits until it answers.
func StartDaemon(t *testing.T, file string) *Daemon {
	t.Helper()
	d := NewDaemon(t, file)
	d.Start()
	return d
}

// Write replaces the file.
func (d *Daemon) Write(file string) {
	d.T.Helper()
	if err := os.WriteFile(d.Path("qsuper.yaml"), []byte(header+file), 0o600); err != nil {
		d.T.Fatal(err)
	}
}

func (d *Daemon) Path(name string) string { return filepath.Join(d.Dir, name) }

// Start starts `qsuper run` and waits until it answers.
func (d *Daemon) Start() {
	d.T.Helper()
	d.StartWith()
}

// StartWith is Start through another program: words are what stands in front of
// the binary.
func (d *Daemon) StartWith(words ...string) {
	d.T.Helper()
	d.launch(words)
	Eventually(d.T, Patience, "the daemon answers", func() bool {
		if d.Over() {
			d.T.Fatalf("qsuper run ended with %v", d.Cmd.ProcessState)
		}
		_, ok := d.Status()
		return ok
	})
}

// Launch starts `qsuper run`, through another program if there are words, and waits
// for nothing.
func (d *Daemon) Launch(words ...string) { d.launch(words) }

func (d *Daemon) launch(words []string) {
	d.T.Helper()
	var err error
	if d.stderr, err = os.OpenFile(d.Path("daemon.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		d.T.Fatal(err)
	}
	words = slices.Concat(words, []string{d.Binary, "run", "-c", d.Path("qsuper.yaml")})
	d.Cmd = exec.Command(words[0], words[1:]...)
	d.Cmd.Stdout, d.Cmd.Stderr = d.stderr, d.stderr
	d.Cmd.Env = append(os.Environ(), "RIG_DIR="+d.Dir) // marks whatever it starts, helpers and probes included
	// What the terminal sends to the test must not reach the daemon: the test
	// itself stops it.
	d.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if d.Service != nil {
		d.Service.Equip(d.Cmd)
	}
	if err := d.Cmd.Start(); err != nil {
		d.T.Fatal(err)
	}
	storetest.Started(d.Cmd)
	d.ended = make(chan struct{})
	go func() { _ = d.Cmd.Wait(); close(d.ended) }()
}

// Over reports whether the keeper has ended.
func (d *Daemon) Over() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// StopAll is `qsuper stop`: everything, then the daemon. It checks that nothing
// had to be killed and that nothing is left.
func (d *Daemon) StopAll() {
	d.T.Helper()
	if r := d.Run("stop"); r.Code != 0 {
		d.T.Errorf("qsuper stop: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	Eventually(d.T, Patience, "the keeper ends", d.Over)
	if code := d.Cmd.ProcessState.ExitCode(); code != 0 {
		d.T.Errorf("qsuper run: exit %d after a stop", code)
	}
	if left := ProcessesOf(d.Dir); len(left) > 0 {
		d.T.Errorf("left behind: %v", left)
	}
}

// cleanup ends what is still there and tells what is known of a failure.
func (d *Daemon) cleanup() {
	if d.Cmd != nil && !d.Over() {
		if d.T.Failed() {
			d.T.Logf("status at the end:\n%s", d.Run("status", "-v").Stdout)
		}
		_ = d.Cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.ended:
		case <-time.After(20 * time.Second):
			_ = d.Cmd.Process.Kill()
			<-d.ended
		}
	}
	for deadline := time.Now().Add(Patience); ; <-time.After(20 * time.Millisecond) {
		left := ProcessesOf(d.Dir)
		if len(left) == 0 || time.Now().After(deadline) {
			break
		}
		for pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if d.T.Failed() {
		d.T.Logf("the daemon's log ends with:\n%s", Tail(d.Path("daemon.log"), 6000))
		logs, _ := filepath.Glob(d.Path("logs/*.log"))
		for _, name := range logs {
			d.T.Logf("%s ends with:\n%s", filepath.Base(name), Tail(name, 400))
		}
	}
	if d.stderr != nil {
		_ = d.stderr.Close()
	}
	_ = os.RemoveAll(d.Dir)
}

func Tail(name string, n int) string {
	b, _ := os.ReadFile(name)
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return string(b)
}

// Result is how one command ended.
type Result struct {
	Code           int
	Stdout, Stderr string
	Took           time.Duration
}

// Run runs one qsuper command on this daemon.
func (d *Daemon) Run(args ...string) Result {
	d.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary, args...)
	cmd.Env = append(os.Environ(), "QSUPER_CONFIG="+d.Path("qsuper.yaml"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		d.T.Fatalf("qsuper %s: %v (%v)\n%s", strings.Join(args, " "), err, ctx.Err(), stderr.String())
	}
	return Result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(began)}
}

// Must runs a command that has to exit with 0.
func (d *Daemon) Must(args ...string) Result {
	d.T.Helper()
	r := d.Run(args...)
	if r.Code != 0 {
		d.T.Fatalf("qsuper %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r
}

// JSON runs a command with --json and decodes what it prints.
func (d *Daemon) JSON(v any, args ...string) Result {
	d.T.Helper()
	r := d.Run(append(args, "--json")...)
	if err := json.Unmarshal([]byte(r.Stdout), v); err != nil {
		d.T.Fatalf("qsuper %s --json: exit %d, %v\n%s%s", strings.Join(args, " "), r.Code, err, r.Stdout, r.Stderr)
	}
	return r
}

// ProcessesOf lists living processes that have text in their command line or
// environment, with their command lines.
func ProcessesOf(text string) map[int]string {
	found := map[int]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if bytes.Contains(line, []byte(text)) || bytes.Contains(env, []byte(text)) {
			found[pid] = strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
		}
	}
	return found
}
