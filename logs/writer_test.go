package logs

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lines is how much the tests of rotation, of followers and of a pump that is killed write.
var lines = flag.Int("lines", 1000, "lines of each consumer, or a multiple")

// The test binary, started again with roleVar set, is a consumer. Its output
// goes to the FIFO that is its stdout; it begins when its stdin is at its end.
const roleVar = "LOGS_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		if err := play(strings.Fields(role)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func play(args []string) error {
	num := func(i int) int { n, _ := strconv.Atoi(args[i]); return n }
	if args[0] == "pump" { // pump FIFO PATH MAXSIZE
		return playPump(args[1], args[2], num(3))
	}
	if _, err := io.ReadAll(os.Stdin); err != nil {
		return err
	}
	switch args[0] {
	case "lines": // lines ID FROM COUNT: numbered lines of different lengths
		return playLines(args[1], num(2), num(3))
	case "bulk": // bulk SIZE COUNT: as fast as it can, 100 bytes a line
		b := bulk(num(1))
		for range num(2) {
			if err := writeAll(b); err != nil {
				return err
			}
		}
	case "leaves": // leaves a child behind that holds the pipe and goes on talking
		if err := writeAll([]byte("last words")); err != nil {
			return err
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), roleVar+"=mumbles")
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			return err
		}
		_, err := fmt.Fprintln(os.Stderr, cmd.Process.Pid)
		return err
	case "mumbles":
		done := make(chan os.Signal, 1)
		signal.Notify(done, syscall.SIGTERM)
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-done:
				return nil
			case <-tick.C:
				if err := writeAll([]byte("mumble\n")); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func playLines(id string, from, count int) error {
	var b []byte
	for i := range count {
		b = append(b, numbered(id, from+i)...)
		if len(b) > 2000 || i%3 == 0 { // now one line a write, now many, now a torn one
			n := len(b) - i%2
			if err := writeAll(b[:n]); err != nil {
				return err
			}
			b = append(b[:0], b[n:]...)
		}
	}
	return writeAll(b)
}

func numbered(id string, i int) []byte {
	return fmt.Appendf(nil, "%s %08d %s\n", id, i, strings.Repeat("x", i*7%200))
}

func bulk(size int) []byte {
	b := bytes.Repeat([]byte{'x'}, size)
	for i := 99; i < size; i += 100 {
		b[i] = '\n'
	}
	b[size-1] = '\n'
	return b
}

// writeAll writes without the scheduler's help: a writer does nothing else.
func writeAll(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(1, b)
		if err != nil && err != unix.EINTR {
			return err
		}
		b = b[max(n, 0):]
	}
	return nil
}

// consumer is a process with its FIFO.
type consumer struct {
	t     testing.TB
	fifo  string
	read  int // for Attach
	cmd   *exec.Cmd
	begin io.Closer
	ended chan struct{}
}

func newConsumer(t testing.TB) *consumer {
	t.Helper()
	c := &consumer{t: t, fifo: filepath.Join(t.TempDir(), "fifo")}
	check(t, unix.Mkfifo(c.fifo, 0o600))
	fd, err := unix.Open(c.fifo, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	check(t, err)
	c.read = fd
	return c
}

// start starts the process; it waits until go_.
func (c *consumer) start(role string, more ...any) {
	c.t.Helper()
	out, err := os.OpenFile(c.fifo, os.O_RDWR, 0)
	check(c.t, err)
	c.cmd = exec.Command("/proc/self/exe")
	c.cmd.Env = append(os.Environ(), roleVar+"="+strings.TrimSpace(fmt.Sprintln(append([]any{role}, more...)...)))
	c.cmd.Stdout, c.cmd.Stderr = out, os.Stderr
	c.begin, err = c.cmd.StdinPipe()
	check(c.t, err)
	check(c.t, c.cmd.Start())
	check(c.t, out.Close())
	c.ended = make(chan struct{})
	go func() {
		defer close(c.ended)
		if err := c.cmd.Wait(); err != nil {
			c.t.Errorf("consumer %q: %v", role, err)
		}
	}()
	c.t.Cleanup(func() {
		select {
		case <-c.ended:
		default:
			_ = c.cmd.Process.Kill()
			<-c.ended
		}
	})
}

func (c *consumer) run() { check(c.t, c.begin.Close()) }

func (c *consumer) wait() {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(2 * time.Minute):
		c.t.Fatal("consumer does not end")
	}
}

func (c *consumer) write(b string) {
	c.t.Helper()
	out, err := os.OpenFile(c.fifo, os.O_RDWR, 0)
	check(c.t, err)
	_, err = out.WriteString(b)
	check(c.t, err)
	check(c.t, out.Close())
}

func startPump(t testing.TB, stdout *os.File) *Pump {
	t.Helper()
	t.TempDir() // to be removed after the pump has ended, not before
	p, err := NewPump(stdout)
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		check(t, <-done)
	})
	return p
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}

// endRun ends a run and waits until all of it is in the log.
func endRun(t testing.TB, s *Stream) {
	t.Helper()
	done := make(chan struct{})
	s.EndOfRun(func() { close(done) })
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("EndOfRun does not end")
	}
}
