// Package test runs the built binary as a user would: a YAML file, commands,
// exit codes and --json, with real brokers and databases (test/servers) and
// real third-party consumers (test/apps). It knows nothing of qsuper's inside.
package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary is the qsuper that all tests drive; TestMain builds it.
var binary string

func TestMain(m *testing.M) {
	if os.Getenv(consumerEnv) != "" {
		os.Exit(consume())
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "qsuper-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "qsuper")
	build := exec.Command("go", "build", "-o", binary, "qsuper/cmd/qsuper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// patience bounds every wait for something that should take a moment: generous,
// because other work may keep the machine busy.
const patience = 60 * time.Second

// eventually polls until cond is true, and ends the test when that takes longer
// than within.
func eventually(t *testing.T, within time.Duration, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !cond(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

// daemon is one `qsuper run` with a folder of its own: file, state, logs, socket.
type daemon struct {
	t      *testing.T
	dir    string
	binary string        // what the daemon is started from
	cmd    *exec.Cmd     // the keeper
	stderr *os.File      // the daemon's own log
	ended  chan struct{} // closed when the keeper has ended
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

// newDaemon writes the file; nothing runs yet. Whatever has the folder's name
// in its command line or environment is gone when the test has ended.
func newDaemon(t *testing.T, file string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "qsuper-*.d") // with an end, so that no name is the beginning of another
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, dir: dir, binary: binary}
	t.Cleanup(d.cleanup)
	d.write(file)
	return d
}

// startDaemon starts `qsuper run` and waits until it answers.
func startDaemon(t *testing.T, file string) *daemon {
	t.Helper()
	d := newDaemon(t, file)
	d.start()
	return d
}

// write replaces the file.
func (d *daemon) write(file string) {
	d.t.Helper()
	if err := os.WriteFile(d.path("qsuper.yaml"), []byte(header+file), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }

func (d *daemon) start() {
	d.t.Helper()
	var err error
	if d.stderr, err = os.OpenFile(d.path("daemon.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.cmd = exec.Command(d.binary, "run", "-c", d.path("qsuper.yaml"))
	d.cmd.Stdout, d.cmd.Stderr = d.stderr, d.stderr
	// What the terminal sends to the test must not reach the daemon: the test
	// itself stops it.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.ended = make(chan struct{})
	go func() { _ = d.cmd.Wait(); close(d.ended) }()
	eventually(d.t, patience, "the daemon answers", func() bool {
		if d.over() {
			d.t.Fatalf("qsuper run ended with %v", d.cmd.ProcessState)
		}
		_, ok := d.status()
		return ok
	})
}

// over reports whether the keeper has ended.
func (d *daemon) over() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// stopAll is `qsuper stop`: everything, then the daemon. It checks that nothing
// had to be killed and that nothing is left.
func (d *daemon) stopAll() {
	d.t.Helper()
	if r := d.run("stop"); r.code != 0 {
		d.t.Errorf("qsuper stop: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	eventually(d.t, patience, "the keeper ends", d.over)
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.t.Errorf("qsuper run: exit %d after a stop", code)
	}
	if left := processesOf(d.dir); len(left) > 0 {
		d.t.Errorf("left behind: %v", left)
	}
}

// cleanup ends what is still there and tells what is known of a failure.
func (d *daemon) cleanup() {
	if d.cmd != nil && !d.over() {
		if d.t.Failed() {
			d.t.Logf("status at the end:\n%s", d.run("status", "-v").stdout)
		}
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.ended:
		case <-time.After(20 * time.Second):
			_ = d.cmd.Process.Kill()
			<-d.ended
		}
	}
	for deadline := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
		left := processesOf(d.dir)
		if len(left) == 0 || time.Now().After(deadline) {
			break
		}
		for pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if d.t.Failed() {
		d.t.Logf("the daemon's log ends with:\n%s", tail(d.path("daemon.log"), 6000))
		logs, _ := filepath.Glob(d.path("logs/*.log"))
		for _, name := range logs {
			d.t.Logf("%s ends with:\n%s", filepath.Base(name), tail(name, 400))
		}
	}
	if d.stderr != nil {
		_ = d.stderr.Close()
	}
	_ = os.RemoveAll(d.dir)
}

func tail(name string, n int) string {
	b, _ := os.ReadFile(name)
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return string(b)
}

// result is how one command ended.
type result struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

// run runs one qsuper command on this daemon.
func (d *daemon) run(args ...string) result {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "QSUPER_CONFIG="+d.path("qsuper.yaml"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		d.t.Fatalf("qsuper %s: %v (%v)\n%s", strings.Join(args, " "), err, ctx.Err(), stderr.String())
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(began)}
}

// must runs a command that has to exit with 0.
func (d *daemon) must(args ...string) result {
	d.t.Helper()
	r := d.run(args...)
	if r.code != 0 {
		d.t.Fatalf("qsuper %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r
}

// json runs a command with --json and decodes what it prints.
func (d *daemon) json(v any, args ...string) result {
	d.t.Helper()
	r := d.run(append(args, "--json")...)
	if err := json.Unmarshal([]byte(r.stdout), v); err != nil {
		d.t.Fatalf("qsuper %s --json: exit %d, %v\n%s%s", strings.Join(args, " "), r.code, err, r.stdout, r.stderr)
	}
	return r
}

// processesOf lists living processes that have text in their command line or
// environment, with their command lines.
func processesOf(text string) map[int]string {
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
