package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"qsuper/internal/vfork"
)

// portable has processes started by package syscall for the rest of a test.
func portable(t *testing.T) {
	t.Helper()
	was := noVfork.Swap(true)
	t.Cleanup(func() { noVfork.Store(was) })
}

// self is what a process can say of itself, without what differs from one to the next.
const self = `pwd
grep -E '^(Uid|Gid|Groups|SigPnd|SigBlk|SigIgn|CapPrm|CapEff|CapAmb|NoNewPrivs|Umask)' /proc/self/status
cat /proc/self/limits /proc/self/oom_score_adj
echo "nice $(nice), arguments $0 $*"
env | sort
set -- $(cat /proc/$$/stat)
[ $5 = $$ ] && [ $6 = $$ ] && echo leads
kill -STOP $$`

// account is what a process says of itself, and its descriptors.
func account(t *testing.T, s *Spec) string {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	s.Output = ends[1]
	p := start(t, s)
	unix.Close(ends[1])
	var said strings.Builder
	for buf := make([]byte, 4096); !strings.HasSuffix(said.String(), "leads\n"); {
		n, err := unix.Read(ends[0], buf)
		if n <= 0 {
			t.Fatalf("it ended: %v\n%s", err, said.String())
		}
		said.Write(buf[:n])
	}
	dir := fmt.Sprintf("/proc/%d/fd", p.PID)
	eventually(t, "it stands still", func() bool {
		st, ok := readStat(p.PID, make([]byte, 1024))
		return ok && st.state == 'T'
	})
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		link, _ := os.Readlink(filepath.Join(dir, fd.Name()))
		link, _, _ = strings.Cut(link, ":")
		name := fd.Name()
		if len(name) > 1 {
			name = "10 or more" // the first that is free: which, depends on what else is open
		}
		fmt.Fprintln(&said, name, link)
	}
	return said.String()
}

// A process is the same whichever way it is started.
func TestBothWays(t *testing.T) {
	signal.Ignore(syscall.SIGUSR2)
	defer signal.Reset(syscall.SIGUSR2)
	ignored := regexp.MustCompile("SigIgn:.*\n")
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGUSR1)
	defer signal.Stop(caught)
	dir := t.TempDir()
	low, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(low)
	high, err := unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, 50)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)
	umask, files, nice := uint32(0o27), uint64(99), 3
	for name, change := range map[string]func(*Spec){
		"plain": func(*Spec) {},
		"words": func(s *Spec) {
			s.Argv = append(s.Argv, "", "one two", "ünï")
			s.Env = append(s.Env, "EMPTY=", "A=b=c")
		},
		"user":     func(s *Spec) { s.Cred, s.Dir = &Cred{UID: 65534, GID: 12, Groups: []uint32{7, 8}}, "/" },
		"no group": func(s *Spec) { s.Cred, s.Dir = &Cred{UID: 65534, GID: 12}, "/" },
		"root":     func(s *Spec) { s.Cred = &Cred{Groups: []uint32{7}} },
		"low":      func(s *Spec) { s.Lock = low },
		"high":     func(s *Spec) { s.Lock = high },
		"extra":    func(s *Spec) { s.Extra = high },
		"settings": func(s *Spec) { s.Umask, s.NoFile, s.Nice, s.NoNewPrivs = &umask, &files, &nice, true },
		"all": func(s *Spec) {
			s.Umask, s.NoFile, s.Nice, s.Lock, s.Dir = &umask, &files, &nice, high, "/usr"
			s.Cred = &Cred{UID: 65534, GID: 65534}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := sh(self)
			change(s)
			fast := account(t, s)
			portable(t)
			slow := account(t, s)
			if s.NeedsHelper() { // it is in Go, and does not leave signals ignored
				fast, slow = ignored.ReplaceAllString(fast, ""), ignored.ReplaceAllString(slow, "")
			}
			if fast != slow || !strings.Contains(fast, "SigBlk:\t0000000000000000\n") {
				t.Errorf("by steps:\n%s\nby package syscall:\n%s", fast, slow)
			}
		})
	}
}

// A program of Go raises its limit of open files at once, and its children have the
// one that it was started with.
func TestOriginalLimitOfFiles(t *testing.T) {
	if os.Getenv("SHOW_LIMIT") != "" {
		for range 2 {
			s := sh("ulimit -Sn; ulimit -Hn")
			s.Stdout = 1
			reap(t, start(t, s))
			portable(t)
		}
		return
	}
	cmd := exec.Command("/bin/sh", "-c", `ulimit -Sn 1234; ulimit -Hn 4000; exec "$0" -test.run=TestOriginalLimitOfFiles`, os.Args[0])
	cmd.Env = append(os.Environ(), "SHOW_LIMIT=1")
	out, err := cmd.CombinedOutput()
	if want := "1234\n4000\n1234\n4000\n"; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("%s, not %s; %v", out, want, err)
	}
}

// The error names the step that failed, and nothing is left of the process.
func TestFailedSteps(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"text": "hello", "script": "#!/no/such/interpreter\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	nobody := &Cred{UID: 65534, GID: 65534}
	for _, c := range []struct {
		change func(*Spec)
		kind   Kind
		says   string
		err    error
	}{
		{func(s *Spec) { s.Dir = "/no/dir" }, Exec, "change to directory /no/dir: no such file", syscall.ENOENT},
		{func(s *Spec) { s.Dir = "/etc/hostname" }, Exec, "change to directory /etc/hostname: not a directory", syscall.ENOTDIR},
		{func(s *Spec) { s.Dir, s.Cred = closed, nobody }, Exec, closed, syscall.EACCES},
		{func(s *Spec) { s.Path = "/no/such" }, Exec, "execute /no/such: no such file", syscall.ENOENT},
		{func(s *Spec) { s.Path = filepath.Join(dir, "text") }, Exec, "no #! line", syscall.ENOEXEC},
		{func(s *Spec) { s.Path = filepath.Join(dir, "script") }, Exec, `interpreter "/no/such/interpreter"`, syscall.ENOENT},
		{func(s *Spec) { s.Dir = "a\x00b" }, Exec, "", syscall.EINVAL},
		{func(s *Spec) { s.Env = []string{"a\x00b"} }, Exec, "", syscall.EINVAL},
	} {
		for _, way := range []string{"by steps", "by package syscall"} {
			s := spec("/bin/true")
			c.change(s)
			t.Run(way, func(t *testing.T) {
				if way != "by steps" {
					portable(t)
				}
				_, err := Start(s)
				var failed *StartError
				if !errors.As(err, &failed) || failed.Kind != c.kind || !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, not %q", err, c.says)
				}
			})
		}
	}
	if vfork.Supported && !noVfork.Load() {
		s := spec("/bin/true")
		s.Cred = &Cred{UID: 1, GID: 1, Groups: make([]uint32, 70000)} // NGROUPS_MAX is 65536
		if _, err := Start(s); err == nil || !strings.Contains(err.Error(), "set the groups of user 1: invalid argument") {
			t.Error(err)
		}
	}
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != unix.ECHILD {
		t.Errorf("a process is left: %v", err)
	}
}

// A kernel that refuses is asked once.
func TestNoVfork(t *testing.T) {
	portable(t)
	s := sh("exit 3")
	s.Umask = new(uint32)
	if !s.NeedsHelper() {
		t.Error("it can be done without the helper")
	}
	if e := reap(t, start(t, s)); e.Code != 3 || e.ExecError != "" {
		t.Errorf("%+v", e)
	}
}
