package proc

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"qsuper/internal/vfork"
)

// noVfork is set when the kernel or a container's filter refuses what package
// vfork needs: children go the way of package syscall then.
var noVfork atomic.Bool

// errNoVfork means that nothing has been tried.
var errNoVfork = errors.New("not possible by vfork")

// deed is what a step of a child is for.
type deed uint8

const (
	toBegin deed = iota
	toBeNice
	toLimitFiles
	toHaveGroups
	toHaveGroup
	toBecome
	toProve
	toGiveUpPrivileges
	toChangeDir
	toPassOn
	toExecute
)

// child is a process between its fork and its exec: the steps it takes, and the
// memory that they use.
type child struct {
	vfork.Program
	deeds []deed
	pidfd int32
	files unix.Rlimit
	text  []byte    // strings, each with its NUL
	words []uintptr // where they begin: argv and the environment, each with a nil at its end
	dir   *byte
	cred  *Cred

	steps [24]vfork.Step
	whys  [24]deed
}

func (c *child) add(why deed, s ...vfork.Step) {
	for range s {
		c.deeds = append(c.deeds, why)
	}
	c.Steps = append(c.Steps, s...)
}

// vfork starts the process by steps. errNoVfork means that it cannot be done so.
func (p *Process) vfork(s *Spec) error {
	if !vfork.Supported || noVfork.Load() {
		return errNoVfork
	}
	c, err := newChild(s)
	switch {
	case err == errNoVfork:
		return err
	case err != nil:
		return explainExec(s, err)
	}
	s.OOM.lift()
	p.Began = Boottime()
	pid, at, errno := c.Start()
	p.Started = Boottime()
	s.OOM.restore()
	runtime.KeepAlive(c)
	err = syscall.Errno(errno)
	switch {
	case pid == 0 && (err == syscall.ENOSYS || err == syscall.EPERM || err == syscall.EINVAL):
		noVfork.Store(true)
		return errNoVfork
	case pid == 0:
		return explain(s, err)
	}
	p.PID, p.pidfd = pid, int(c.pidfd)
	if at < 0 {
		return nil
	}
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return c.explain(s, at, syscall.Errno(errno)) // whoever reaps strangers may have been faster
		}
	}
}

