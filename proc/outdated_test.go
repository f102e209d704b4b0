package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A deploy switches a link, and a clean-up deletes what was there before.
func TestOutdated(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	v1, v2, current := filepath.Join(root, "v1"), filepath.Join(root, "v2"), filepath.Join(root, "current")
	do := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	sleep, err := os.ReadFile("/bin/sleep")
	do(err, os.Mkdir(v1, 0o755), os.Mkdir(v2, 0o755), os.Symlink(v1, current))
	do(os.WriteFile(filepath.Join(root, "program"), sleep, 0o755))
	cmd := exec.Command(filepath.Join(root, "program"), "1000")
	cmd.Dir = current
	do(cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	started := time.Now()
	is := func(what, want string) {
		t.Helper()
		if got := Outdated(cmd.Process.Pid, current, started); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	is("just started", "")
	// A file system's clock ticks a few times slower than this one.
	for next := filepath.Join(root, "next"); !relinked(current, started); {
		do(os.Symlink(v2, next), os.Rename(next, current))
	}
	is("after a deploy", "it runs in "+v1+", and "+current+" is now "+v2)
	if got := Outdated(cmd.Process.Pid, current, time.Now().Add(time.Hour)); got != "" {
		t.Errorf("a process that went elsewhere by itself: %q", got)
	}
	do(os.Remove(v1))
	is("after a clean-up", "its directory "+v1+" was deleted")
	do(os.Remove(filepath.Join(root, "program")))
	is("after an upgrade", "its program "+filepath.Join(root, "program")+" was replaced or deleted")
	if got := Outdated(1<<30, current, started); got != "" {
		t.Errorf("nobody: %q", got)
	}
}
