// Package file keeps locks as flock(2) on files of one directory.
//
// Such a lock belongs to the open file and not to a process: a child that
// inherits the descriptor holds it too, so it outlives a parent that was killed
// and is free exactly when the last holder is gone. Nothing can go stale, no pid
// is trusted. Two rules make it a lock at all: the file is never unlinked (a
// second opener would lock another file), and it is given back only by closing
// (LOCK_UN would take it from the children as well).
package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"qsuper/lock"
)

// Dir is a directory of locks. It implements lock.Locker.
type Dir string

// Path is the file of a named lock. Names are those of slots: "orders/0".
func (d Dir) Path(name string) string {
	return filepath.Join(string(d), strings.ReplaceAll(name, "/", ".")+".lock")
}

// Acquire implements lock.Locker.
func (d Dir) Acquire(_ context.Context, name string) (lock.Held, error) {
	l, err := Acquire(d.Path(name))
	if err != nil { // a nil *Lock in the interface would not be nil
		return nil, err
	}
	return l, nil
}

// Holder implements lock.Locker. Asking takes the lock for a moment when it is free.
func (d Dir) Holder(_ context.Context, name string) (string, error) {
	path := d.Path(name)
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	l, err := Acquire(path)
	var held *lock.HeldError
	switch {
	case err == nil:
		return "", l.Release()
	case errors.As(err, &held) && held.By == "":
		return "somebody unknown", nil
	case errors.As(err, &held):
		return held.By, nil
	}
	return "", err
}

// Lock is a lock that is held.
type Lock struct{ fd int }

// Acquire takes the lock of a file, which it creates if need be, with its
// directory (0700). It does not wait: a lock that is taken gives *lock.HeldError.
func Acquire(path string) (*Lock, error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	fd, err := unix.Open(path, flags, 0o600)
	if err == unix.ENOENT {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("create lock directory: %w", err)
		}
		fd, err = unix.Open(path, flags, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("open lock %s: %w", path, err)
	}
	for {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	switch err {
	case nil:
		return &Lock{fd: fd}, nil
	case unix.EWOULDBLOCK:
		err = &lock.HeldError{Name: path, By: holder(fd)}
	default:
		err = fmt.Errorf("take lock %s: %w", path, err)
	}
	unix.Close(fd)
	return nil, err
}

// FD is what a child must inherit to hold the lock too. It stays the Lock's own.
func (l *Lock) FD() int { return l.fd }

// Release implements lock.Held.
func (l *Lock) Release() error {
	if l.fd < 0 {
		return nil
	}
	err := unix.Close(l.fd)
	l.fd = -1
	return err
}
