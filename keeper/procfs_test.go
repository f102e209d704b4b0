package keeper

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// procCPU is user and system time of one process, from fields 14 and 15 of
// /proc/PID/stat, which count 1/100 s.
func procCPU(pid int) time.Duration {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.Atoi(f[14-3])
	system, _ := strconv.Atoi(f[15-3])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// field is one line of /proc/PID/status.
func field(t testing.TB, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if k, v, _ := strings.Cut(line, ":"); k == name {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	t.Fatalf("no %s in status of %d", name, pid)
	return ""
}

func getsid(pid int) int {
	n, _ := unix.Getsid(pid)
	return n
}

func itoa(n int) string { return strconv.Itoa(n) }

func touch(t testing.TB, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// childrenOf counts the children of a process, zombies included.
func childrenOf(t testing.TB, pid int) (n int) {
	t.Helper()
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, e := range entries {
		b, err := os.ReadFile(e)
		if err != nil {
			continue
		}
		if f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); f[4-3] == itoa(pid) {
			n++
		}
	}
	return n
}
