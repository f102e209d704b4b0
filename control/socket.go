package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxPath is what fits into sun_path with its closing zero (unix(7)).
const maxPath = 107

// silence is how long a daemon may take to answer at all before it counts as hung.
const silence = 2 * time.Second

// InUse says that another daemon already answers at the socket.
type InUse struct {
	Path string
	PID  int // of its keeper; 0: not known
}

func (e *InUse) Error() string {
	if e.PID > 0 {
		return fmt.Sprintf("another daemon answers at %s, with pid %d and another state directory", e.Path, e.PID)
	}
	return "another daemon answers at " + e.Path
}

// Hint says how to have two daemons.
func (e *InUse) Hint() string {
	return `stop it with "qsuper stop", or give this one its own daemon.socket.path and daemon.state_dir`
}

// Occupied says that something else than a socket lies where the daemon's belongs.
type Occupied struct {
	Path string
	Kind string // what it is
}

func (e *Occupied) Error() string { return fmt.Sprintf("%s is no socket but %s", e.Path, e.Kind) }

// Hint says what to do.
func (e *Occupied) Hint() string { return "move it away, or set daemon.socket.path" }

// Free returns *Occupied if something lies at path that no daemon has put there,
// and that none will remove.
func Free(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() == fs.ModeSocket {
		return nil // what else is wrong shows when it is bound
	}
	names := map[fs.FileMode]string{0: "a file", fs.ModeDir: "a directory", fs.ModeSymlink: "a symbolic link", fs.ModeNamedPipe: "a pipe"}
	return &Occupied{Path: path, Kind: cmp.Or(names[info.Mode().Type()], "a device")}
}

// socket is a bound and listening unix socket at its final path.
type socket struct {
	*net.UnixListener
	path string
	gid  *uint32 // the group that may connect; nil: none
	id   fileID
}

type fileID struct{ dev, ino uint64 }

// listen puts a socket at o.Path that nobody but its owner and group can ever
// have opened, not even for a moment: it is bound under a temporary name with
// mode 0600, given its group and mode there, and renamed into place.
func listen(ctx context.Context, o Options) (*socket, error) {
	gid, err := groupID(o.Group)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(o.Path)
	if err := prepareDir(dir, gid); err != nil {
		return nil, err
	}
	if err := vacant(ctx, o.Path); err != nil {
		return nil, err
	}
	temp := filepath.Join(dir, "."+strconv.Itoa(os.Getpid()))
	if longest := max(len(o.Path), len(temp)); longest > maxPath {
		return nil, fmt.Errorf("listen at %s: the path has %d bytes, a socket's may have %d: set daemon.socket.path to a shorter one", o.Path, longest, maxPath)
	}
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen at %s: %w", o.Path, err)
	}
	l, err := bind(ctx, temp)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", o.Path, err)
	}
	s := &socket{UnixListener: l, path: o.Path, gid: gid}
	if s.id, err = settle(temp, o, gid); err != nil {
		l.Close()
		os.Remove(temp)
		return nil, fmt.Errorf("listen at %s: %w", o.Path, err)
	}
	return s, nil
}

// bind makes the socket's inode with mode 0600 whatever the umask: Linux takes
// the mode from the unbound socket's own inode. Changing the umask would change
// it for every file another thread creates meanwhile.
func bind(ctx context.Context, path string) (*net.UnixListener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err)
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false) // the name goes away by rename, the file only while it is ours
	return u, nil
}

// settle gives the bound socket its group and mode, then its name.
func settle(temp string, o Options, gid *uint32) (fileID, error) {
	if gid != nil {
		if err := os.Lchown(temp, -1, int(*gid)); err != nil {
			return fileID{}, fmt.Errorf("give the socket to group %s: %w", o.Group, err)
		}
		if err := os.Chmod(temp, cmp.Or(o.Mode.Perm(), 0o660)); err != nil {
			return fileID{}, err
		}
	}
	id, err := identify(temp)
	if err != nil {
		return fileID{}, err
	}
	return id, os.Rename(temp, o.Path)
}

// prepareDir makes the directory if it is missing, and refuses one in which a
// stranger could put another socket in the place of ours.
func prepareDir(dir string, gid *uint32) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("make socket directory: %w", err)
	}
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil && gid != nil:
		if err := errors.Join(os.Chown(dir, -1, int(*gid)), os.Chmod(dir, 0o750)); err != nil {
			return fmt.Errorf("make socket directory: %w", err)
		}
	case err != nil && !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("make socket directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("check socket directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("socket directory %s is no directory: remove it, or set daemon.socket.path", dir)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if owner != 0 && owner != uint32(os.Geteuid()) {
		return fmt.Errorf("socket directory %s belongs to uid %d: give it to root or to the daemon's user, or set daemon.socket.path", dir, owner)
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("socket directory %s is writable for everybody: chmod o-w it, or set daemon.socket.path", dir)
	}
	return nil
}

// vacant returns nil when nothing, or only a dead daemon's socket, is at path.
func vacant(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at socket path: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return Free(path)
	}
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		defer c.Close()
		if silent(c) {
			return nil
		}
		return &InUse{Path: path}
	case errors.Is(err, syscall.EAGAIN): // somebody listens and is overrun
		return &InUse{Path: path}
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return fmt.Errorf("ask who owns the socket: %w", err)
	}
}

// silent says whether nobody answers although the kernel has connected us: a
// daemon that hangs, or is stopped. It must not keep its successor from being
// reached; when it comes back it finds that the socket is no longer its own.
func silent(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(silence)) // a socket that has just been connected takes one
	if _, err := c.Write([]byte("HEAD / HTTP/1.0\r\n\r\n")); err != nil {
		return false // hung up on: somebody is there
	}
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

func identify(path string) (fileID, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return fileID{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return fileID{dev: uint64(st.Dev), ino: st.Ino}, nil
}

// ours says whether the file at the path is still this socket.
func (s *socket) ours() bool {
	id, err := identify(s.path)
	return err == nil && id == s.id
}

// remove takes the file away unless another daemon has put its own there.
func (s *socket) remove() {
	if s.ours() {
		os.Remove(s.path)
	}
}

func groupID(name string) (*uint32, error) {
	if name == "" {
		return nil, nil
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		gid := uint32(n)
		return &gid, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return nil, fmt.Errorf("find the socket's group: %w: create it with groupadd --system %s, or change daemon.socket.group", err, name)
	}
	n, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("find the socket's group: gid %q: %w", g.Gid, err)
	}
	gid := uint32(n)
	return &gid, nil
}
