package keeper

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestWhatCannotBeStarted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(r.dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		change     func(*Spec)
		kind, says string
	}{
		"missing":          {func(s *Spec) { s.Path = "/no/such" }, KindExec, "execute /no/such: no such file"},
		"not executable":   {func(s *Spec) { s.Path = write("plain", "x", 0o644) }, KindExec, "permission denied"},
		"not a program":    {func(s *Spec) { s.Path = write("noexec", "x", 0o755) }, KindExec, "no #! line"},
		"interpreter":      {func(s *Spec) { s.Path = write("script", "#!/no/php -q\n", 0o755) }, KindExec, `interpreter "/no/php"`},
		"a directory":      {func(s *Spec) { s.Path = "/tmp" }, KindExec, "permission denied"},
		"directory":        {func(s *Spec) { s.Dir = "/no/dir" }, KindExec, "change to directory /no/dir: no such file"},
		"directory a file": {func(s *Spec) { s.Dir = "/etc/passwd" }, KindExec, "change to directory /etc/passwd: not a directory"},
		"no path":          {func(s *Spec) { s.Path, s.Argv = "", nil }, KindExec, "no command"},
		"lock is a link": {func(s *Spec) {
			s.Lock = filepath.Join(r.dir, "link")
			os.Symlink("/etc/passwd", s.Lock)
		}, KindHost, "too many levels"},
		"pipe is a file": {func(s *Spec) { s.FIFO = write("pipe", "", 0o600) }, KindHost, "not a pipe"},
		"log target":     {func(s *Spec) { s.Log.To = "nowhere" }, KindHost, "nowhere"},
	} {
		slot := "bad/" + itoa(len(name))
		spec := r.spec(slot, "exit 0")
		c.change(&spec)
		l.ask(l.Start(StartRequest{Slot: slot, Run: 1, Spec: spec}))
		if f := get[StartFailed](l); f.Kind != c.kind || !strings.Contains(f.Err, c.says) || f.Run != 1 {
			t.Errorf("%s: %+v", name, f)
		}
		l.ask(l.Drop(DropRequest{Slot: slot}))
	}
	if slots := l.list(); len(slots) != 0 {
		t.Errorf("%+v", slots)
	}
}

// nobody is a user that every Debian has.
const nobody = 65534

func TestUserAndGroupsAreExact(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	for _, helper := range []bool{false, true} {
		for _, groups := range [][]uint32{nil, {7, 8}} {
			spec := r.spec(slot0, "echo as $(id -u) > /dev/stdout; exec sleep 1000")
			spec.Dir = "/" // the test's own is closed to others
			spec.Cred = &Cred{UID: nobody, GID: 12, Groups: groups}
			if helper {
				spec.Umask = new(uint32)
			}
			l.ask(l.Drop(DropRequest{Slot: slot0}))
			st := l.start(slot0, 1, spec)
			r.says(slot0, "as 65534")
			want := map[string]string{"Uid": "65534 65534 65534 65534", "Gid": "12 12 12 12", "Groups": "7 8"}
			if groups == nil {
				want["Groups"] = ""
			}
			for name, v := range want {
				if got := field(t, st.PID, name); got != v {
					t.Errorf("helper %v, groups %v: %s is %q, not %q", helper, groups, name, got, v)
				}
			}
			l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Now: true}))
			get[Exited](l)
			os.Remove(r.logPath(slot0))
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	umask, nofile, nice := uint32(0o27), uint64(123), 7
	spec := r.spec(slot0, "umask; ulimit -n; nice; pwd; echo $0 $1; exit 3")
	spec.Argv = append(spec.Argv, "zero", "one two")
	spec.Umask, spec.NoFile, spec.Nice, spec.Dir = &umask, &nofile, &nice, "/usr/bin"
	l.start(slot0, 1, spec)
	if e := get[Exited](l); e.Code != 3 || e.ExecError != "" {
		t.Errorf("%+v", e)
	}
	b, err := os.ReadFile(r.logPath(slot0))
	if want := "0027\n123\n7\n/usr/bin\nzero one two\n"; string(b) != want {
		t.Errorf("%q, not %q; %v", b, want, err)
	}
	for name, c := range map[string]struct {
		change func(*Spec)
		says   string
	}{
		"missing":   {func(s *Spec) { s.Path = "/no/such" }, "execute /no/such: no such file"},
		"directory": {func(s *Spec) { s.Dir = "/no/dir" }, "change to directory /no/dir: no such file"},
	} {
		s := spec
		c.change(&s)
		l.ask(l.Drop(DropRequest{Slot: slot0}))
		if err := l.Start(StartRequest{Slot: slot0, Run: 1, Spec: s}); err != nil {
			t.Fatal(err)
		}
		if says := whyNot(l); !strings.Contains(says, c.says) {
			t.Errorf("%s: %s", name, says)
		}
	}
}

