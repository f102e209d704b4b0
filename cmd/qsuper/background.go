package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"qsuper/config"
	"qsuper/control"
)

// startLimit bounds the wait for a daemon to answer.
const startLimit = 30 * time.Second

// startBackground starts a daemon that lives on when this command ends, and
// returns once it answers: by systemd where that has a service for the file, else
// by itself, with a log of its own in qsuper.log in the log directory.
func startBackground(ctx context.Context, o startOptions) error {
	path, err := config.Find(o.config)
	if err != nil {
		return &exitError{code: exitConfig, err: err}
	}
	cfg, err := loadChecked(path)
	if err != nil {
		return err
	}
	if serviceRuns(ctx, path) {
		return startService(ctx)
	}
	if err := os.MkdirAll(cfg.Daemon.LogDir, 0o750); err != nil {
		return fmt.Errorf("create log directory: %w", err)
	}
	name := filepath.Join(cfg.Daemon.LogDir, "qsuper.log")
	out, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0o640)
	if err != nil {
		return fmt.Errorf("open the daemon's log: %w", err)
	}
	defer out.Close()
	from, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("open the daemon's log: %w", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, "run", "--config", path)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return awaitAnswer(ctx, control.New(cfg.Daemon.Socket.Path), cmd.Process.Pid, ended, func() string { return tailFrom(name, from) })
}

func awaitAnswer(ctx context.Context, client *control.Client, pid int, ended <-chan error, said func() string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err := client.Status(ctx, control.StatusQuery{}); err == nil && s.Daemon.KeeperPID == pid {
			return nil
		}
		select {
		case err := <-ended:
			return startFailed(err, said())
		case <-ctx.Done():
			return fmt.Errorf("the daemon (pid %d) does not answer; it said:\n%s", pid, said())
		case <-tick.C:
		}
	}
}

// startFailed passes on what the daemon said and its exit code.
func startFailed(err error, said string) error {
	code := exitFailed
	if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() > 0 {
		code = e.ExitCode()
	}
	said = strings.TrimPrefix(strings.TrimSpace(said), "qsuper: ")
	if said != "" {
		return &exitError{code: code, err: errors.New("the daemon ended at once: " + said)}
	}
	return &exitError{
		code: code, err: fmt.Errorf("the daemon ended at once with exit code %d, and could not write why into its log", code),
		hint: `is the disk full? "qsuper run" says what is wrong on the terminal`,
	}
}

// tailFrom is what a file has gained since offset, at most 4 KiB of it.
func tailFrom(name string, offset int64) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return ""
	}
	raw, _ := io.ReadAll(io.LimitReader(f, 4<<10))
	return string(raw)
}
