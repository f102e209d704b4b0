package backends

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/health"
	"qsuper/internal/kind"
)

// Bounds on the programs of the exec backend.
const (
	execMaxOutput = 64 << 10 // bytes of stdout that are kept
	execMaxStderr = 200      // bytes of stderr that are shown
	execParallel  = 8        // programs at a time
	// execDrain is how long a descendant that left the process group may hold
	// the pipes after the program itself has ended.
	execDrain = 100 * time.Millisecond
)

// execConfig is `type: exec`: a program that prints how much waits. {queue} in
// its arguments stands for the queue's name. It runs as the user of the daemon,
// in its directory and environment.
type execConfig struct {
	Command command `yaml:"command,required"` // prints a number, or JSON; {queue} is filled in
}

// command is an argument list. A program that is named by a relative path is
// taken from the directory of the file; one without a slash from PATH.
type command []string

// UnmarshalNode implements kind.Unmarshaler.
func (c *command) UnmarshalNode(d *kind.Decoder, n *kind.Node, path string) {
	before := len(d.Problems)
	d.Value(n, path, (*[]string)(c), "")
	if len(d.Problems) > before {
		return
	}
	if len(*c) == 0 || (*c)[0] == "" {
		d.Problems.Add(n, path, "must name a program")
		return
	}
	if strings.Contains((*c)[0], "/") {
		(*c)[0] = kind.Resolve(n, (*c)[0])
	}
}

func init() {
	health.Register(health.Kind{Type: "exec", QueueKeys: []string{"name"}, CheckQueue: named}, execConfig{}, openExec)
}

type program struct {
	command command
	life    lifetime
}

func openExec(c execConfig) (health.Conn, error) { return &program{c.Command, newLifetime()}, nil }

// Ping runs the program and wants exit code 0. One that is asked about queues
// ({queue} is in its arguments) only has to exist and be executable.
func (p *program) Ping(ctx context.Context) error {
	if strings.Contains(strings.Join(p.command, " "), "{queue}") {
		return p.exists()
	}
	_, err := p.run(ctx, "")
	return err
}

// Measure runs the program once for each different command line.
func (p *program) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	readings := make([]health.Reading, len(queues))
	same := map[string][]int{}
	for i, q := range queues {
		name := q.Name
		if !strings.Contains(strings.Join(p.command, " "), "{queue}") {
			name = ""
		}
		same[name] = append(same[name], i)
	}
	var wg sync.WaitGroup
	places := make(chan struct{}, execParallel)
	for name, asked := range same {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			r := p.read(ctx, name)
			for _, i := range asked {
				readings[i] = r
			}
		})
	}
	wg.Wait()
	return readings, p.exists()
}

func (p *program) exists() error {
	if p.life.ctx.Err() != nil {
		return errClosed
	}
	_, err := exec.LookPath(p.command[0])
	return err
}

func (p *program) read(ctx context.Context, queue string) health.Reading {
	out, err := p.run(ctx, queue)
	if err != nil {
		return unknown("%v", err)
	}
	r, err := parseAnswer(out)
	if err != nil {
		return unknown("the program's answer is wrong: %v", err)
	}
	return r
}

func (p *program) Close() error { p.life.end(); return nil }

// run runs the program to its end and returns what it printed. When ctx is done
// its whole process group is killed; so is, in any case, what it leaves behind
// in that group.
func (p *program) run(ctx context.Context, queue string) (string, error) {
	ctx, cancel := p.life.during(ctx)
	defer cancel()
	args := make([]string, len(p.command))
	for i, a := range p.command {
		args[i] = strings.ReplaceAll(a, "{queue}", queue)
	}
	stdout, stderr := &limited{max: execMaxOutput, strict: true}, &limited{max: execMaxStderr}
	cmd := exec.Command(p.command[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay, cmd.Env = stdout, stderr, execDrain, environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	watched := awaitExit(ctx, cmd.Process.Pid)
	// Not reaped yet, so its number, which is the group's, is still its own.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	err := cmd.Wait()
	switch {
	case stdout.over:
		return "", fmt.Errorf("the program printed more than %d KiB", execMaxOutput>>10)
	case errors.Is(watched, os.ErrDeadlineExceeded):
		return "", fmt.Errorf("the program did not end in time: %w", ctx.Err())
	case watched != nil:
		return "", fmt.Errorf("watch the program: %w", watched)
	case errors.Is(err, exec.ErrWaitDelay):
		return "", errors.New("the program ended, but something it started holds its output open")
	case err != nil && stderr.buf.Len() > 0:
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.buf.String()))
	case err != nil:
		return "", err
	}
	return stdout.buf.String(), nil
}

// awaitExit waits for the end of a child without reaping it. The error is
// os.ErrDeadlineExceeded when ctx was done before.
func awaitExit(ctx context.Context, pid int) error {
	// A pidfd of its own: one from SysProcAttr shares its flags with the one that
	// Wait uses, and made non-blocking, for the netpoller, that would not wait.
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	_ = unix.SetNonblock(fd, true)
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return err == nil && n == 1
	})
}

// environment is the daemon's without what systemd meant for the daemon alone.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES":
		default:
			env = append(env, v)
		}
	}
	return env
}

// limited keeps the first max bytes. A strict one refuses more, which ends the
// writer by SIGPIPE; others swallow it.
type limited struct {
	buf    bytes.Buffer
	max    int
	strict bool
	over   bool
}

func (l *limited) Write(b []byte) (int, error) {
	room := l.max - l.buf.Len()
	if len(b) <= room {
		return l.buf.Write(b)
	}
	l.buf.Write(b[:room])
	l.over = true
	if l.strict {
		return room, errors.New("too much output")
	}
	return len(b), nil
}
