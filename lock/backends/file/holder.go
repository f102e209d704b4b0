package file

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"qsuper/proc"
)

// holder names a process that has the file open, in words. The pid in the file
// is the first guess, any process that has it as its inherited slot lock the
// second, who took it (/proc/locks) the last: the taker may be the keeper of
// the process that matters, and may even be dead.
func holder(fd int) string {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return ""
	}
	if pid := hint(fd); pid > 0 && has(pid, &st) {
		return describe(pid)
	}
	taker := taker(&st)
	self := os.Getpid()
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, e := range entries {
		pid, _ := strconv.Atoi(filepath.Base(e))
		if pid != taker && pid != self && has(pid, &st) {
			return describe(pid)
		}
	}
	if taker == 0 {
		return ""
	}
	if unix.Kill(taker, 0) == unix.ESRCH {
		return fmt.Sprintf("a process that inherited it from pid %d, which is gone", taker)
	}
	return describe(taker)
}

func hint(fd int) int {
	b := make([]byte, 32)
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b[:n], []byte("\n"))
	pid, _ := strconv.Atoi(string(line))
	return pid
}

// has says whether a process has the file open under the number of slot locks.
func has(pid int, want *unix.Stat_t) bool {
	var st unix.Stat_t
	err := unix.Stat(fmt.Sprintf("/proc/%d/fd/%d", pid, proc.LockFD), &st)
	return err == nil && st.Dev == want.Dev && st.Ino == want.Ino
}

// taker reads from /proc/locks who called flock: "1: FLOCK ADVISORY WRITE 812
// fd:01:1234 0 EOF". Some file systems (btrfs, overlay) show another device there
// than stat does, so only the inode is compared.
func taker(st *unix.Stat_t) int {
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	ino := ":" + strconv.FormatUint(st.Ino, 10)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) >= 6 && f[1] == "FLOCK" && strings.HasSuffix(f[5], ino) {
			pid, _ := strconv.Atoi(f[4])
			return pid
		}
	}
	return 0
}

// describe adds the command line, cut to what fits on a line of status.
func describe(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	cmd := strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
	if err != nil || cmd == "" {
		return fmt.Sprintf("pid %d", pid)
	}
	if r := []rune(cmd); len(r) > 80 {
		cmd = string(r[:79]) + "…"
	}
	return fmt.Sprintf("pid %d (%s)", pid, strings.Map(printable, cmd))
}

// printable keeps what a process named itself from reaching a terminal as a command.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return '?'
	}
	return r
}
