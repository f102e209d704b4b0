package logs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Both ways to a directory follow no link and make what is missing.
func TestNoLinkIsFollowed(t *testing.T) {
	for name, open := range map[string]func(string, bool) (int, error){"openat2": openDir, "one by one": walkDir} {
		dir := t.TempDir()
		check(t, os.MkdirAll(filepath.Join(dir, "real/in"), 0o750))
		check(t, os.Symlink("real", filepath.Join(dir, "link")))
		check(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
		for path, want := range map[string]error{
			"real": nil, "real/in": nil, "none": unix.ENOENT, "link": unix.ENOTDIR, "link/in": unix.ELOOP, "link/new": unix.ELOOP, "file": unix.ENOTDIR, "file/x": unix.ENOTDIR,
		} {
			for _, create := range []bool{false, true} {
				if path == "none" && create {
					continue
				}
				fd, err := open(filepath.Join(dir, path), create)
				if err == nil {
					check(t, unix.Close(fd))
				}
				either := errors.Is(want, unix.ELOOP) && err == unix.ENOTDIR || want == unix.ENOTDIR && err == unix.ELOOP
				if err != want && !either {
					t.Errorf("%s: %s: %v, want %v", name, path, err, want)
				}
			}
		}
		fd, err := open(filepath.Join(dir, "new/and/deep"), true)
		check(t, err)
		check(t, unix.Close(fd))
		info, err := os.Lstat(filepath.Join(dir, "new/and/deep"))
		if err != nil || info.Mode() != os.ModeDir|0o750 {
			t.Errorf("%s: %v %v", name, info, err)
		}
		if left, _ := os.ReadDir(filepath.Join(dir, "real")); len(left) != 1 {
			t.Errorf("%s: made through a link: %v", name, left)
		}
	}
}

// Whoever may rename a directory above the log must not get root to write
// elsewhere by a link in its place.
func TestDirectoryReplacedByALink(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "logs", "a.log")
	p := startPump(t, nil)
	s, c := one(t, p, Options{Path: path})
	c.write("before\n")
	endRun(t, s)
	victim := filepath.Join(dir, "victim")
	check(t, os.Mkdir(victim, 0o700))
	check(t, os.Rename(filepath.Join(dir, "logs"), filepath.Join(dir, "away")))
	check(t, os.Symlink(victim, filepath.Join(dir, "logs")))
	p.Reopen()
	heard := make(chan struct{})
	p.do(func() { close(heard) })
	<-heard // a pass that had begun before would write to the old file
	c.write("evil\n")
	eventually(t, "the trouble shows", func() bool { return s.Stats().Degraded != "" })
	if left, _ := os.ReadDir(victim); len(left) != 0 {
		t.Errorf("made in the place of the link: %v", left)
	}
	check(t, os.Remove(filepath.Join(dir, "logs")))
	eventually(t, "it goes on by itself", func() bool { return s.Stats().Degraded == "" })
	if got := contents(t, path); !strings.Contains(got, "(1 lines) of output lost") {
		t.Errorf("%q", got)
	}
}

// A file of somebody else is written only where nobody but us could have put it.
// The test needs root: files are given to others.
func TestOwnerOfALog(t *testing.T) {
	const other = 33
	for name, c := range map[string]struct {
		dirMode  os.FileMode
		dirOwner int
		owner    int
		refused  bool
	}{
		"own":                            {0o755, 0, 0, false},
		"of logrotate's create":          {0o750, 0, other, false},
		"planted in an open directory":   {0o777, 0, other, true},
		"planted in a group's directory": {0o770, 0, other, true},
		"planted in an own directory":    {0o755, other, other, true},
		"ours in another's directory":    {0o755, other, 0, false},
	} {
		dir := filepath.Join(t.TempDir(), "logs")
		path := filepath.Join(dir, "a.log")
		check(t, os.Mkdir(dir, 0o700))
		check(t, os.WriteFile(path, []byte("theirs\n"), 0o600))
		check(t, os.Chown(path, c.owner, c.owner))
		check(t, os.Chown(dir, c.dirOwner, c.dirOwner))
		check(t, os.Chmod(dir, c.dirMode))
		s, out := one(t, startPump(t, nil), Options{Path: path})
		out.write("secret\n")
		endRun(t, s)
		degraded := s.Stats().Degraded
		if got := contents(t, path); c.refused != (got == "theirs\n") || c.refused != strings.Contains(degraded, "belongs to user 33") {
			t.Errorf("%s: holds %q, %q", name, got, degraded)
		}
	}
}
