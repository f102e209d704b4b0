package proc

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Outdated says in words what a process runs that is not there any more, or not in
// that place: its program was replaced or deleted (which includes an upgrade of the
// interpreter), its directory was deleted, or dir, where it was started at that
// time, leads elsewhere by a symbolic link that is younger than the process. "" =
// nothing of that, or it cannot be seen. dir is absolute, or "" for none.
func Outdated(pid int, dir string, started time.Time) string {
	const deleted = " (deleted)" // proc_pid_exe(5)
	at := "/proc/" + strconv.Itoa(pid)
	if exe, err := os.Readlink(at + "/exe"); err == nil && strings.HasSuffix(exe, deleted) {
		return "its program " + strings.TrimSuffix(exe, deleted) + " was replaced or deleted"
	}
	cwd, err := os.Readlink(at + "/cwd")
	switch {
	case err != nil:
		return ""
	case strings.HasSuffix(cwd, deleted):
		return "its directory " + strings.TrimSuffix(cwd, deleted) + " was deleted"
	case dir == "":
		return ""
	}
	now, err := filepath.EvalSymlinks(dir)
	if err != nil || now == cwd || !relinked(dir, started) {
		return ""
	}
	return "it runs in " + cwd + ", and " + dir + " is now " + now
}

// relinked says whether a symbolic link on the way to a path was made after a time.
func relinked(path string, since time.Time) bool {
	for ; path != "/" && path != "."; path = filepath.Dir(path) {
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK && time.Unix(st.Ctim.Unix()).After(since) {
			return true
		}
	}
	return false
}