// whyNot is what is told of a program that cannot be executed: when it is started, or
// where the exec helper is needed, when that has ended.
func whyNot(l *link) string {
	l.t.Helper()
	for {
		switch m := l.next().(type) {
		case StartFailed:
			return m.Err
		case Exited:
			return m.ExecError
		}
	}
}

// A set-user-ID program gives nobody anything any more.
func TestNoNewPrivileges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	for _, on := range []bool{false, true} {
		spec := r.spec(slot0, "echo here; exec sleep 1000")
		spec.Cred, spec.Dir, spec.NoNew = &Cred{UID: nobody, GID: nobody}, "/", on
		l.ask(l.Drop(DropRequest{Slot: slot0}))
		st := l.start(slot0, 1, spec)
		r.says(slot0, "here")
		want := map[bool]string{false: "0", true: "1"}[on]
		if got := field(t, st.PID, "NoNewPrivs"); got != want {
			t.Errorf("asked for %v, it is %s", on, got)
		}
		if got := field(t, os.Getpid(), "NoNewPrivs"); got != "0" {
			t.Errorf("the test itself has %s", got)
		}
		l.ask(l.Stop(StopRequest{Slot: slot0, Run: 1, Now: true}))
		get[Exited](l)
		os.Remove(r.logPath(slot0))
	}
	if got := field(t, r.cmd.Process.Pid, "NoNewPrivs"); got != "0" {
		t.Errorf("the keeper has %s", got)
	}
}

func TestWhatAConsumerInherits(t *testing.T) {
	t.Parallel()
	r := newRig(t, oomEnv+"=100")
	l, _ := r.connect()
	spec := r.spec(slot0, "read n < /proc/self/oom_score_adj; echo score $n; exec sleep 1000")
	st := l.start(slot0, 1, spec)
	r.says(slot0, "score 0\n")
	pid := itoa(st.PID)
	if got, _ := os.Readlink("/proc/" + pid + "/fd/0"); got != "/dev/null" {
		t.Errorf("stdin is %q", got)
	}
	for _, fd := range []string{"1", "2"} {
		if got, _ := os.Readlink("/proc/" + pid + "/fd/" + fd); got != spec.FIFO {
			t.Errorf("descriptor %s is %q", fd, got)
		}
	}
	var fds []os.DirEntry
	eventually(t, "it has opened and closed its libraries, and has four descriptors", func() bool {
		fds, _ = os.ReadDir("/proc/" + pid + "/fd")
		return field(t, st.PID, "Name") == "sleep" && len(fds) == 4
	})
	for _, fd := range fds {
		if n, _ := strconv.Atoi(fd.Name()); n > 2 {
			if got, _ := os.Readlink("/proc/" + pid + "/fd/" + fd.Name()); got != spec.Lock || n < 10 {
				t.Errorf("the lock is %q under %d", got, n)
			}
		}
	}
	if sid, pgid := getsid(st.PID), getpgid(st.PID); sid != st.PID || pgid != st.PID {
		t.Errorf("session %d, group %d of %d", sid, pgid, st.PID)
	}
	if got := field(t, st.PID, "SigBlk"); got != "0000000000000000" {
		t.Errorf("it blocks %s", got)
	}
	if got := ignored(t, st.PID); got != 0 {
		t.Errorf("it ignores %x", got)
	}
}

// ignored are the signals that a process ignores. 32 and 33 do not count: glibc's
// posix_spawn, which make uses, has all children ignore these two of its own.
func ignored(t *testing.T, pid int) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(field(t, pid, "SigIgn"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n &^ (3 << 31)
}

func getpgid(pid int) int {
	n, _ := syscall.Getpgid(pid)
	return n
}