// newChild says what a process is to do to become s.
func newChild(s *Spec) (*child, error) {
	c := &child{pidfd: -1, cred: s.Cred}
	c.Steps, c.deeds = c.steps[:0], c.whys[:0]
	c.Args = vfork.Args{Flags: unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_CLEAR_SIGHAND, ExitSignal: uint64(unix.SIGCHLD)}
	if !s.loose {
		c.Args.Flags |= unix.CLONE_PIDFD
		c.Args.PidFD = uint64(address(&c.pidfd))
	}
	if s.Cgroup > 0 {
		c.Args.Flags |= unix.CLONE_INTO_CGROUP
		c.Args.Cgroup = uint64(s.Cgroup)
	}
	c.add(toBegin, vfork.Any(unix.SYS_SETSID))
	if s.Nice != nil {
		c.add(toBeNice, vfork.Any(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uintptr(*s.Nice)))
	}
	if s.Umask != nil {
		c.add(toBegin, vfork.Any(unix.SYS_UMASK, uintptr(*s.Umask)))
	}
	c.become(s.Cred)
	if s.NoNewPrivs {
		c.add(toGiveUpPrivileges, vfork.Any(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	}
	if s.Dir != "" {
		dir, err := syscall.BytePtrFromString(s.Dir)
		if err != nil {
			return nil, err
		}
		c.dir = dir
		c.add(toChangeDir, vfork.Any(unix.SYS_CHDIR, address(dir)))
	}
	if err := c.passOn(s); err != nil {
		return nil, err
	}
	if err := c.limitFiles(s.NoFile); err != nil {
		return nil, err
	}
	c.add(toBegin, vfork.Any(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, address(&c.Mask), 0, unsafe.Sizeof(c.Mask)))
	return c, c.execute(s)
}

// become drops to the credentials for good and proves it.
func (c *child) become(cred *Cred) {
	if cred == nil {
		return
	}
	var list uintptr
	if len(cred.Groups) > 0 {
		list = address(&cred.Groups[0])
	}
	uid, gid := uintptr(cred.UID), uintptr(cred.GID)
	c.add(toHaveGroups, vfork.Any(unix.SYS_SETGROUPS, uintptr(len(cred.Groups)), list))
	c.add(toHaveGroup, vfork.Any(unix.SYS_SETRESGID, gid, gid, gid))
	c.add(toBecome, vfork.Any(unix.SYS_SETRESUID, uid, uid, uid))
	c.add(toProve, vfork.Exactly(uid, unix.SYS_GETUID), vfork.Exactly(uid, unix.SYS_GETEUID))
	if uid != 0 {
		c.add(toProve, vfork.Failure(unix.SYS_SETUID, 0))
	}
}

// passOn puts the descriptors where they belong, the lock first, as its place may
// be where another is to go.
func (c *child) passOn(s *Spec) error {
	switch {
	case s.Lock >= lowestLock:
		c.add(toPassOn, vfork.Any(unix.SYS_FCNTL, uintptr(s.Lock), unix.F_SETFD, 0))
	case s.Lock > 0:
		c.add(toPassOn, vfork.Any(unix.SYS_FCNTL, uintptr(s.Lock), unix.F_DUPFD, lowestLock))
	}
	fds := [...]int{s.Stdin, s.Stdout, s.Stderr, s.Extra}
	if s.Output > 0 {
		fds[1], fds[2] = s.Output, s.Output
	}
	for to, from := range fds {
		switch {
		case to == extraFD && from == 0: // there is none
		case from < to: // it has been overwritten by then
			return errNoVfork
		case from == to:
			c.add(toPassOn, vfork.Any(unix.SYS_FCNTL, uintptr(from), unix.F_SETFD, 0))
		default:
			c.add(toPassOn, vfork.Any(unix.SYS_DUP3, uintptr(from), uintptr(to), 0))
		}
	}
	return nil
}

// limitFiles sets the limit of open files that is asked for. Otherwise the child is
// given the one that this program was started with, unless somebody has changed it
// after package syscall did.
func (c *child) limitFiles(ask *uint64) error {
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &c.files); err != nil {
		return err
	}
	soft, hard := vfork.NoFile[0], vfork.NoFile[1]
	switch {
	case ask != nil:
		c.files.Cur = min(*ask, c.files.Max)
	case soft < hard && c.files.Cur == hard-1 && c.files.Max == hard:
		c.files.Cur = soft
	default:
		return nil
	}
	c.add(toLimitFiles, vfork.Any(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, address(&c.files), 0))
	return nil
}

// execute has the child become the program.
func (c *child) execute(s *Spec) error {
	length := len(s.Path) + 1
	for _, list := range [...][]string{s.Argv, s.Env} {
		for _, word := range list {
			length += len(word) + 1
		}
	}
	c.text = make([]byte, 0, length) // it never moves
	c.words = make([]uintptr, 0, len(s.Argv)+len(s.Env)+2)
	path, err := c.word(s.Path)
	if err != nil {
		return err
	}
	for _, list := range [...][]string{s.Argv, s.Env} {
		for _, word := range list {
			at, err := c.word(word)
			if err != nil {
				return err
			}
			c.words = append(c.words, at)
		}
		c.words = append(c.words, 0)
	}
	c.add(toExecute, vfork.Any(unix.SYS_EXECVE, path, address(&c.words[0]), address(&c.words[len(s.Argv)+1])))
	return nil
}

func (c *child) word(s string) (uintptr, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return 0, syscall.EINVAL
	}
	at := len(c.text)
	c.text = append(append(c.text, s...), 0)
	return address(&c.text[at]), nil
}

// address is for what lies on the heap, where nothing moves, and is kept alive by
// a child.
func address[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

// explain tells which step has failed.
func (c *child) explain(s *Spec, at int, err error) *StartError {
	kind := Exec
	if hostErrors[err] {
		kind = Host
	}
	op := "prepare the process"
	switch c.deeds[at] {
	case toBeNice:
		op = fmt.Sprintf("set nice to %d", *s.Nice)
	case toLimitFiles:
		op = fmt.Sprintf("set the limit of open files to %d", c.files.Cur)
	case toHaveGroups:
		op = fmt.Sprintf("set the groups of user %d", s.Cred.UID)
	case toHaveGroup:
		op = fmt.Sprintf("set group %d", s.Cred.GID)
	case toBecome:
		op = fmt.Sprintf("become user %d", s.Cred.UID)
	case toProve:
		op, err = fmt.Sprintf("become user %d", s.Cred.UID), errBack
	case toGiveUpPrivileges:
		op = "set no_new_privs"
	case toChangeDir:
		op = "change to directory " + s.Dir
	case toPassOn:
		op, kind = "pass on descriptors", Host
	case toExecute:
		if kind == Exec {
			return explainExec(s, err)
		}
		op = "start " + s.Path
	}
	return &StartError{kind, op, err}
}

var errBack = errors.New("the way back to who starts it is open")
