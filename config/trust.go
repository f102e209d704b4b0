package config

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// trusted returns what is wrong with a file that root is to obey: whoever may
// change it, or put another in its place, may run commands as root. It is the
// rule of sshd and cron: file, directories and links on the way belong to root,
// and nobody else may write them. A directory that is sticky, as /tmp, may be
// written by others: they cannot replace what is root's.
func trusted(path string) error {
	list, _ := way(path)
	for _, p := range list {
		info, err := os.Lstat(p)
		if err != nil {
			return nil // whoever reads it will say so
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || info.Mode().Type() == fs.ModeSymlink && isRoots(st.Uid) {
			continue // a link has no permissions of its own
		}
		mode := info.Mode().Perm()
		group := mode&0o020 != 0 && st.Gid != 0
		sticky := info.IsDir() && info.Mode()&fs.ModeSticky != 0
		switch {
		case !isRoots(st.Uid):
			return fmt.Errorf("root does not obey it: user %s may change %s; run chown root %[2]s, or run qsuper as that user", nameOf(st.Uid), p)
		case sticky:
		case mode&0o002 != 0:
			return fmt.Errorf("root does not obey it: everybody may change %s; run chmod o-w %[1]s", p)
		case group:
			return fmt.Errorf("root does not obey it: group %s may change %s; run chmod g-w %[2]s", groupName(st.Gid), p)
		}
	}
	return nil
}

// way lists what leads from / to a file: directories, links, what links mean,
// and the file. end is the path without any link; what does not exist stays as
// it was written.
func way(path string) (list []string, end string) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, path
	}
	at := "/"
	list = []string{at}
	rest := strings.Split(strings.Trim(filepath.Clean(abs), "/"), "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		next := filepath.Join(at, name)
		list = append(list, next)
		target, err := os.Readlink(next)
		if err != nil {
			at = next
			continue
		}
		if links++; links > 40 { // as the kernel
			return list, abs
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return list, at
}

// WithoutLinks returns a path without symbolic links, for those who open it
// without following any. Links of root and of the daemon's own user are taken for
// what they mean; one of somebody else is an error, and left where it is.
func WithoutLinks(path string) (string, error) {
	list, end := way(path)
	for _, p := range list {
		var st syscall.Stat_t
		if syscall.Lstat(p, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFLNK && !isRoots(st.Uid) && int(st.Uid) != os.Geteuid() {
			return path, fmt.Errorf("%s is a link of user %s, who could send what is written there elsewhere; make it a directory, or run chown -h root %[1]s", p, nameOf(st.Uid))
		}
	}
	return end, nil
}

// overflowUID is how the kernel shows users that a user namespace does not have.
const overflowUID = 65534

// isRoots says whether something belongs to root. In a user namespace that is
// also what belongs to nobody there: nothing inside can change it.
func isRoots(uid uint32) bool {
	if uid != overflowUID {
		return uid == 0
	}
	m, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !bytes.Equal(bytes.Join(bytes.Fields(m), []byte(" ")), []byte("0 0 4294967295"))
}

func nameOf(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}
