package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is one entry of /proc; pid and start together are never reused.
type process struct {
	pid, parent int
	start       uint64 // clock ticks since boot
	threads     int
}

func readProcess(pid int) (process, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	// The second field, the name in parentheses, may hold anything; the third follows the last ')'.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return process{}, false
	}
	p := process{pid: pid}
	p.parent, _ = strconv.Atoi(f[1])
	p.threads, _ = strconv.Atoi(f[17])
	p.start, _ = strconv.ParseUint(f[19], 10, 64)
	return p, true
}

// processTree returns the processes below root, root itself not included.
func processTree(root int) []process {
	names, _ := filepath.Glob("/proc/[0-9]*")
	children := map[int][]process{}
	for _, name := range names {
		pid, _ := strconv.Atoi(filepath.Base(name))
		if p, ok := readProcess(pid); ok {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	var out []process
	for todo := []int{root}; len(todo) > 0; todo = todo[1:] {
		for _, p := range children[todo[0]] {
			out = append(out, p)
			todo = append(todo, p.pid)
		}
	}
	return out
}

// gone reports whether a process has ended and was waited for. One that lost
// its parent is this process's child (see main: subreaper) and is reaped here.
func gone(pid int) bool {
	if wpid, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err == nil {
		return wpid == pid
	}
	return unix.Kill(pid, 0) == unix.ESRCH
}

// killAll ends the processes for certain, each only if it is still the one meant.
func killAll(list []process) {
	for _, p := range list {
		if now, ok := readProcess(p.pid); ok && now.start == p.start {
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for _, p := range list {
		for time.Now().Before(deadline) {
			now, ok := readProcess(p.pid)
			if gone(p.pid) || !ok || now.start != p.start {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// cpuTime returns the CPU time of a process with all its threads, ended ones
// included, in ns: the clock behind clock_getcpuclockid(3), far finer than the
// ticks of /proc.
func cpuTime(pid int) (int64, error) {
	const processSchedClock = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^uint32(pid)<<3|processSchedClock), &ts); err != nil {
		return 0, fmt.Errorf("read the CPU clock of process %d: %w", pid, err)
	}
	return ts.Nano(), nil
}

// cpuTimes is the sum over several processes, in ns.
func cpuTimes(list []process) (int64, error) {
	var sum int64
	for _, p := range list {
		ns, err := cpuTime(p.pid)
		if err != nil {
			return 0, err
		}
		sum += ns
	}
	return sum, nil
}

// proportionalMemory is the PSS of several processes, in bytes.
func proportionalMemory(list []process) (int64, error) {
	var sum int64
	for _, p := range list {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
		if err != nil {
			return 0, fmt.Errorf("read the memory of process %d: %w", p.pid, err)
		}
		_, rest, _ := strings.Cut(string(b), "\nPss:")
		kib, err := strconv.ParseInt(strings.Fields(rest + " -")[0], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the memory of process %d: no Pss in smaps_rollup", p.pid)
		}
		sum += kib << 10
	}
	return sum, nil
}
