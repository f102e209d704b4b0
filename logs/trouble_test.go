package logs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tinyDisk mounts a tmpfs of 1 MiB. Without root the test runs once more in a
// user and a mount namespace of its own; tinyDisk is "" when that has been done.
func tinyDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m")
	if err == nil {
		t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
		return dir
	}
	if os.Geteuid() == 0 {
		t.Fatalf("mount a tmpfs: %v; run the tests where mounting is allowed", err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in a user namespace (or run the tests as root): %v\n%s", err, out)
	}
	return ""
}

var gapText = regexp.MustCompile(`^qsuper: (\d+) bytes \((\d+) lines\) of output lost between (\S+) and (\S+): (.*)\n$`)

// checkGaps finds numbered lines in order, each whole, and where some are
// missing a gap line with the right counts. It returns how many gaps there are.
func checkGaps(t testing.TB, log []byte, id string, count int, why string) (gaps int) {
	t.Helper()
	next := 0
	for line := range bytes.Lines(log) {
		m := gapText.FindSubmatch(line)
		if m == nil {
			if want := numbered(id, next); !bytes.Equal(line, want) {
				t.Fatalf("line %d: got %.80q, want %.80q", next, line, want)
			}
			next++
			continue
		}
		gaps++
		size, _ := strconv.Atoi(string(m[1]))
		lines, _ := strconv.Atoi(string(m[2]))
		from, err1 := time.Parse(stampLayout, string(m[3]))
		to, err2 := time.Parse(stampLayout, string(m[4]))
		if err1 != nil || err2 != nil || to.Before(from) || string(m[5]) != why {
			t.Errorf("gap line %q: %v %v", line, err1, err2)
		}
		missing := 0
		for range lines {
			missing += len(numbered(id, next))
			next++
		}
		if size != missing {
			t.Errorf("gap line says %d bytes, %d are missing", size, missing)
		}
	}
	if next != count {
		t.Errorf("%d lines accounted for, want %d", next, count)
	}
	return gaps
}

