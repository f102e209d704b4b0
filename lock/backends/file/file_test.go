package file_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"qsuper/lock"
	"qsuper/lock/backends/file"
	"qsuper/lock/locktest"
)

func TestConformance(t *testing.T) {
	var dir string
	locktest.Run(t, func(t *testing.T) lock.Locker {
		if d := filepath.Dir(t.TempDir()); filepath.Dir(dir) != d { // one for each subtest
			dir = filepath.Join(d, "locks")
		}
		return file.Dir(dir)
	})
}

func TestDirectoryIsPrivateAndFilesStay(t *testing.T) {
	d := file.Dir(filepath.Join(t.TempDir(), "a", "locks"))
	l, err := file.Acquire(d.Path("orders/0"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{string(d): 0o700 | os.ModeDir, d.Path("orders/0"): 0o600} {
		if st, err := os.Stat(path); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	var held *lock.HeldError
	if _, err := file.Acquire(link); err == nil || errors.As(err, &held) {
		t.Error(err)
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("the link was followed")
	}
}

// A child that inherited the lock has it, whoever took it and whatever became of
// them, and is named.
func TestInheritedLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	// flock takes the lock and leaves it to a child that outlives it.
	out, err := exec.Command("flock", path, "sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(out), &pid); err != nil {
		t.Fatal(err)
	}
	sleeper, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer sleeper.Kill()
	_, err = file.Acquire(path)
	var held *lock.HeldError
	if !errors.As(err, &held) || held.By != fmt.Sprintf("pid %d (sleep 1000)", pid) {
		t.Fatal(err)
	}
	if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "sleep 1000") {
		t.Error(err)
	}
	if err := sleeper.Kill(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		l, err := file.Acquire(path)
		if err == nil {
			if err := l.Release(); err != nil {
				t.Error(err)
			}
			return
		}
		if !errors.As(err, &held) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// Who holds a slot is named without what may be a password.
func TestHolderWithoutOptions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	cmd := exec.Command("flock", "-n", "-F", path, "tail", "/dev/null", "-f", "--retry")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	want := fmt.Sprintf("pid %d (tail /dev/null …)", cmd.Process.Pid)
	var by string
	for deadline := time.Now().Add(time.Minute); by != want; <-time.After(2 * time.Millisecond) {
		l, err := file.Acquire(path)
		var held *lock.HeldError
		if errors.As(err, &held) {
			by = held.By
		} else if err == nil {
			_ = l.Release()
		}
		if time.Now().After(deadline) {
			t.Fatalf("held by %q, expected %q", by, want)
		}
	}
}

func BenchmarkAcquire(b *testing.B) {
	path := filepath.Join(b.TempDir(), "lock")
	for b.Loop() {
		l, err := file.Acquire(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Release(); err != nil {
			b.Fatal(err)
		}
	}
}
