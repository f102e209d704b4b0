package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// openLog opens a log file for appending, and makes it and its directories if
// need be: never through a symbolic link, wherever it stands in the path, and
// never anything but a regular file with one name. A file of a third user is
// refused unless only root or we could have put it there, as logrotate does.
func openLog(path string, create bool) (fd int, st unix.Stat_t, err error) {
	// O_NONBLOCK: a FIFO at the path must not stop us before it is refused.
	flags := unix.O_RDWR | unix.O_NONBLOCK | unix.O_NOCTTY
	if create {
		flags |= unix.O_CREAT
	}
	fd, dir, err := openIn(path, flags, create)
	if err != nil {
		return -1, st, fmt.Errorf("open %s: %w", path, err)
	}
	if err = unix.Fstat(fd, &st); err == nil {
		switch {
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			err = errors.New("not a regular file: move it away")
		case st.Nlink > 1:
			err = errors.New("has more than one name (hard link): move it away")
		case !ours(st.Uid) && (!ours(dir.Uid) || dir.Mode&0o022 != 0):
			err = fmt.Errorf("belongs to user %d, in a directory that others may write: move it away, or run chown root on it", st.Uid)
		}
	}
	if err != nil {
		return -1, st, errors.Join(fmt.Errorf("open %s: %w", path, err), unix.Close(fd))
	}
	return fd, st, nil
}

func ours(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// openIn opens a file without following any symbolic link. Names in a log
// directory, and in those above it, may have been made by others: root's bytes
// must not be sent elsewhere by them.
func openIn(path string, flags int, makeDir bool) (fd int, dir unix.Stat_t, err error) {
	at, err := openDir(filepath.Dir(path), makeDir)
	if err != nil {
		return -1, dir, err
	}
	defer unix.Close(at)
	if err := unix.Fstat(at, &dir); err != nil {
		return -1, dir, err
	}
	fd, err = unix.Openat(at, filepath.Base(path), flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o640)
	return fd, dir, err
}

const dirFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// openDir opens a directory. Where the kernel has no openat2 (before 5.6), or a
// container's filter does not know it, or there is something to be made, it goes
// through the components one by one.
func openDir(path string, create bool) (int, error) {
	how := unix.OpenHow{Flags: dirFlags, Resolve: unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	if err == unix.ENOSYS || err == unix.EPERM || err == unix.ENOENT && create {
		return walkDir(path, create)
	}
	return fd, err
}

func walkDir(path string, create bool) (int, error) {
	at, err := unix.Open("/", dirFlags, 0)
	for _, name := range strings.Split(strings.Trim(path, "/"), "/") {
		if err != nil || name == "" {
			break
		}
		var next int
		next, err = unix.Openat(at, name, dirFlags, 0)
		if err == unix.ENOENT && create {
			if err = unix.Mkdirat(at, name, 0o750); err == nil || err == unix.EEXIST {
				next, err = unix.Openat(at, name, dirFlags, 0)
			}
		}
		_ = unix.Close(at)
		at = next
	}
	if err != nil {
		return -1, err
	}
	return at, nil
}
