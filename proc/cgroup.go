package proc

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Where cgroups are. The group that the keeper was started in, or that the
// service manager has delegated to it, is the top:
//
//	TOP/                    the keeper and its engine; no controllers are enabled for what is below
//	TOP/qsuper.keeper/      the keeper and its engine, where controllers are enabled
//	TOP/qsuper.HASH/        one for each state directory: two daemons may share a top
//	TOP/qsuper.HASH/run.X/  one for each run; what the consumer makes below it is its own affair
//
// A group that enables controllers for its children may have no processes of its
// own ("no internal processes", Documentation/admin-guide/cgroup-v2.rst). Groups
// that enable none may have both, so telling, freezing and killing needs no move
// and works in any group one may write to; only limits need qsuper.keeper.
const (
	keeperGroup  = "qsuper.keeper"
	controlGroup = ".control" // where systemd runs ExecStopPost= and the like of a service that has Delegate=
	daemonGroup  = "qsuper."
	runGroup     = "run." // keeps names apart from the kernel's own files, as no controller is called so
)

// Cgroups makes one cgroup (version 2) for each run. It is not safe for
// concurrent use.
type Cgroups struct {
	top  string // directory that is ours to use
	base string // parent of all groups of runs
	self string // directory of the group that this process is in
}

// NoCgroups says why processes cannot be kept in cgroups, and what would help.
type NoCgroups struct {
	Op   string // what was tried, with its object
	Err  error  // nil: Op says it all
	Hint string // what to do
}

func (e *NoCgroups) Error() string {
	text := e.Op
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Unwrap gives the system error.
func (e *NoCgroups) Unwrap() error { return e.Err }

// OpenCgroups finds the place for the runs of the daemon that has stateDir, and
// tries out that a process can be started in a group there and that a group can be
// killed. The error is a *NoCgroups for a person to read; processes are kept in
// their process groups then.
//
// Nothing is left behind by it but the daemon's group itself, see Close.
func OpenCgroups(stateDir string) (*Cgroups, error) {
	self, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	c := &Cgroups{top: self, self: self}
	switch filepath.Base(self) {
	case keeperGroup, controlGroup: // DelegateSubgroup=, or Enable in an earlier life; or a command of the service
		c.top = filepath.Dir(self)
	}
	sum := sha256.Sum256([]byte(filepath.Clean(stateDir)))
	c.base = filepath.Join(c.top, daemonGroup+hex.EncodeToString(sum[:6]))
	if err := c.try(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// ownCgroup is the directory of the caller's group.
func ownCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", &NoCgroups{Op: "look for cgroup version 2", Err: err}
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", &NoCgroups{Op: "look for the own cgroup", Err: err, Hint: "the kernel has no cgroups"}
	}
	return findCgroup(string(mounts), string(groups))
}

// findCgroup reads /proc/self/mountinfo and /proc/self/cgroup; see proc(5) and
// cgroups(7) for their fields.
func findCgroup(mounts, groups string) (string, error) {
	own, ok := "", false
	for line := range strings.Lines(groups) {
		if rest, is := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); is {
			own, ok = rest, true
		}
	}
	if !ok {
		return "", &NoCgroups{Op: "find the own cgroup: this machine has version 1 only", Hint: "boot with systemd.unified_cgroup_hierarchy=1"}
	}
	mounted := false
	for line := range strings.Lines(mounts) {
		mount, kind, _ := strings.Cut(line, " - ")
		f := strings.Fields(mount)
		if len(f) < 6 || !strings.HasPrefix(kind, "cgroup2 ") {
			continue
		}
		mounted = true
		root, at := unescapeMount(f[3]), unescapeMount(f[4])
		rel, err := filepath.Rel(root, own)
		if err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return filepath.Join(at, rel), nil
		}
	}
	if !mounted {
		return "", &NoCgroups{Op: "find cgroup version 2: it is not mounted", Hint: "mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with systemd.unified_cgroup_hierarchy=1"}
	}
	return "", &NoCgroups{Op: "find the own cgroup " + own + ": it is outside of what is mounted", Hint: "give the container a cgroup namespace of its own"}
}

