package runner

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/health"
	"qsuper/plan"
	"qsuper/slot"
)

// TestFileHolder: a lock is seen and not taken, whoever has it.
func TestFileHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if a := fileHolder(path); a != (health.Answer{State: health.Missing}) {
		t.Errorf("no such file: %+v", a)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if a := fileHolder(path); a.State != health.Missing {
		t.Errorf("nobody has it: %+v", a)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if a := fileHolder(path); a.State != health.OK || !strings.HasPrefix(a.Text, "pid ") {
		t.Errorf("this process has it: %+v", a)
	}
	list := []byte("1: -> FLOCK  ADVISORY  WRITE 7 08:01:42 0 EOF\n2: LEASE  ACTIVE    READ 8 08:01:42 0 EOF\n3: POSIX  ADVISORY  READ 9 08:01:42 0 EOF\n4: FLOCK  ADVISORY  WRITE 10 08:02:42 0 EOF\n")
	if pid, held := lockedBy(list, 0x801, 42); !held || pid != 9 {
		t.Error(pid, held)
	}
	if pid, held := lockedBy(list, 0x801, 4); held {
		t.Error(pid)
	}
}

// TestForeignLock: held or not known means wait; what its own process had is looked at
// anew before the next start, and no start happens unasked.
func TestForeignLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &pillState{value: "session 7"}
		c := conf("a", 2)
		c.ForeignLock = &config.ForeignLock{Connection: "db", Question: health.Question{Lock: "shop|{slot}"}}
		c.RestartOn = []config.Signal{}
		f := pilled(t, st, c)
		defer f.end()
		f.wantLive(0)
		s := f.snapshot("a")
		if d := s.Slots[1].Decision; d != (plan.Decision{Want: slot.Hold, Reason: slot.Reason{Code: slot.ForeignLock, Text: "lock shop|1 on db is held by session 7"}}) || !s.Summary.Healthy {
			t.Errorf("%+v", s)
		}
		if g := gateNamed(s.Gates, "foreign_lock"); g.State != plan.Closed || g.Evidence != "2 of 2 slots, such as slot 0: lock shop|0 on db is held by session 7" {
			t.Errorf("%+v", g)
		}
		st.set("", nil)
		time.Sleep(1100 * time.Millisecond)
		f.wantLive(2)
		before := f.k.pids()
		st.set("session 8", nil) // its own, perhaps
		time.Sleep(time.Minute)
		if n := f.renewed(before); n != 0 {
			t.Errorf("%d replaced", n)
		}
		f.k.set(func() { f.k.behave = func(string, uint64) (time.Duration, int) { return 10 * time.Second, 0 } })
		st.set("", nil)
		f.do("restart", "a")
		time.Sleep(time.Minute)
		if f.k.followed != 0 {
			t.Errorf("%d starts without a look", f.k.followed)
		}
		f.wantLive(2)
		_, starts := f.k.count()
		if starts < 10 {
			t.Errorf("%d starts", starts)
		}
		looks := st.looked()
		st.set("session 9", nil)
		time.Sleep(time.Minute)
		f.wantLive(0)
		if n := st.looked() - looks; n > 65 {
			t.Errorf("%d looks in a minute", n)
		}
		st.set("", os.ErrDeadlineExceeded)
		time.Sleep(5 * time.Second)
		f.wantLive(0)
		if s := f.snapshot("a"); s.Summary.Reason.Code != slot.ForeignUnsure || s.Summary.Healthy {
			t.Errorf("%+v", s.Summary)
		}
	})
}

// TestOneForeignLockForAll: it is not looked at while another slot runs, which may be
// who has it.
func TestOneForeignLockForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &pillState{}
		c := conf("a", 1)
		c.ForeignLock = &config.ForeignLock{Connection: "db", Question: health.Question{Lock: "shop"}}
		c.RestartOn = []config.Signal{}
		f := pilled(t, st, c)
		defer f.end()
		f.wantLive(1)
		st.set("session 7", nil)
		time.Sleep(5 * time.Second)
		more := *c
		more.Instances = config.Instances{Min: 3, Max: 3}
		f.use(st, &more)
		time.Sleep(5 * time.Second)
		f.wantLive(3)
		f.do("stop", "a")
		f.r.Do(t.Context(), Command{Verb: "start", Names: []string{"a"}})
		time.Sleep(5 * time.Second)
		f.wantLive(0)
	})
}
