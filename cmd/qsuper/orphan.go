package main

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/keeper"
)

// orphanTime is how long an orphan may take to die of SIGKILL.
const orphanTime = 2 * time.Second

// beginEndOrphans has endOrphans go on meanwhile when a keeper's first engine asks;
// another one comes after engines that this keeper has ended itself. What it returns
// is sent when it is done, and then closed.
func beginEndOrphans(stateDir string, hello keeper.Hello) <-chan []int {
	ended := make(chan []int, 1)
	go func() {
		if hello.Engines == 1 {
			ended <- endOrphans(stateDir, hello.PID)
		}
		close(ended)
	}()
	return ended
}

// endOrphans ends engines that a dead keeper has left: one exits by itself when
// its keeper is gone, unless it hangs, which may be why the keeper is gone.
// keeper holds the state directory, so an engine that has it too and is not
// keeper's child is such a one. It returns the pids of those it has ended.
func endOrphans(stateDir string, keeper int) (ended []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil // without /proc nothing can be found, and nothing can be harmed
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || !isOrphan(pid, stateDir, keeper) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		// Only now does the number stay what it is: look again.
		if isOrphan(pid, stateDir, keeper) && unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0) == nil {
			ended = append(ended, pid)
			awaitEnd(fd, orphanTime)
		}
		unix.Close(fd)
	}
	return ended
}

// orphaned says whether there is an engine for stateDir whose keeper is dead;
// that nobody holds the directory is known.
func orphaned(stateDir string) bool {
	entries, err := os.ReadDir("/proc")
	return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		pid, err := strconv.Atoi(e.Name())
		return err == nil && pid != os.Getpid() && isOrphan(pid, stateDir, 0)
	})
}

// isOrphan says whether a process of our user is an engine for stateDir and no
// child of keeper.
func isOrphan(pid int, stateDir string, keeper int) bool {
	line, ok := engineLine(pid)
	if !ok {
		return false
	}
	argv := bytes.Split(bytes.TrimSuffix(line, []byte{0}), []byte{0})
	at := slices.IndexFunc(argv, func(a []byte) bool { return string(a) == "--state-dir" })
	if at < 0 || at+1 >= len(argv) || string(argv[at+1]) != stateDir {
		return false
	}
	info, err := os.Stat("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return false
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	parent := parentOf(pid)
	return ok && int(owner.Uid) == os.Geteuid() && parent != keeper && !isKeeperOf(parent, pid)
}

var engineArgs = []byte("qsuper\x00engine\x00")

// engineLine is the command line of a process that is an engine. All processes of the
// host are asked before the first consumer is started, so that each must be cheap: the
// whole line is read only of one that begins so.
func engineLine(pid int) ([]byte, bool) {
	path := "/proc/" + strconv.Itoa(pid) + "/cmdline"
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false
	}
	var first [16]byte
	n, err := unix.Read(fd, first[:])
	unix.Close(fd)
	if err != nil || !bytes.HasPrefix(first[:n], engineArgs) {
		return nil, false
	}
	line, err := os.ReadFile(path)
	return line, err == nil && bytes.HasPrefix(line, engineArgs)
}

// bereft says whether an engine that has just answered is one whose keeper is dead:
// it is about to end. In another pid namespace their numbers are strangers', and
// nothing is said.
func bereft(keeper, engine int) bool {
	if _, ok := engineLine(engine); !ok {
		return false
	}
	parent := parentOf(engine)
	return parent > 0 && parent != keeper
}

// isKeeperOf says whether an engine's parent is a keeper, which lives although nobody
// holds the state directory: somebody has removed that under it.
func isKeeperOf(parent, engine int) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(parent) + "/cmdline")
	if err != nil || !slices.ContainsFunc(bytes.Split(line, []byte{0}), func(a []byte) bool { return string(a) == "run" || string(a) == "cleanup" }) {
		return false
	}
	a, errA := os.Stat("/proc/" + strconv.Itoa(parent) + "/exe")
	b, errB := os.Stat("/proc/" + strconv.Itoa(engine) + "/exe")
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// awaitEnd waits until the process of a pidfd has ended, for so long at most.
func awaitEnd(pidfd int, limit time.Duration) {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(limit); ; {
		left := time.Until(deadline)
		n, err := unix.Poll(fds, int(max(left.Milliseconds(), 0)))
		if n > 0 || left <= 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
