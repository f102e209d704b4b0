package runner

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"qsuper/health"
)

// fileHolder tells who has a lock on a file, by flock or fcntl. It asks the kernel for
// its list and takes nothing: whoever tries for the lock at this moment gets it.
func fileHolder(path string) health.Answer {
	info, err := os.Stat(path)
	if os.IsNotExist(err) {
		return health.Answer{State: health.Missing}
	}
	var list []byte
	if err == nil {
		list, err = os.ReadFile("/proc/locks")
	}
	st, ok := (*syscall.Stat_t)(nil), false
	if err == nil {
		st, ok = info.Sys().(*syscall.Stat_t)
	}
	if !ok {
		return health.Answer{State: health.Unknown, Err: fmt.Sprint(err)}
	}
	if pid, held := lockedBy(list, uint64(st.Dev), st.Ino); held {
		return health.Answer{State: health.OK, Text: processText(pid)}
	}
	return health.Answer{State: health.Missing}
}

// lockedBy looks for a file in /proc/locks, whose lines are as
//
//	1: FLOCK  ADVISORY  WRITE 2419 08:01:394285 0 EOF
//
// with the process, 0 or less if it is not of this host's, and the file's device and
// number; lines of those that wait have "->" before the kind.
func lockedBy(list []byte, dev, ino uint64) (pid int, held bool) {
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(dev), unix.Minor(dev), ino)
	lines := bufio.NewScanner(bytes.NewReader(list))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[1] == "->" || f[5] != file || f[1] != "FLOCK" && f[1] != "POSIX" && f[1] != "OFDLCK" {
			continue
		}
		pid, _ := strconv.Atoi(f[4])
		return pid, true
	}
	return 0, false
}

func processText(pid int) string {
	if pid <= 0 {
		return "a process that is not seen from here"
	}
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return "pid " + strconv.Itoa(pid)
	}
	return fmt.Sprintf("pid %d (%s)", pid, bytes.TrimSpace(name))
}
