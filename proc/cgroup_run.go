package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Cgroup is the group of one run: whatever the process starts is in it, and
// cannot leave it by forking, by a new session or by losing its parent. It is
// not safe for concurrent use.
//
// All methods work by path, so that a run costs no descriptor after its start.
// A group that has been removed has no processes: that is no error anywhere.
type Cgroup struct {
	path string
	fd   int // O_PATH; -1: none
}

// OpenCgroup is the group at a path that Path gave to an earlier keeper. Whether
// it is still there Populated tells: false for one that is gone.
func OpenCgroup(path string) *Cgroup { return &Cgroup{path: path, fd: -1} }

// Path is the directory of the group, to be recorded with the run.
func (g *Cgroup) Path() string { return g.path }

// FD is for Spec.Cgroup; -1 after CloseFD or OpenCgroup.
func (g *Cgroup) FD() int { return g.fd }

// CloseFD gives the descriptor back, which is needed for the start only.
func (g *Cgroup) CloseFD() {
	if g.fd >= 0 {
		unix.Close(g.fd)
		g.fd = -1
	}
}

// Kill sends SIGKILL to all processes of the group and of groups below it, once
// and for all: none can fork its way out (Linux 5.14).
func (g *Cgroup) Kill() error {
	if err := g.write("cgroup.kill", "1"); err != nil {
		return fmt.Errorf("kill cgroup %s: %w", g.path, err)
	}
	return nil
}

// Freeze stops all processes of the group, or lets them go on. It takes effect
// some time after: see Frozen. Kill works on frozen ones.
func (g *Cgroup) Freeze(on bool) error {
	text := "0"
	if on {
		text = "1"
	}
	if err := g.write("cgroup.freeze", text); err != nil {
		return fmt.Errorf("freeze cgroup %s: %w", g.path, err)
	}
	return nil
}

// Populated says whether a process lives in the group or below it; zombies do not.
func (g *Cgroup) Populated() (bool, error) { return g.event("populated") }

// Frozen says whether all processes stand still by now.
func (g *Cgroup) Frozen() (bool, error) { return g.event("frozen") }

func (g *Cgroup) event(name string) (bool, error) {
	n, err := g.count("cgroup.events", name)
	if gone(err) {
		return false, nil
	}
	return n != 0, err
}

// OOMKills is how many processes of the group the kernel has killed for want of
// memory, be it the group's own limit or the machine's. errors.ErrUnsupported
// means that the group has no memory controller, so nobody has counted.
func (g *Cgroup) OOMKills() (int, error) {
	n, err := g.count("memory.events", "oom_kill")
	if errors.Is(err, syscall.ENOENT) {
		return 0, fmt.Errorf("count the out-of-memory kills of cgroup %s: %w", g.path, errors.ErrUnsupported)
	}
	return n, err
}

// count reads a number from a file of "name number" lines.
func (g *Cgroup) count(file, name string) (int, error) {
	var buf [512]byte
	fd, err := unix.Open(g.path+"/"+file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("read %s of cgroup %s: %w", file, g.path, err)
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return 0, fmt.Errorf("read %s of cgroup %s: %w", file, g.path, err)
	}
	for line := range bytes.Lines(buf[:n]) {
		if key, value, _ := bytes.Cut(line, []byte(" ")); string(key) == name {
			return atoi(value), nil
		}
	}
	return 0, fmt.Errorf("read %s of cgroup %s: no %q in it", file, g.path, name)
}

// Events opens what tells that Populated or Frozen may have changed, for epoll
// with EPOLLPRI alone (EPOLLIN is always set); the caller closes it. It stays set
// until Rearm, which must come before Populated is asked, or a change between the
// two is lost. The kernel tells at most every 10 ms, so it is for those few runs
// that leave something behind, not for knowing when a process has exited. An
// error of ENOENT or ENODEV means that the group is gone.
func (g *Cgroup) Events() (fd int, err error) {
	fd, err = unix.Open(g.path+"/cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("watch cgroup %s: %w", g.path, err)
	}
	Rearm(fd) // a new descriptor is set before anything has changed
	return fd, nil
}

