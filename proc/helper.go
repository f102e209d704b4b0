package proc

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"qsuper/internal/vfork"
)

// helperWord is the first argument by which the binary knows that it is to be
// the exec helper.
const helperWord = "exec-helper"

// settings is what the helper does before it becomes the program.
type settings struct {
	Dir    string  `json:"dir,omitempty"`
	Cred   *Cred   `json:"cred,omitempty"`
	Umask  *uint32 `json:"umask,omitempty"`
	NoFile *uint64 `json:"nofile,omitempty"`
	Nice   *int    `json:"nice,omitempty"`

	NoNewPrivs bool `json:"no_new_privs,omitempty"`
}

// NeedsHelper says whether the process is started through the exec helper.
func (s *Spec) NeedsHelper() bool {
	return (!vfork.Supported || noVfork.Load()) && s.needsHelper()
}

func (s *Spec) needsHelper() bool {
	return s.Umask != nil || s.NoFile != nil || s.Nice != nil || s.NoNewPrivs
}

// helperArgv is exec-helper SETTINGS PATH ARGV…; the environment is already the
// program's own.
func (s *Spec) helperArgv() []string {
	set, _ := json.Marshal(settings{s.Dir, s.Cred, s.Umask, s.NoFile, s.Nice, s.NoNewPrivs}) // plain values: cannot fail
	return append([]string{filepath.Base(os.Args[0]), helperWord, string(set), s.Path}, s.Argv...)
}

// statusPipe is written by the helper and read once it has exited. Its write
// end closes with the exec that succeeds.
func statusPipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return 0, 0, err
	}
	return p[0], p[1], nil
}

func helperError(fd int) string {
	buf := make([]byte, 1024)
	n, err := unix.Read(fd, buf)
	if err != nil || n <= 0 {
		return ""
	}
	return string(buf[:n])
}

// HelperMain must be the first thing main does. In a process that was started
// as the exec helper it sets what was asked for and becomes the program, and
// does not return; in any other it returns at once.
func HelperMain() {
	if len(os.Args) < 5 || os.Args[1] != helperWord {
		return
	}
	unix.CloseOnExec(extraFD)
	err := become(os.Args[2], os.Args[3], os.Args[4:])
	_, _ = unix.Write(extraFD, []byte(err.Error()))
	os.Exit(127)
}

// become changes only the calling thread where the kernel keeps a setting per
// thread (nice, credentials, no_new_privs), and it is that thread which executes.
func become(set, path string, argv []string) error {
	runtime.LockOSThread()
	var s settings
	if err := json.Unmarshal([]byte(set), &s); err != nil {
		return fmt.Errorf("read the settings of the exec helper: %w", err)
	}
	if s.Nice != nil {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, *s.Nice); err != nil {
			return fmt.Errorf("set nice to %d: %w", *s.Nice, err)
		}
	}
	if s.NoFile != nil {
		if err := setNoFile(*s.NoFile); err != nil {
			return err
		}
	}
	if s.Umask != nil {
		unix.Umask(int(*s.Umask))
	}
	if s.Cred != nil {
		if err := s.Cred.take(); err != nil {
			return err
		}
	}
	if s.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
	}
	if s.Dir != "" {
		if err := unix.Chdir(s.Dir); err != nil {
			return fmt.Errorf("change to directory %s: %w", s.Dir, err)
		}
	}
	err := syscall.Exec(path, argv, os.Environ())
	return explain(&Spec{Path: path, Dir: s.Dir}, err)
}

// setNoFile goes through package syscall, which otherwise restores at exec the
// limit that the process was started with.
func setNoFile(n uint64) error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	lim.Cur = min(n, lim.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("set the limit of open files to %d: %w", lim.Cur, err)
	}
	return nil
}

// take drops to the credentials for good and proves it.
func (c *Cred) take() error {
	groups := make([]int, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = int(g)
	}
	uid, gid := int(c.UID), int(c.GID)
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("set the groups of user %d: %w", uid, err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("set group %d: %w", gid, err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("become user %d: %w", uid, err)
	}
	if r, e, s := unix.Getresuid(); r != uid || e != uid || s != uid {
		return fmt.Errorf("become user %d: still %d, %d, %d", uid, r, e, s)
	}
	if uid != 0 && syscall.Setuid(0) == nil {
		return fmt.Errorf("become user %d: the way back to root is open", uid)
	}
	return nil
}
