// Package systemd runs qsuper under a systemd that has really been booted, in
// namespaces of its own. Root is needed, and Debian's systemd; nothing of the
// machine's own is touched.
package systemd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary is the qsuper that all tests drive.
var binary string

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleEnv) {
	case "guard":
		err = guardMain(os.Getenv(rolePath))
	case "init":
		err = initMain(os.Getenv(rolePath))
	default:
		os.Exit(run(m))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "qsuper-systemd-")
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

// patience bounds every wait for something that should take a moment.
const patience = 60 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// box is one booted systemd, or one that can be booted.
type box struct {
	t     *testing.T
	dir   string
	pid   int       // of its first process, as the machine counts; 0: it is not up
	end   io.Closer // ends it
	guard *exec.Cmd
}

// newBox prepares a box with qsuper and its file in /srv.
func newBox(t *testing.T, file string) *box {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("booting systemd needs root: run this test as root, or in a container of your own")
	}
	for _, program := range []string{"nsenter", "/lib/systemd/systemd", "systemd-analyze"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v; run: apt-get install -y --no-install-recommends systemd util-linux", err)
		}
	}
	b := &box{t: t, dir: t.TempDir()}
	for _, name := range []string{shareDir, unitsDir, rootDir} {
		if err := os.Mkdir(filepath.Join(b.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(binary, b.share("qsuper")); err != nil {
		t.Fatal(err)
	}
	b.write("qsuper.yaml", file)
	b.write("worker", worker)
	b.write("forks", forks)
	t.Cleanup(func() {
		if b.pid != 0 && t.Failed() {
			t.Logf("the journal ends with:\n%s", b.try("journalctl", "--no-pager", "-n", "60", "-o", "short-monotonic").text)
		}
		b.halt()
	})
	return b
}

// share is the path of something that the box has in /srv.
func (b *box) share(name string) string { return filepath.Join(b.dir, shareDir, name) }

func (b *box) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(b.share(name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// lines are those of a file in /srv; none if it is not there.
func (b *box) lines(name string) []string {
	text, _ := os.ReadFile(b.share(name))
	return strings.Fields(string(text))
}

// boot starts systemd and waits until it has reached its target.
func (b *box) boot() {
	b.t.Helper()
	began := time.Now()
	b.guard = exec.Command("/proc/self/exe")
	b.guard.Env = append(os.Environ(), roleEnv+"=guard", rolePath+"="+b.dir)
	b.guard.Stderr = os.Stderr
	b.guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it has to clean up after a Ctrl-C
	stdin, err := b.guard.StdinPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	stdout, err := b.guard.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.guard.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.end = stdin
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = b.guard.Wait()
		b.t.Fatalf("no box: %v", err)
	}
	if b.pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		b.t.Fatal(err)
	}
	eventually(b.t, "systemd is up", func() bool {
		state := strings.TrimSpace(b.try("systemctl", "is-system-running").text)
		return state == "running" || state == "degraded"
	})
	b.t.Logf("up after %s; failed units: %q", time.Since(began).Round(time.Millisecond), b.must("systemctl", "--failed", "--plain", "--no-legend"))
}

// halt ends the box at once, as a power cut does.
func (b *box) halt() {
	if b.guard == nil {
		return
	}
	_ = b.end.Close()
	_ = b.guard.Wait()
	b.guard, b.pid = nil, 0
}

// outcome is how a command in the box ended.
type outcome struct {
	code int
	text string // standard output and error
	took time.Duration
}

// try runs a command in the box.
func (b *box) try(argv ...string) outcome {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(b.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"}, argv...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"}
	cmd.Dir = "/"
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		b.t.Fatalf("%v: %v (%v)\n%s", argv, err, ctx.Err(), out.String())
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), time.Since(began)}
}

// must runs a command that has to exit with 0, and returns what it printed.
func (b *box) must(argv ...string) string {
	b.t.Helper()
	o := b.try(argv...)
	if o.code != 0 {
		b.t.Fatalf("%v: exit %d\n%s", argv, o.code, o.text)
	}
	return strings.TrimSpace(o.text)
}

// install writes the unit that qsuper prints for its file, and changes to it.
func (b *box) install(service string) {
	b.t.Helper()
	unit := b.must("/srv/qsuper", "unit", "--config", "/srv/qsuper.yaml")
	units := filepath.Join(b.dir, unitsDir)
	if err := os.WriteFile(filepath.Join(units, "qsuper.service"), []byte(unit+"\n"), 0o644); err != nil {
		b.t.Fatal(err)
	}
	if service != "" {
		if err := os.MkdirAll(filepath.Join(units, "qsuper.service.d"), 0o755); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(units, "qsuper.service.d/test.conf"), []byte("[Service]\n"+service+"\n"), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	b.must("systemctl", "daemon-reload")
}

// property is one of the service, as systemd sees it.
func (b *box) property(name string) string {
	b.t.Helper()
	return b.must("systemctl", "show", "qsuper", "--value", "--property", name)
}

// alive says whether a process of the box lives, by the number it has there.
func (b *box) alive(pid string) bool { return b.try("kill", "-0", pid).code == 0 }
