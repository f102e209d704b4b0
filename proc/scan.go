package proc

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is the unit of times in /proc/PID/stat: USER_HZ is 100 on every
// architecture that Go runs on.
const userHZ = 100

// stat is the part of /proc/PID/stat that is needed here.
type stat struct {
	pid, ppid, pgrp, session int
	cpu                      time.Duration
	started                  time.Duration // CLOCK_BOOTTIME, rounded down to 1/userHZ s
	rss                      int64         // bytes
	state                    byte          // R, S, D, T, Z, …
}

// readStat reads into buf, which is worth sharing over a sweep.
func readStat(pid int, buf []byte) (stat, bool) {
	path := append(append(append(make([]byte, 0, 32), "/proc/"...), strconv.Itoa(pid)...), "/stat"...)
	fd, err := unix.Open(string(path), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return stat{}, false
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	if err != nil || n <= 0 {
		return stat{}, false
	}
	return parseStat(pid, buf[:n])
}

// parseStat starts behind the last parenthesis: the name between them may hold
// anything. Field numbers are those of proc(5).
func parseStat(pid int, b []byte) (stat, bool) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return stat{}, false
	}
	s := stat{pid: pid}
	b = b[i+1:]
	for field := 2; len(b) > 0; field++ {
		var w []byte
		w, b, _ = bytes.Cut(b, []byte(" "))
		switch field {
		case 3:
			if len(w) > 0 {
				s.state = w[0]
			}
		case 4:
			s.ppid = atoi(w)
		case 5:
			s.pgrp = atoi(w)
		case 6:
			s.session = atoi(w)
		case 14, 15:
			s.cpu += time.Duration(atoi(w)) * (time.Second / userHZ)
		case 22:
			s.started = time.Duration(atoi(w)) * (time.Second / userHZ)
		case 24:
			s.rss = int64(atoi(w)) * int64(os.Getpagesize())
			return s, true
		}
	}
	return stat{}, false
}

// atoi reads a decimal number; the kernel writes no others here.
func atoi(b []byte) (n int) {
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// pids lists all processes, without opening any of them.
func pids() []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	list := make([]int, 0, len(names))
	for _, n := range names {
		if n[0] >= '0' && n[0] <= '9' {
			if pid, err := strconv.Atoi(n); err == nil {
				list = append(list, pid)
			}
		}
	}
	return list
}

// Member is a process of a run beside its main process, held by a pidfd.
type Member struct {
	PID   int
	pidfd int
}

// PidFD is readable once the member has exited. It stays the Member's own.
func (m *Member) PidFD() int { return m.pidfd }

// Signal signals the member; syscall.ESRCH if it is gone.
func (m *Member) Signal(sig syscall.Signal) error {
	return unix.PidfdSendSignal(m.pidfd, sig, nil, 0)
}

// ForkedBefore says whether the member is known to be older than a moment on
// CLOCK_BOOTTIME; the kernel counts in steps of 10 ms.
func (m *Member) ForkedBefore(t time.Duration) bool {
	s, ok := readStat(m.PID, make([]byte, 1024))
	return ok && s.started+time.Second/userHZ <= t
}

// Gone says whether the member has exited, and reaps it if it has become the
// caller's child.
func (m *Member) Gone() bool {
	_, _, reaped, err := waitid(unix.P_PIDFD, m.pidfd, unix.WEXITED|unix.WNOHANG, nil)
	if reaped {
		return true
	}
	if err == nil {
		return false // the caller's child, and it lives
	}
	fds := []unix.PollFd{{Fd: int32(m.pidfd), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, 0)
	return n > 0
}

// Close gives the descriptor back.
func (m *Member) Close() {
	if m.pidfd >= 0 {
		unix.Close(m.pidfd)
		m.pidfd = -1
	}
}
