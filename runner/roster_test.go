package runner

import (
	"path/filepath"
	"testing"
	"time"
)

// Who stops, who falls silent, who is back and who was there before this daemon is
// told apart, and the next engine knows it too.
func TestRosterKnowsWhoIsMissed(t *testing.T) {
	const me, ttl = "web1/b/x", 30 * time.Second
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	at := func(boot time.Duration, hosts ...string) *census {
		c := &census{hosts: map[string]member{me: {expires: boot + ttl}}}
		for _, h := range hosts {
			c.hosts[h] = member{host: host{Release: h}, expires: boot + ttl - 5*time.Second}
		}
		return c
	}
	r := roster{}
	step := func(before, after *census, boot time.Duration) bool {
		next := r.notice(before, after, me, ttl, now.Add(boot), boot)
		if next != nil {
			r = *next
		}
		return next != nil
	}
	first := at(0, "web2/b/x", "web3/b/x", "web4/b/x")
	if !step(nil, first, 0) || len(r.Present) != 3 || len(r.Absent) != 0 {
		t.Fatalf("%+v", r)
	}
	if step(first, first, time.Second) {
		t.Error("nothing has changed, and it says so")
	}
	// web2 says that it leaves; web3's record runs out, or vanishes with its connection.
	second := at(10*time.Second, "web3/b/x", "web4/b/x")
	second.left = map[string]time.Time{"web2/b/x": now}
	step(first, second, 10*time.Second)
	third := at(40*time.Second, "web4/b/x")
	step(second, third, 40*time.Second)
	if a := r.Absent["web2/b/x"]; !a.Stopped || a.Said.Release != "web2/b/x" {
		t.Errorf("web2: %+v", a)
	}
	if a := r.Absent["web3/b/x"]; a.Stopped || !a.Heard.Equal(now.Add(5*time.Second)) {
		t.Errorf("web3: %+v", a)
	}
	// One that has left, was back, and vanishes within the time that is remembered.
	fourth := at(40*time.Second, "web4/b/x", "web5/b/x")
	m := fourth.hosts["web5/b/x"]
	m.since = now.Add(30 * time.Second)
	fourth.hosts["web5/b/x"] = m
	step(third, fourth, 40*time.Second)
	gone := at(41*time.Second, "web4/b/x")
	gone.left = map[string]time.Time{"web5/b/x": now.Add(20 * time.Second)}
	step(fourth, gone, 41*time.Second)
	if a, missed := r.Absent["web5/b/x"]; !missed || a.Stopped {
		t.Errorf("web5: %v %+v", missed, a)
	}
	// A store that has forgotten everybody has not been left by them.
	lost := &census{hosts: map[string]member{}}
	step(third, lost, 41*time.Second)
	if a := r.Absent["web4/b/x"]; a.Stopped {
		t.Errorf("web4: %+v", a)
	}
	step(lost, third, 42*time.Second)
	if _, missed := r.Absent["web4/b/x"]; missed {
		t.Error("web4 is back")
	}
	// The next engine finds web4 gone, and web2 there under another id.
	path := filepath.Join(t.TempDir(), "fleet.json")
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	r = loadRoster(path)
	step(nil, at(0, "web2/c/y"), 0)
	if a, missed := r.Absent["web4/b/x"]; !missed || a.Stopped || !a.Heard.IsZero() {
		t.Errorf("web4: %v %+v", missed, a)
	}
	if _, missed := r.Absent["web2/b/x"]; missed {
		t.Error("web2 has booted, and is missed")
	}
	if len(loadRoster(filepath.Join(t.TempDir(), "none")).Absent) != 0 {
		t.Error("somebody is missed by a daemon that knows nobody")
	}
}