// Rearm lets a descriptor of Events be set again at the next change.
func Rearm(fd int) {
	var buf [128]byte
	_, _ = unix.Pread(fd, buf[:], 0) // ENODEV: the group is gone, as Populated will tell
}

// Procs lists the processes of the group and of those below it, without zombies
// that have been waited for. A number may be gone or reused when it is read: to
// signal one, hold it by pidfd and look whether it is still listed.
func (g *Cgroup) Procs() ([]int, error) {
	all, err := g.own()
	if err != nil {
		return nil, fmt.Errorf("list the processes of cgroup %s: %w", g.path, err)
	}
	for _, below := range g.children() {
		list, err := below.Procs()
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// own lists the processes of the group itself.
func (g *Cgroup) own() ([]int, error) {
	text, err := os.ReadFile(g.path + "/cgroup.procs")
	switch {
	case gone(err), errors.Is(err, syscall.EOPNOTSUPP): // of threads: their processes are listed further up
		return nil, nil
	case err != nil:
		return nil, cause(err)
	}
	var list []int
	for word := range strings.FieldsSeq(string(text)) {
		// 0 is a process that this PID namespace does not have.
		if pid, err := strconv.Atoi(word); err == nil && pid > 0 {
			list = append(list, pid)
		}
	}
	return list, nil
}

func (g *Cgroup) children() (all []*Cgroup) {
	entries, _ := os.ReadDir(g.path) // gone: no children
	for _, e := range entries {
		if e.IsDir() {
			all = append(all, OpenCgroup(filepath.Join(g.path, e.Name())))
		}
	}
	return all
}

// Remove removes the group with the empty ones below it. EBUSY means that a
// process lives in one of them: try again when Populated is false.
func (g *Cgroup) Remove() error {
	g.CloseFD()
	err := unix.Rmdir(g.path)
	if err == unix.EBUSY || err == unix.ENOTEMPTY {
		for _, below := range g.children() {
			if err := below.Remove(); err != nil {
				return err
			}
		}
		err = unix.Rmdir(g.path)
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("remove cgroup %s: %w", g.path, err)
	}
	return nil
}

// Limits are what a run may use at most; 0 = no limit.
type Limits struct {
	Pids      int   // processes and threads; a fork beyond it fails with EAGAIN
	Memory    int64 // bytes, page cache included; beyond it processes of the group are killed
	CPUWeight int   // 1..10000, 100 is everybody's
}

// Missed is a limit that does not hold, and why.
type Missed struct {
	Limit string // pids_max, memory_max or cpu_weight
	Err   error  // errors.ErrUnsupported: the group lacks the controller, see Cgroups.Enable
}

// Set sets limits and returns those that could not be set. It is for a group
// that has no processes yet.
func (g *Cgroup) Set(l Limits) (missed []Missed) {
	for _, x := range []struct {
		limit, file string
		n           int64
	}{{"pids_max", "pids.max", int64(l.Pids)}, {"memory_max", "memory.max", l.Memory}, {"cpu_weight", "cpu.weight", int64(l.CPUWeight)}} {
		if x.n == 0 {
			continue
		}
		err := write(g.path+"/"+x.file, strconv.FormatInt(x.n, 10))
		if err == unix.ENOENT {
			err = errors.ErrUnsupported
		}
		if err != nil {
			missed = append(missed, Missed{x.limit, fmt.Errorf("set %s of cgroup %s: %w", x.file, g.path, err)})
		}
	}
	return missed
}

func (g *Cgroup) write(file, text string) error {
	if err := write(g.path+"/"+file, text); err != nil && !gone(err) {
		return err
	}
	return nil
}

// gone says whether err means that there is no such group (any more).
func gone(err error) bool { return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENODEV) }
