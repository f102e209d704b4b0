package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// process is somebody else's process whose end is waited for. The zero value
// is one that cannot be seen: it counts as gone.
type process struct{ pidfd int }

// watchProcess takes hold of the keeper. The pid comes from the daemon's own
// view; behind another pid namespace it would name a stranger here, so it
// counts only when the engine is its child.
func watchProcess(keeper, engine int) *process {
	none := &process{pidfd: -1}
	if keeper <= 0 {
		return none
	}
	fd, err := unix.PidfdOpen(keeper, 0)
	if err != nil {
		return none
	}
	if parentOf(engine) != keeper && engine != keeper {
		unix.Close(fd)
		return none
	}
	return &process{pidfd: fd}
}

// wait returns when the process has ended. A pidfd is readable from then on,
// also while nobody has reaped it.
func (p *process) wait(ctx context.Context) error {
	for p.pidfd >= 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		poll := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, int((100 * time.Millisecond).Milliseconds()))
		if n > 0 {
			return nil
		}
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for the daemon to end: %w", err)
		}
	}
	return nil
}

func (p *process) close() {
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
	}
}

// parentOf reads field 4 of /proc/<pid>/stat (proc_pid_stat(5)), which comes
// after the program's name, the last thing that may hold a parenthesis; 0 = not known.
func parentOf(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(string(fields[1]))
	return ppid
}
