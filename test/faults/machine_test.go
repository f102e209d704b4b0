package faults

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/test/rig"
)

// A machine of its own is Linux as a process (user-mode-linux): its clock may be set
// and its power cut. Its root is the host's, read-only; everything that is written is
// in its memory, and gone with it. This test binary is its init, and the one program
// that runs in it.
const (
	insideEnv = "QFAULT_INSIDE" // the case that runs in the machine
	aboutEnv  = "QFAULT_ABOUT"  // what the host wants it to know
)

// bootTime bounds how long a case in a machine may take. It has one processor, and a
// start of a process in it costs ten times what it costs outside.
const bootTime = 5 * time.Minute

// inMachine runs a case in a machine of its own.
func inMachine(name string, run func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) {
		if os.Getenv(insideEnv) != "" {
			run(t)
			return
		}
		m := boot(t, name, "")
		m.end(bootTime)
		if !m.said("\n--- PASS: TestFaults ") {
			t.Errorf("the case has failed in its machine:\n%s", m.tail())
		}
	}
}

// machine is one that has been switched on.
type machine struct {
	t     *testing.T
	cmd   *exec.Cmd
	ended chan struct{}
	mu    sync.Mutex
	text  bytes.Buffer // of its console
}

// boot switches a machine on. Words are more of the kernel's command line.
func boot(t *testing.T, name, about string, words ...string) *machine {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, ended: make(chan struct{})}
	m.cmd = exec.Command("linux.uml", append(words,
		"mem=640M", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "con=null", "con0=null,fd:1", "ssl=null", "uml_dir="+t.TempDir()+"/",
		"init="+self, "TMPDIR=/run", "HOME=/run", "PATH="+os.Getenv("PATH"), "RIG_BINARY="+rig.Binary,
		insideEnv+"="+name, aboutEnv+"="+about)...)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	m.cmd.Stderr = m.cmd.Stdout
	if err := m.cmd.Start(); err != nil {
		t.Fatalf("%v: apt-get install -y --no-install-recommends user-mode-linux", err)
	}
	go m.listen(out)
	t.Cleanup(m.cut)
	return m
}

func (m *machine) listen(out io.Reader) {
	for in := bufio.NewReader(out); ; {
		line, err := in.ReadString('\n')
		m.mu.Lock()
		m.text.WriteString(strings.ReplaceAll(line, "\r", ""))
		m.mu.Unlock()
		if err != nil {
			break
		}
	}
	_ = m.cmd.Wait()
	close(m.ended)
}

// cut takes its power away.
func (m *machine) cut() {
	_ = syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL) // its group, which is gone when all of it is
	<-m.ended
}

// end waits until it has switched itself off.
func (m *machine) end(within time.Duration) {
	m.t.Helper()
	select {
	case <-m.ended:
	case <-time.After(within):
		m.t.Fatalf("the machine is still on after %s:\n%s", within, m.tail())
	}
}

func (m *machine) over() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

func (m *machine) console() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.String()
}

func (m *machine) said(text string) bool { return strings.Contains("\n"+m.console(), text) }

func (m *machine) tail() string {
	text := m.console()
	return text[max(0, len(text)-20000):]
}

// machineMain is the init of a machine: it runs one case and switches off.
func machineMain() {
	if err := furnish(); err != nil {
		fmt.Println("machine:", err)
	} else if err := runInside(); err != nil {
		fmt.Println("machine:", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func furnish() error {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/run"}, {"cgroup2", "/sys/fs/cgroup"}} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	console, err := os.OpenFile("/dev/console", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	os.Stdout, os.Stderr = console, console
	return nil
}

// runInside runs the case, and reaps whatever loses its parent.
func runInside() error {
	name := strings.ReplaceAll(os.Getenv(insideEnv), "/", "$/^")
	c := exec.Command("/proc/self/exe", "-test.run", "^TestFaults$/^"+name+"$", "-test.v", "-test.timeout", bootTime.String())
	c.Env = append(os.Environ(), "QSUPER_FAULTS=all")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		return err
	}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil) // init is everybody's last parent
		if pid == c.Process.Pid || err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
