package pidfile

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestInherit(t *testing.T) {
	dir := t.TempDir()
	first, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := first.Keep()
	if err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		t.Errorf("flags %x, %v", flags, err)
	}
	second, err := Inherit(dir, fd)
	if err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %x, %v", flags, err)
	}
	var held *Held
	if _, err := Acquire(dir); !errors.As(err, &held) {
		t.Errorf("it can be had twice: %v", err)
	}
	if err := second.Release(); err != nil {
		t.Error(err)
	}
	other, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Inherit(dir, other); err == nil {
		t.Error("any descriptor is a lock")
	}
	if runs, err := ReadRuns(dir); len(runs) != 0 || err != nil {
		t.Errorf("%v, %v", runs, err)
	}
}
