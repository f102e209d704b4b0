package proc

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const testVariable = "QSUPER_KIN_TEST"

func numbers(t *testing.T, found []Member) (list []int) {
	for _, m := range found {
		list = append(list, m.PID)
		t.Cleanup(m.Close)
	}
	return list
}

func nobody(int) bool { return false }

// marked are those in a list that have a mark.
func marked(list []int, mark string) []int {
	return slices.DeleteFunc(slices.Clone(list), func(pid int) bool { return MarkOf(pid, testVariable) != mark })
}

// fled starts a run that has put a process into a session of its own, which has lost
// its parent and has a child of its own without any environment.
func fled(t *testing.T, mark string, end string) (p *Process, pids []int) {
	t.Helper()
	s := sh("(setsid sh -c 'env -i setsid sleep 1000 & exec sleep 1000' &) ; " + end)
	s.Env = append(s.Env, mark)
	p = start(t, s)
	eventually(t, "both are there", func() bool {
		pids = marked(Everybody(), mark)
		pids = slices.DeleteFunc(pids, func(pid int) bool { return pid == p.PID })
		if len(pids) != 1 {
			return false
		}
		below := children(pids[0], nil, make([]byte, 4096))
		pids = append(pids, below...)
		return len(below) == 1 && comm(below[0]) == "sleep" && comm(pids[0]) == "sleep"
	})
	t.Cleanup(func() {
		for _, pid := range pids {
			if fd, err := unix.PidfdOpen(pid, 0); err == nil { // children of the test, so their numbers are theirs
				unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0)
				unix.Close(fd)
			}
		}
		eventually(t, "all are gone", func() bool {
			ReapStrangers(nobody)
			return !slices.ContainsFunc(pids, func(pid int) bool { return syscall.Kill(pid, 0) == nil })
		})
	})
	return p, pids
}

func comm(pid int) string {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return strings.TrimSpace(string(b))
}

// What has left session, group and parent is found by its mark, and what that has
// started by descent; what carries another mark, or another's user, is not.
func TestKinFindsWhatFled(t *testing.T) {
	mark := Mark{Entry: testVariable + "=mine", UID: os.Getuid()}
	p, want := fled(t, mark.Entry, "exec sleep 1000")
	_, others := fled(t, testVariable+"=mine-not", "exec sleep 1000")
	slices.Sort(want)
	at := func(m Mark, marked []int) []int {
		found, _ := p.Kin(m, func() []int { return marked }, nobody)
		got := numbers(t, found)
		slices.Sort(got)
		return got
	}
	orphans := Orphans(func(pid int) bool { return pid == p.PID })
	for name, marked := range map[string][]int{"orphans": marked(orphans, mark.Entry), "host": marked(Everybody(), mark.Entry)} {
		if got := at(mark, marked); !slices.Equal(got, want) {
			t.Errorf("by %s: %v, not %v", name, got, want)
		}
	}
	// Whoever lists a process of somebody else is not believed.
	if got := at(mark, others); len(got) > 0 {
		t.Errorf("%v, of which %v are another's", got, others)
	}
	for uid, n := range map[int]int{0: 2, os.Getuid(): 2, 4321: 0} {
		if got := at(Mark{Entry: mark.Entry, UID: uid}, want); len(got) != n {
			t.Errorf("as user %d: %v", uid, got)
		}
	}
	if got := at(Mark{}, want); len(got) > 0 {
		t.Errorf("without a mark: %v", got)
	}
	// The same after the end of the main process.
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	reap(t, p)
	if got := at(mark, want); !slices.Equal(got, want) {
		t.Errorf("after the end: %v, not %v", got, want)
	}
}

// Descendants are found while their parents live, whatever they have done.
func TestKinByDescent(t *testing.T) {
	p := start(t, sh("env -i setsid sh -c 'setsid sleep 1000 & wait' & wait"))
	var got []Member
	eventually(t, "both are found", func() bool {
		for i := range got {
			got[i].Close()
		}
		got, _ = p.Kin(Mark{}, nil, nobody)
		return len(got) == 2 && comm(got[1].PID) == "sleep"
	})
	for _, m := range got {
		if s, ok := readStat(m.PID, make([]byte, 1024)); !ok || s.session != m.PID {
			t.Errorf("%+v", s)
		}
		if m.Stopped() {
			t.Error("said to stand still")
		}
		if err := m.Signal(syscall.SIGSTOP); err != nil {
			t.Error(err)
		}
		eventually(t, "it stands still", m.Stopped)
		if err := m.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		m.Close()
	}
}

func TestReadEnviron(t *testing.T) {
	s := spec("/bin/sleep", "1000")
	s.Env = append(s.Env, "LONG="+strings.Repeat("x", 100_000), testVariable+"=far", testVariable+"=farther")
	p := start(t, s)
	if got := entry(readEnviron(p.PID, nil), testVariable+"="); got != testVariable+"=far" {
		t.Errorf("%q", got)
	}
	if got := entry([]byte("NO"+testVariable+"=x\x00y"), testVariable+"="); got != "" {
		t.Errorf("%q", got)
	}
	if got := readEnviron(1<<22, nil); len(got) > 0 {
		t.Errorf("%q", got)
	}
}