// unescapeMount undoes the octal escapes of /proc/self/mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// try makes a group, starts a process in it and removes it again.
func (c *Cgroups) try() error {
	g, err := c.New("try." + strconv.Itoa(os.Getpid()))
	if err != nil {
		return &NoCgroups{Op: "make a cgroup below " + c.top, Err: cause(err), Hint: "run qsuper as a systemd service with Delegate=yes, or as root"}
	}
	defer g.Remove()
	defer g.CloseFD()
	if err := unix.Access(filepath.Join(g.path, "cgroup.kill"), unix.W_OK); err != nil {
		return &NoCgroups{Op: "kill by cgroup", Err: err, Hint: "Linux 5.14 or newer is needed"}
	}
	// There is no program below a device, so that the child ends before it has
	// become anything, and ENOTDIR says that it had been made.
	const nothing = "/dev/null/qsuper"
	_, err = syscall.ForkExec(nothing, []string{nothing}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: g.fd}})
	if err != syscall.ENOTDIR {
		return &NoCgroups{Op: "start a process in cgroup " + g.path, Err: err, Hint: "clone3 may be forbidden in this container"}
	}
	return nil
}

func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// Path is the directory of the group that has all runs.
func (c *Cgroups) Path() string { return c.base }

// New makes the group of one run. name may have any characters, and names the
// run for ever: a group of that name that still has processes is an error.
func (c *Cgroups) New(name string) (*Cgroup, error) {
	g := &Cgroup{path: filepath.Join(c.base, leafName(name)), fd: -1}
	err := os.Mkdir(g.path, 0o755)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err = os.Mkdir(c.base, 0o755); err == nil || errors.Is(err, fs.ErrExist) {
			err = os.Mkdir(g.path, 0o755)
		}
	case errors.Is(err, fs.ErrExist):
		// Left by an earlier daemon; what was set for it must not hold for this run.
		if err = g.Remove(); err == nil {
			err = os.Mkdir(g.path, 0o755)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make the cgroup of a run: %w", err)
	}
	if g.fd, err = unix.Open(g.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		_ = g.Remove() // an empty group harms nobody
		return nil, fmt.Errorf("open cgroup %s: %w", g.path, err)
	}
	return g, nil
}

// leafName makes a name safe: letters, digits and dashes stay, any other byte
// becomes _ and two hex digits, so that no two names become one. What would be
// too long for the kernel (255 bytes) ends in a checksum.
func leafName(name string) string {
	var b strings.Builder
	b.WriteString(runGroup)
	for i := range len(name) {
		c := name[i]
		if c == '-' || c == '.' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	s := b.String()
	if len(s) > 200 {
		sum := sha256.Sum256([]byte(name))
		s = s[:160] + "_" + hex.EncodeToString(sum[:16])
	}
	return s
}

// Find is the group that New would make for a name; it need not be there.
func (c *Cgroups) Find(name string) *Cgroup {
	return OpenCgroup(filepath.Join(c.base, leafName(name)))
}

// Left lists the groups of runs that are there, made by this daemon or by an
// earlier one with the same state directory.
func (c *Cgroups) Left() ([]*Cgroup, error) {
	entries, err := os.ReadDir(c.base)
	if err != nil {
		return nil, fmt.Errorf("list the cgroups of runs: %w", err)
	}
	var all []*Cgroup
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), runGroup) {
			all = append(all, &Cgroup{path: filepath.Join(c.base, e.Name()), fd: -1})
		}
	}
	return all, nil
}

// Close removes the daemon's group if no run is left in it.
func (c *Cgroups) Close() {
	_ = unix.Rmdir(c.base) // EBUSY is as it should be while something runs
}

// Tidy removes empty groups: those of this daemon's runs, and those of daemons which
// have shared the top and have touched theirs for no longer than this. One that is
// removed under a daemon that lives is made again by it.
func (c *Cgroups) Tidy(untouched time.Duration) {
	left, _ := c.Left()
	for _, g := range left {
		if lives, err := g.Populated(); err == nil && !lives {
			_ = g.Remove()
		}
	}
	entries, _ := os.ReadDir(c.top) // what cannot be read cannot be tidied
	for _, e := range entries {
		other := &Cgroups{top: c.top, base: filepath.Join(c.top, e.Name())}
		if !e.IsDir() || !strings.HasPrefix(e.Name(), daemonGroup) || e.Name() == keeperGroup || other.base == c.base {
			continue
		}
		info, err := e.Info()
		if lives, perr := OpenCgroup(other.base).Populated(); err != nil || perr != nil || lives || time.Since(info.ModTime()) < untouched {
			continue
		}
		left, _ := other.Left()
		for _, g := range left {
			_ = g.Remove()
		}
		other.Close()
	}
}

