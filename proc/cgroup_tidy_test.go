package proc

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What dead daemons have left goes, what has been touched lately or is none of
// theirs stays.
func TestTidy(t *testing.T) {
	c, ok := openCgroups(t)
	if !ok {
		return
	}
	top := newCgroup(t, c, "tidy").Path()
	place := func(name string) *Cgroups { return &Cgroups{top: top, base: filepath.Join(top, name), self: top} }
	own, dead, busy := place("qsuper.own"), place("qsuper.dead"), place("qsuper.busy")
	var groups []*Cgroup
	for _, d := range []*Cgroups{own, dead, busy} {
		g, err := d.New("orders/0")
		if err != nil {
			t.Fatal(err)
		}
		g.CloseFD()
		groups = append(groups, g)
	}
	for _, name := range []string{keeperGroup, "others"} {
		if err := os.Mkdir(filepath.Join(top, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(groups[2].Path(), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lives := exec.Command("sleep", "1000")
	lives.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	if err := lives.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = lives.Process.Kill()
		_ = lives.Wait()
		eventually(t, "its group is empty", func() bool { is, err := groups[2].Populated(); return err == nil && !is })
		for _, d := range []string{"qsuper.busy/" + filepath.Base(groups[2].Path()), "qsuper.busy", "qsuper.own", "qsuper.dead", keeperGroup, "others"} {
			_ = os.Remove(filepath.Join(top, d)) // some are gone
		}
	}()
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(top, name))
		return !errors.Is(err, os.ErrNotExist)
	}
	own.Tidy(time.Hour)
	if _, err := os.Stat(groups[0].Path()); !errors.Is(err, os.ErrNotExist) || !there("qsuper.dead") {
		t.Errorf("own group of an earlier life: %v; a daemon that was there a moment ago: %v", err, there("qsuper.dead"))
	}
	own.Tidy(0)
	for name, want := range map[string]bool{"qsuper.dead": false, "qsuper.busy": true, keeperGroup: true, "others": true} {
		if there(name) != want {
			t.Errorf("%s is there: %v", name, there(name))
		}
	}
}