func TestDiskFull(t *testing.T) {
	dir := tinyDisk(t)
	if dir == "" {
		return
	}
	filler := filepath.Join(dir, "filler")
	check(t, os.WriteFile(filler, make([]byte, 900<<10), 0o600))
	path := filepath.Join(dir, "a.log")
	s, c := one(t, startPump(t, nil), Options{Path: path})
	const lines = 20000
	c.start("lines", "d", 0, lines)
	c.run()
	c.wait() // is not held up
	endRun(t, s)
	st := s.Stats()
	if st.DroppedLines == 0 || !strings.Contains(st.Degraded, "no space left on device") || st.Since.IsZero() {
		t.Fatalf("stats on a full disk: %+v", st)
	}
	c.write("d 0") // and the beginning of a line, which then goes on
	check(t, os.Remove(filler))
	c.write(string(numbered("d", lines)[3:]))
	endRun(t, s)
	eventually(t, "the gap is told without further output", func() bool { return s.Stats().Degraded == "" })
	for i := range 10 {
		c.write(string(numbered("d", lines+1+i)))
	}
	endRun(t, s)
	if gaps := checkGaps(t, []byte(contents(t, path)), "d", lines+11, "no space left on device"); gaps == 0 {
		t.Error("there is no gap line")
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	dir := tinyDisk(t)
	if dir == "" {
		return
	}
	path := filepath.Join(dir, "logs", "a.log")
	check(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	p := startPump(t, nil)
	s, c := one(t, p, Options{Path: path, Prefix: PrefixJSON})
	c.write("lost\n")
	endRun(t, s)
	if st := s.Stats(); st.DroppedLines != 1 || !strings.Contains(st.Degraded, "read-only file system") {
		t.Errorf("stats: %+v", st)
	}
	check(t, unix.Mount("", dir, "", unix.MS_REMOUNT, ""))
	eventually(t, "writing works again", func() bool { return s.Stats().Degraded == "" })
	c.write("kept\n")
	endRun(t, s)
	got := string(unprefixed(t, []byte(contents(t, path)), PrefixJSON, "", 0))
	if !strings.Contains(got, "(1 lines) of output lost") || !strings.HasSuffix(got, "\nkept\n") {
		t.Errorf("got %q", got)
	}
}

// A directory in which nothing may be renamed: the file grows, no line is lost.
func TestRotationRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	check(t, os.MkdirAll(filepath.Join(path+".1", "in the way"), 0o700))
	s, c := one(t, startPump(t, nil), Options{Path: path, MaxSize: 1000, Keep: 1})
	for i := range 200 {
		c.write(string(numbered("r", i)))
	}
	endRun(t, s)
	if st := s.Stats(); !strings.Contains(st.Degraded, "rotate") || st.DroppedBytes != 0 {
		t.Errorf("stats: %+v", st)
	}
	checkNumbered(t, []byte(contents(t, path)), "r", 0, 200)
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	for name, make := range map[string]func(path, victim string) error{
		"symbolic link":  func(path, victim string) error { return os.Symlink(victim, path) },
		"hard link":      func(path, victim string) error { return os.Link(victim, path) },
		"pipe":           func(path, victim string) error { return unix.Mkfifo(path, 0o600) },
		"directory":      func(path, victim string) error { return os.Mkdir(path, 0o700) },
		"dangling link":  func(path, victim string) error { return os.Symlink(victim+"x", path) },
		"file as parent": func(path, victim string) error { return os.Remove(filepath.Dir(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "logs")
			check(t, os.Mkdir(dir, 0o750))
			victim := filepath.Join(filepath.Dir(dir), "victim")
			check(t, os.WriteFile(victim, []byte("precious"), 0o600))
			path := filepath.Join(dir, "a.log")
			check(t, make(path, victim))
			if name == "file as parent" {
				check(t, os.WriteFile(dir, nil, 0o600))
			}
			s, c := one(t, startPump(t, nil), Options{Path: path})
			c.write("evil\n")
			endRun(t, s)
			if st := s.Stats(); st.Degraded == "" || st.DroppedLines != 1 {
				t.Errorf("stats: %+v", st)
			}
			if got := contents(t, victim); got != "precious" {
				t.Errorf("the victim holds %q", got)
			}
			if _, err := os.Lstat(victim + "x"); !os.IsNotExist(err) {
				t.Errorf("something was made through the link: %v", err)
			}
		})
	}
}

func TestFileTakenAway(t *testing.T) {
	for name, take := range map[string]func(path string) error{
		"deleted":           os.Remove,
		"directory deleted": func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
		"renamed":           func(path string) error { return os.Rename(path, path+"-old") },
		"replaced": func(path string) error {
			return os.WriteFile(path+"-new", nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for the pump's look at its files, once in a second
			path := filepath.Join(t.TempDir(), "logs", "a.log")
			s, c := one(t, startPump(t, nil), Options{Path: path})
			c.write("before\n")
			endRun(t, s)
			check(t, take(path))
			if name == "replaced" {
				check(t, os.Rename(path+"-new", path))
			}
			n := 0
			eventually(t, "the file is there again", func() bool {
				n++
				c.write(fmt.Sprintf("line %d\n", n))
				endRun(t, s)
				return strings.HasSuffix(contents(t, path), fmt.Sprintf("line %d\n", n))
			})
			if st := s.Stats(); st.DroppedBytes != 0 {
				t.Errorf("stats: %+v", st)
			}
		})
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	p := startPump(t, nil)
	s, c := one(t, p, Options{Path: path})
	c.write("one\nbegun ")
	eventually(t, "it is there", func() bool { return contents(t, path) == "one\nbegun " })
	check(t, os.Rename(path, path+"-20261121"))
	p.Reopen()
	c.write("ended\ntwo\n")
	endRun(t, s)
	if old, now := contents(t, path+"-20261121"), contents(t, path); old != "one\nbegun ended\n" || now != "two\n" {
		t.Errorf("old %q, new %q", old, now)
	}
}

// What logrotate's copytruncate does.
func TestTruncatedByOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	s, c := one(t, startPump(t, nil), Options{Path: path, MaxSize: 1 << 20, Keep: 1})
	c.write(strings.Repeat("before\n", 100))
	endRun(t, s)
	check(t, os.Truncate(path, 0))
	c.write("after\n")
	endRun(t, s)
	if got := contents(t, path); got != "after\n" {
		t.Errorf("got %q", got)
	}
}
