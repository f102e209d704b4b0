package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/config"
	"qsuper/health"
)

// Bounds on what a command of restart_on may print, in bytes: of stdout, which is
// compared, and of stderr, of which the beginning is shown.
const (
	commandMost  = 64 << 10
	commandShown = 200
)

// commandAnswer runs a command as the consumer it is for would be run: by its user,
// in its directory and environment. What is left of its group at the end is killed.
func commandAnswer(ctx context.Context, l *launcher, c *config.Consumer) health.Answer {
	out, err := output(ctx, l, c)
	if errors.Is(err, errLate) {
		err = fmt.Errorf("%w within %s", err, viewLimit)
	}
	if err != nil {
		return health.Answer{State: health.Unknown, Err: err.Error()}
	}
	if out == "" {
		return health.Answer{State: health.Missing}
	}
	return health.Answer{State: health.OK, Text: out}
}

var errLate = errors.New("did not end")

// output is what a consumer's command prints.
func output(ctx context.Context, l *launcher, c *config.Consumer) (string, error) {
	spec, _, err := l.spec(c, 0, nil)
	if err != nil {
		return "", err
	}
	stdout, stderr := &beginning{most: commandMost}, &beginning{most: commandShown}
	cmd := &exec.Cmd{
		Path: spec.Path, Args: spec.Argv, Env: spec.Env, Dir: spec.Dir, Stdout: stdout, Stderr: stderr, WaitDelay: 100 * time.Millisecond,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if spec.Cred != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: spec.Cred.UID, Gid: spec.Cred.GID, Groups: spec.Cred.Groups}
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	inTime := awaitEnd(ctx, cmd.Process.Pid)
	// Not reaped yet, so its number, which is the group's, is still its own.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	err = cmd.Wait()
	switch {
	case !inTime:
		return "", errLate
	case errors.Is(err, exec.ErrWaitDelay):
		return "", errors.New("ended, but something it started holds its output open")
	case err != nil:
		return "", fmt.Errorf("%w %s", err, strings.TrimSpace(stderr.String()))
	case stdout.over:
		return "", fmt.Errorf("printed more than %d KiB", commandMost>>10)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// awaitEnd waits for the end of a child without reaping it; false: ctx was done before.
func awaitEnd(ctx context.Context, pid int) bool {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	return raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return err == nil && n == 1
	}) == nil
}

// beginning keeps what is written first, and says whether there was more.
type beginning struct {
	bytes.Buffer
	most int
	over bool
}

func (b *beginning) Write(p []byte) (int, error) {
	if room := b.most - b.Len(); len(p) > room {
		b.over = true
		b.Buffer.Write(p[:room])
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

// inode is the number of a file on its file system.
func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
