package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Kind sorts start errors by who has to act.
type Kind string

// The kinds of StartError.
const (
	Exec Kind = "exec" // the program, its directory or its user is wrong: trying again will not help
	Host Kind = "host" // no memory, descriptors or processes just now
)

// StartError says why nothing runs.
type StartError struct {
	Kind Kind
	Op   string // what was tried, with its object
	Err  error
}

var errNoCommand = errors.New("no command is given")

func (e *StartError) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap gives the system error.
func (e *StartError) Unwrap() error { return e.Err }

// explain finds out which step of the child failed: fork and exec report one
// number for all of them. It looks only after the failure, so starting pays
// nothing for it.
func explain(s *Spec, err error) *StartError {
	switch {
	case hostErrors[err]:
		return &StartError{Host, "start " + s.Path, err}
	case s.Cgroup > 0 && refusedByCgroup(s.Cgroup, err):
		return &StartError{Host, "start " + s.Path + " in the cgroup of its run", err}
	case s.needsHelper():
		return &StartError{Host, "start the exec helper", err}
	case s.Cred != nil && err == syscall.EPERM && os.Geteuid() != 0:
		return &StartError{Exec, fmt.Sprintf("become user %d", s.Cred.UID), err}
	}
	if s.Dir != "" {
		if st, serr := os.Stat(s.Dir); serr != nil {
			return &StartError{Exec, "change to directory " + s.Dir, errors.Unwrap(serr)}
		} else if !st.IsDir() {
			return &StartError{Exec, "change to directory " + s.Dir, syscall.ENOTDIR}
		}
	}
	return explainExec(s, err)
}

// explainExec tells why a program cannot be executed.
func explainExec(s *Spec, err error) *StartError {
	if err == syscall.ENOENT {
		if in := interpreter(s); in != "" {
			return &StartError{Exec, fmt.Sprintf("execute %s: interpreter %q", s.Path, in), err}
		}
	}
	if err == syscall.ENOEXEC {
		return &StartError{Exec, "execute " + s.Path + " (no #! line, or built for another machine)", err}
	}
	if err == syscall.EACCES && s.Cred != nil {
		return &StartError{Exec, fmt.Sprintf("execute %s in %s as user %d", s.Path, s.Dir, s.Cred.UID), err}
	}
	return &StartError{Exec, "execute " + s.Path, err}
}

var hostErrors = map[error]bool{
	syscall.EAGAIN: true, syscall.ENOMEM: true, syscall.EMFILE: true, syscall.ENFILE: true, syscall.ENOSPC: true,
}

// interpreter returns what the first line of a script asks for if the script
// itself exists: the kernel says "no such file" for either.
func interpreter(s *Spec) string {
	path := s.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.Dir, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	line := make([]byte, 256) // BINPRM_BUF_SIZE
	n, _ := f.Read(line)
	line, _, _ = bytes.Cut(line[:n], []byte("\n"))
	rest, ok := bytes.CutPrefix(line, []byte("#!"))
	if !ok {
		return ""
	}
	if w := strings.Fields(string(rest)); len(w) > 0 {
		return w[0]
	}
	return ""
}

// refusedByCgroup says whether a start failed because of the group it was to be
// in: the errors that clone3(2) has for it and execve(2) has not, or any other
// when the group has been removed.
func refusedByCgroup(fd int, err error) bool {
	switch err {
	case syscall.EBUSY, syscall.EOPNOTSUPP, syscall.ENODEV, syscall.ENOSYS, syscall.EBADF:
		return true
	}
	return unix.Faccessat(fd, "cgroup.procs", unix.F_OK, 0) != nil
}
