// Package pidfile makes one daemon the owner of a state directory, and keeps
// record of what it has started.
//
// The lock decides, not the pid file: flock(2) on qsuper.lock, which is free
// exactly when its holder is dead, however it died. qsuper.pid only tells people
// and scripts. The record of runs (see Runs) lets a later daemon know processes
// that outlived theirs.
package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Names within the state directory.
const (
	lockName = "qsuper.lock"
	pidName  = "qsuper.pid"
)

// Held means that another daemon owns the state directory.
type Held struct {
	Dir string
	PID int // 0 = not known
}

func (e *Held) Error() string {
	who := "another daemon"
	if e.PID > 0 {
		who = fmt.Sprintf("the daemon with pid %d", e.PID)
	}
	return fmt.Sprintf("use state directory %s: %s has it; stop that one or choose another state_dir", e.Dir, who)
}

// Lock is the ownership of a state directory.
type Lock struct {
	dir string
	fd  int
}

// Acquire takes ownership of dir, which it creates (0700) if need be, and writes
// the pid file. If another daemon has it the error is *Held, and nothing has been
// touched. It waits for no daemon that lives, but for up to 2 s for what a dead one
// was starting when it was killed: a child has the lock until it executes its program.
func Acquire(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	fd, err := lockFile(filepath.Join(dir, lockName))
	for began := time.Now(); err == unix.EWOULDBLOCK; fd, err = lockFile(filepath.Join(dir, lockName)) {
		held := &Held{Dir: dir, PID: owner(dir)}
		if held.PID == 0 || Alive(held.PID) || time.Since(began) > heirTime {
			return nil, held
		}
		time.Sleep(heirTime / 400)
	}
	if err != nil {
		return nil, fmt.Errorf("lock state directory %s: %w", dir, err)
	}
	l := &Lock{dir: dir, fd: fd}
	if err := l.writePID(); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("write pid file: %w", err)
	}
	return l, nil
}

// heirTime bounds the wait for children of a dead daemon.
const heirTime = 2 * time.Second

// Alive says whether a process has not ended; one that nobody has reaped has.
func Alive(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, _ := strings.Cut(string(b), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// lockFile opens and locks. If somebody removed the file in between, the lock
// would be on a file that nobody else will ever open: then it begins again.
func lockFile(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return -1, err
		}
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			unix.Close(fd)
			if err == unix.EINTR {
				continue
			}
			return -1, err
		}
		var mine, there unix.Stat_t
		if unix.Fstat(fd, &mine) == nil && unix.Lstat(path, &there) == nil && mine.Ino == there.Ino && mine.Dev == there.Dev {
			return fd, nil
		}
		unix.Close(fd)
	}
}

// owner says who has the lock: the kernel knows, and where it does not tell
// (another pid namespace) the pid file may.
func owner(dir string) int {
	if pid := Holder(dir); pid > 0 {
		return pid
	}
	pid, _ := readPID(filepath.Join(dir, pidName))
	return pid
}

func readPID(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(b)))
}

// writePID replaces the pid file in one step, so that a reader sees a whole
// number or none.
func (l *Lock) writePID() error {
	f, err := os.CreateTemp(l.dir, pidName+".*")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(l.dir, pidName))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Release removes the pid file if it is still ours and gives the directory back.
// The lock file stays, for unlinking it would let two daemons in.
func (l *Lock) Release() error {
	path := filepath.Join(l.dir, pidName)
	var err error
	if pid, rerr := readPID(path); rerr == nil && pid == os.Getpid() {
		err = os.Remove(path)
	}
	return errors.Join(err, unix.Close(l.fd))
}
