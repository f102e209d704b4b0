package pidfile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Keep lets the lock's descriptor through exec, so that the program executed next
// in this process owns the directory without a moment in which nobody does, and
// returns its number for Inherit.
func (l *Lock) Keep() (int, error) {
	if _, err := unix.FcntlInt(uintptr(l.fd), unix.F_SETFD, 0); err != nil {
		return -1, fmt.Errorf("keep the lock of the state directory: %w", err)
	}
	return l.fd, nil
}

// Inherit is the ownership of dir that Keep has let through. The error says that
// fd is not that lock; fd is closed then, and Acquire can be tried.
func Inherit(dir string, fd int) (*Lock, error) {
	var mine, there unix.Stat_t
	err := unix.Fstat(fd, &mine)
	if err == nil {
		err = unix.Lstat(filepath.Join(dir, lockName), &there)
	}
	if err == nil && (mine.Ino != there.Ino || mine.Dev != there.Dev) {
		err = fmt.Errorf("descriptor %d is another file", fd)
	}
	if err == nil {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) // says yes at once to who has it
	}
	l := &Lock{dir: dir, fd: fd}
	if err == nil {
		err = l.writePID()
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("take over state directory %s: %w", dir, err)
	}
	unix.CloseOnExec(fd)
	return l, nil
}

// ReadRuns reads the record of runs of the daemon that has dir, and changes
// nothing. A record of another boot is empty.
func ReadRuns(dir string) ([]Run, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("read boot id: %w", err)
	}
	head := line(append([]byte("qsuper runs, boot "), bytes.TrimSpace(boot)...))
	runs, err := survivors(filepath.Join(dir, runsName), head)
	if err != nil {
		return nil, fmt.Errorf("read record of runs: %w", err)
	}
	return runs, nil
}
