package proc

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A child that has exited is taken back with its exact status, and one that is not
// ours not at all.
func TestRetake(t *testing.T) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd := int(null.Fd())
	p, err := Start(&Spec{Path: "/bin/sh", Argv: []string{"sh", "-c", "exit 3"}, Stdin: fd, Stdout: fd, Stderr: fd})
	if err != nil {
		t.Fatal(err)
	}
	wait := []unix.PollFd{{Fd: int32(p.PidFD()), Events: unix.POLLIN}}
	if n, err := unix.Poll(wait, 60_000); n != 1 {
		t.Fatal("it does not exit: ", err)
	}
	kept := p.Keep(false)
	p.Close()
	again, err := Retake(kept)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if e, ok, err := again.Reap(true); !ok || err != nil || e.Code != 3 {
		t.Errorf("%+v, %v, %v", e, ok, err)
	}
	for _, pid := range []int{kept.PID, 1, os.Getpid()} {
		if p, err := Retake(Kept{PID: pid}); err != unix.ESRCH {
			t.Errorf("%d: %+v, %v", pid, p, err)
		}
	}
}
