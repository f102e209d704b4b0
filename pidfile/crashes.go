package pidfile

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const crashesName = "engine-crashes.json"

// Crashes tells people, and commands that nobody answers, that a daemon lives
// although its engine does not.
type Crashes struct {
	Keeper int       `json:"keeper"` // pid of the daemon
	Count  int       `json:"count"`  // in a row
	Code   int       `json:"code"`   // exit code of the last, -1: killed by Signal
	Signal int       `json:"signal"`
	At     time.Time `json:"at"`
	Next   time.Time `json:"next"` // when the next engine is started
}

// NoteCrashes writes the record in one step. It is told for people only: nothing
// is synced.
func NoteCrashes(dir string, c Crashes) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, crashesName+".new")
	if err := os.WriteFile(temp, append(b, '\n'), 0o644); err != nil {
		return errors.Join(err, ForgetCrashes(dir))
	}
	return os.Rename(temp, filepath.Join(dir, crashesName))
}

// ForgetCrashes removes the record, if there is one.
func ForgetCrashes(dir string) error {
	err := os.Remove(filepath.Join(dir, crashesName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ReadCrashes returns the record that the daemon with this pid has written; false
// if there is none, or that of another.
func ReadCrashes(dir string, keeper int) (c Crashes, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, crashesName))
	ok = err == nil && json.Unmarshal(b, &c) == nil && c.Keeper == keeper
	return c, ok
}

// Holder is the pid of the daemon that holds a state directory now, as the kernel
// has it; 0 when nobody does, or when it cannot be told (no permission, another
// pid namespace).
func Holder(dir string) int {
	var st unix.Stat_t
	if unix.Stat(filepath.Join(dir, lockName), &st) != nil {
		return 0
	}
	locks, _ := os.ReadFile("/proc/locks")
	ino := ":" + strconv.FormatUint(st.Ino, 10)
	for line := range strings.Lines(string(locks)) {
		// "1: FLOCK ADVISORY WRITE 812 fd:01:1234 0 EOF"
		f := strings.Fields(line)
		if len(f) >= 6 && f[1] == "FLOCK" && strings.HasSuffix(f[5], ino) {
			// The device is not compared, as some file systems show another there than stat does.
			if pid, _ := strconv.Atoi(f[4]); pid > 0 && has(pid, &st) {
				return pid
			}
		}
	}
	return 0
}

// has says whether a process has a file open; true also if the caller may not look.
func has(pid int, file *unix.Stat_t) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	list, err := os.ReadDir(dir)
	if err != nil {
		return true
	}
	return slices.ContainsFunc(list, func(fd os.DirEntry) bool {
		var st unix.Stat_t
		return unix.Stat(filepath.Join(dir, fd.Name()), &st) == nil && st.Dev == file.Dev && st.Ino == file.Ino
	})
}
