package pidfile

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHolder: who holds a state directory has its lock open. Another file system may
// show a lock with the same number, and is not asked what it is.
func TestHolder(t *testing.T) {
	dir := t.TempDir()
	if pid := Holder(dir); pid != 0 {
		t.Errorf("pid %d holds nothing", pid)
	}
	f, err := os.Create(filepath.Join(dir, lockName))
	if err != nil {
		t.Fatal(err)
	}
	if pid := Holder(dir); pid != 0 {
		t.Errorf("pid %d holds what nobody has locked", pid)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if pid := Holder(dir); pid != os.Getpid() {
		t.Errorf("pid %d holds it, not %d", pid, os.Getpid())
	}
	// The lock lives on in a child: this process is in the kernel's list, and has the
	// file no longer.
	child := exec.Command("sleep", "1000")
	child.ExtraFiles = []*os.File{f}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	f.Close()
	if pid := Holder(dir); pid != 0 {
		t.Errorf("pid %d is said to hold what it has not open", pid)
	}
}
