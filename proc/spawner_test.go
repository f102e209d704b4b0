package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Spawner and Start give the same process.
func TestSpawner(t *testing.T) {
	dir := t.TempDir()
	s, err := NewSpawner(func(f func()) { go f() })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}

	lock, err := unix.Open(filepath.Join(dir, "lock"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(lock, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	fifo, err := unix.Open(filepath.Join(dir, "fifo"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fifo)

	type outcome struct {
		p   *Process
		err error
	}
	results := make(chan outcome)
	run := func(sp *Spec) (*Process, error) {
		s.Start(sp, func(p *Process, err error) { results <- outcome{p, err} })
		r := <-results
		return r.p, r.err
	}
	sp := sh("echo hello; exec sleep 1000")
	sp.Lock, sp.Output = lock, fifo
	p, err := run(sp)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := unix.Read(fifo, buf); string(buf[:max(n, 0)]) != "hello\n" {
		t.Errorf("%q, %v", buf[:max(n, 0)], err)
	}
	unix.Close(lock)
	again, err := unix.Open(filepath.Join(dir, "lock"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(again)
	if err := unix.Flock(again, unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("the process does not hold the lock: %v", err)
	}
	want := []string{"/dev/null", "/fifo", "/fifo", "/lock"}
	eventually(t, fmt.Sprintf("descriptors %v", want), func() bool { // the shell and the loader open some for a moment
		var links []string
		fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID))
		for _, fd := range fds {
			link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", p.PID, fd.Name()))
			links = append(links, strings.TrimPrefix(link, dir))
		}
		slices.Sort(links)
		return slices.Equal(links, want)
	})
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if e := reap(t, p); e.Signal != syscall.SIGKILL {
		t.Errorf("%+v", e)
	}
	p.Close()
	if err := unix.Flock(again, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("the lock outlives the process: %v", err)
	}
	var failed *StartError
	if _, err := run(spec("/no/such")); !errors.As(err, &failed) || failed.Kind != Exec {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Of many starts at once each is told once, and each process has its own lock and
// no other's, though several threads fork at the same time.
func TestSpawnerBurst(t *testing.T) {
	dir := t.TempDir()
	posted := make(chan func(), 100)
	s, err := NewSpawner(func(f func()) { posted <- f })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	const n = 100
	told, running := 0, map[int]*Process{}
	for i := range n {
		name := filepath.Join(dir, fmt.Sprintf("lock.%d", i))
		lock, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		sp := spec("/bin/sleep", "1000")
		sp.Lock = lock
		s.Start(sp, func(p *Process, err error) {
			told++
			unix.Close(lock)
			if err != nil {
				t.Error(err)
				return
			}
			running[i] = p
		})
	}
	for told < n {
		(<-posted)()
	}
	for i, p := range running {
		var locks []string
		fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID))
		for _, fd := range fds {
			link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", p.PID, fd.Name()))
			if name, ok := strings.CutPrefix(link, dir+"/"); ok {
				locks = append(locks, name)
			}
		}
		if want := []string{fmt.Sprintf("lock.%d", i)}; !slices.Equal(locks, want) {
			t.Errorf("process %d has %v, not %v", i, locks, want)
		}
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		if e := reap(t, p); e.Signal != syscall.SIGKILL {
			t.Errorf("%+v", e)
		}
		p.Close()
	}
	if told != n || len(running) != n {
		t.Errorf("%d of %d told, %d run", told, n, len(running))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
