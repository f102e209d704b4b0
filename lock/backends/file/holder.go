package file

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// holder names a process that holds the lock of an open file, in words: the one
// that took it (/proc/locks), or, if that has gone or is the caller itself, one
// that inherited it.
func holder(fd int) string {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return ""
	}
	taker, self := taker(&st), os.Getpid()
	if taker != self && has(taker, &st) {
		return describe(taker)
	}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, e := range entries {
		if pid, _ := strconv.Atoi(filepath.Base(e)); pid != self && has(pid, &st) {
			return describe(pid)
		}
	}
	if taker == 0 {
		return ""
	}
	return fmt.Sprintf("pid %d, or a process that inherited it from there", taker)
}

// has says whether a process has the file open.
func has(pid int, want *unix.Stat_t) bool {
	dir := fmt.Sprintf("/proc/%d/fd/", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false // gone, or somebody else's
	}
	for _, fd := range fds {
		var st unix.Stat_t
		if unix.Stat(dir+fd.Name(), &st) == nil && st.Dev == want.Dev && st.Ino == want.Ino {
			return true
		}
	}
	return false
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

// describe adds the command line, cut to what fits on a line of status. It ends before
// the first option: what follows may be a password, and status is read by more people
// than the list of processes.
func describe(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	words := strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
	for i, w := range words {
		if i > 0 && (strings.HasPrefix(w, "-") || strings.ContainsAny(w, "=@\n ")) {
			words = append(words[:i], "…")
			break
		}
	}
	cmd := strings.TrimSpace(strings.Join(words, " "))
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