// Controllers are those that groups made from now on have: memory, pids, cpu.
func (c *Cgroups) Controllers() []string {
	text, err := os.ReadFile(filepath.Join(c.base, "cgroup.subtree_control"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// Enable makes controllers (memory, pids, cpu) available to groups made from now
// on. To that end it moves this process and its children from the top into a
// group beside the runs. The error is a *NoCgroups.
//
// Under a systemd service without DelegateSubgroup=qsuper.keeper (systemd 254 and
// later) it refuses: systemd starts the next keeper in the top itself, which
// the kernel refuses as long as a consumer lives on there and controllers are
// enabled. A keeper that cannot come back is worse than a limit that is missing.
func (c *Cgroups) Enable(controllers ...string) error {
	text, err := os.ReadFile(filepath.Join(c.top, "cgroup.controllers"))
	if err != nil {
		return &NoCgroups{Op: "read the controllers of cgroup " + c.top, Err: err}
	}
	for _, name := range controllers {
		if !slices.Contains(strings.Fields(string(text)), name) {
			return &NoCgroups{Op: "use the " + name + " controller: cgroup " + c.top + " does not have it", Hint: "let the service have Delegate=yes; with cgroup version 1 the controllers are elsewhere"}
		}
	}
	have := c.Controllers()
	if !slices.ContainsFunc(controllers, func(name string) bool { return !slices.Contains(have, name) }) {
		return nil
	}
	for round := 1; ; round++ {
		if err := c.vacate(); err != nil {
			return err
		}
		err := c.enable(controllers)
		// Somebody may just have been forked in the top.
		if !errors.Is(err, unix.EBUSY) || round == vacateRounds {
			return err
		}
	}
}

const vacateRounds = 5

func (c *Cgroups) enable(controllers []string) error {
	if err := os.Mkdir(c.base, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return &NoCgroups{Op: "make cgroup " + c.base, Err: cause(err)}
	}
	for _, dir := range []string{c.top, c.base} {
		for _, name := range controllers {
			if err := write(filepath.Join(dir, "cgroup.subtree_control"), "+"+name); err != nil {
				return &NoCgroups{Op: "enable the " + name + " controller below cgroup " + dir, Err: err}
			}
		}
	}
	return nil
}

// Available are the controllers that cgroup version 2 of this machine, or of this
// container, has: memory, pids, cpu. The error is a *NoCgroups.
func Available() ([]string, error) {
	dir, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	// The topmost group that can be seen has all there are.
	for {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "cgroup.controllers"))
		if err != nil {
			text, err = os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
			if err != nil {
				return nil, &NoCgroups{Op: "read the controllers of cgroup " + dir, Err: cause(err)}
			}
			return strings.Fields(string(text)), nil
		}
		dir = filepath.Dir(dir)
	}
}

// vacate leaves no process of ours in the top.
func (c *Cgroups) vacate() error {
	// Only the root of the whole hierarchy may have both, and has no such file.
	if _, err := os.Stat(filepath.Join(c.top, "cgroup.events")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if strings.HasSuffix(c.top, ".service") {
		return &NoCgroups{Op: "leave cgroup " + c.top, Hint: "let the service have DelegateSubgroup=" + keeperGroup + ", which systemd 254 or newer knows"}
	}
	list, err := (&Cgroup{path: c.top}).own()
	if err != nil {
		return &NoCgroups{Op: "list the processes of cgroup " + c.top, Err: err}
	}
	if len(list) == 0 {
		return nil
	}
	ours := descendants(list)
	for _, pid := range list {
		if !ours[pid] && syscall.Kill(pid, 0) != syscall.ESRCH {
			return &NoCgroups{Op: fmt.Sprintf("leave cgroup %s: process %d is there as well", c.top, pid), Hint: "give qsuper a cgroup of its own: systemd-run --scope -p Delegate=yes qsuper run"}
		}
	}
	to := filepath.Join(c.top, keeperGroup)
	if err := os.Mkdir(to, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return &NoCgroups{Op: "make cgroup " + to, Err: cause(err)}
	}
	for _, pid := range list {
		err := write(filepath.Join(to, "cgroup.procs"), strconv.Itoa(pid))
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			return &NoCgroups{Op: fmt.Sprintf("move process %d to cgroup %s", pid, to), Err: err}
		}
	}
	c.self = to
	return nil
}

// descendants are those in a list that are the caller, or descend from it by others
// in the list.
func descendants(list []int) map[int]bool {
	ours, buf := map[int]bool{os.Getpid(): true}, make([]byte, 1024)
	for more := true; more; {
		more = false
		for _, pid := range list {
			if s, ok := readStat(pid, buf); ok && !ours[pid] && ours[s.ppid] {
				ours[pid], more = true, true
			}
		}
	}
	return ours
}

// write writes to a file of the kernel, in one call and without creating it.
func write(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}
