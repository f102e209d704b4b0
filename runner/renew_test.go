package runner

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/health"
	"qsuper/plan"
	"qsuper/slot"
)

// pill is a connection that tells one value.
type pill struct{ of *pillState }

type pillState struct {
	mu    sync.Mutex
	value string // "" = no row
	err   error
	looks int
}

func (p *pillState) set(value string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.value, p.err = value, err
}

func (p *pillState) looked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.looks
}

func (p pill) Open() (health.Conn, error) { return p, nil }
func (p pill) Close() error               { return nil }
func (p pill) Ping(context.Context) error {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	return p.of.err
}

func (p pill) Tell(_ context.Context, q []health.Question) ([]health.Answer, error) {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	p.of.looks++
	if p.of.err != nil {
		return nil, p.of.err
	}
	answers := make([]health.Answer, len(q))
	for i := range answers {
		if answers[i].State = health.Missing; p.of.value != "" {
			answers[i] = health.Answer{State: health.OK, Text: p.of.value}
		}
	}
	return answers, nil
}

var poison = config.Signal{Connection: "db", Question: health.Question{SQL: "SELECT version FROM queue_poison_pill"}}

// pilled is a fleet with consumers that heed a poison pill.
func pilled(t *testing.T, st *pillState, consumers ...*config.Consumer) *fleet {
	f := newFleet(t)
	f.use(st, consumers...)
	time.Sleep(5 * time.Second)
	return f
}

func (f *fleet) use(st *pillState, consumers ...*config.Consumer) {
	for _, c := range consumers {
		if c.RestartOn == nil {
			c.RestartOn = []config.Signal{poison}
		}
	}
	f.cfg = f.config(consumers...)
	f.cfg.Connections = []*config.Connection{{Name: "db", Type: "z", Timeout: time.Second, Spec: pill{st}}}
	f.r.Apply(f.cfg)
}

// renewed says which slots have another process than before, and fails the test when
// one ended in another way than it should.
func (f *fleet) renewed(before map[string]int) (n int) {
	f.t.Helper()
	synctest.Wait()
	for slot, pid := range f.k.pids() {
		if before[slot] != pid {
			n++
		}
	}
	return n
}

// TestPoisonPill: a change recycles within an interval, once, whoever is idle; what has
// started since is left alone, and so is everybody else.
func TestPoisonPill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &pillState{value: "one"}
		other := conf("other", 1)
		other.RestartOn = []config.Signal{{File: filepath.Join(t.TempDir(), "none")}}
		f := pilled(t, st, conf("a", 1), other)
		defer f.end()
		before := f.k.pids()
		time.Sleep(time.Minute)
		if n := f.renewed(before); n != 0 {
			t.Fatalf("%d renewed without a change", n)
		}
		looks := st.looked()
		time.Sleep(10 * time.Second)
		if n := st.looked() - looks; n < 9 || n > 11 {
			t.Errorf("%d looks in 10 s", n)
		}
		f.k.set(func() { f.k.stopsIn = 5 * time.Second })
		st.set("two", nil)
		time.Sleep(1100 * time.Millisecond)
		if s := f.snapshot("a").Slots[0].State; s.Phase != slot.Draining || s.Reason != (slot.Reason{Code: slot.RestartOn, Text: "query on db changed"}) {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute)
		s := f.snapshot("a")
		if e := s.Slots[0].Exits; len(e) != 1 || e[0].Class != slot.ClassRecycled || e[0].Cause != slot.RestartOn {
			t.Errorf("exits: %+v", e)
		}
		if n := f.renewed(before); n != 1 || f.k.pids()["other/0"] != before["other/0"] {
			t.Errorf("%d renewed", n)
		}
		if g := gateNamed(s.Gates, "restart_on"); g.State != plan.Open || !strings.Contains(g.Evidence, "query on db changed 61 s ago") {
			t.Errorf("%+v", g)
		}
	})
}

func gateNamed(gates []plan.Gate, name string) plan.Gate {
	for _, g := range gates {
		if g.Name == name {
			return g
		}
	}
	return plan.Gate{}
}

// TestUnknownIsNoChange: an outage, an empty table and what is not there tell nothing;
// a change meanwhile counts when it is over.
func TestUnknownIsNoChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &pillState{value: "one"}
		f := pilled(t, st, conf("a", 2))
		defer f.end()
		before := f.k.pids()
		for _, step := range []struct {
			value string
			err   error
		}{{"one", errors.New("connection refused")}, {"", nil}, {"one", nil}, {"two", errors.New("connection refused")}} {
			st.set(step.value, step.err)
			time.Sleep(time.Minute)
			if n := f.renewed(before); n != 0 {
				t.Fatalf("%d renewed by %+v", n, step)
			}
			if g := gateNamed(f.snapshot("a").Gates, "restart_on"); (g.State == plan.Unknown) != (step.err != nil || step.value == "") {
				t.Errorf("%+v: %+v", step, g)
			}
		}
		st.set("two", nil)
		time.Sleep(10 * time.Second)
		if n := f.renewed(before); n != 2 {
			t.Errorf("%d renewed after the outage", n)
		}
	})
}

// TestFirstPill: where there has been nothing, the first value is a change.
func TestFirstPill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &pillState{}
		f := pilled(t, st, conf("a", 1))
		defer f.end()
		before := f.k.pids()
		st.set("one", nil)
		time.Sleep(5 * time.Second)
		if n := f.renewed(before); n != 1 {
			t.Errorf("%d renewed", n)
		}
	})
}

// TestChangeWithoutEngine: what changes while no engine is there, or no keeper, is
// noticed by the next one, and only by processes that are older.
func TestChangeWithoutEngine(t *testing.T) {
	for _, keeper := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			st := &pillState{value: "one"}
			f := pilled(t, st, conf("a", 3))
			defer f.end()
			before := f.k.pids()
			f.crash()
			if keeper {
				f.k.perish()
			}
			time.Sleep(time.Minute)
			f.boot()
			time.Sleep(time.Minute)
			if n := f.renewed(before); n != 0 {
				t.Errorf("keeper %v: %d renewed without a change", keeper, n)
			}
			f.crash()
			if keeper {
				f.k.perish()
			}
			st.set("two", nil)
			time.Sleep(time.Minute)
			f.k.set(func() { f.k.live["a/1"].end.Stop(); delete(f.k.live, "a/1") }) // this one is to start after the change
			f.boot()
			time.Sleep(300 * time.Millisecond)
			young := f.k.pids()["a/1"]
			time.Sleep(time.Minute)
			if n := f.renewed(before); n != 3 {
				t.Errorf("keeper %v: %d renewed", keeper, n)
			}
			if pid := f.k.pids()["a/1"]; pid != young {
				t.Errorf("keeper %v: what started after the change is recycled again: pid %d, now %d", keeper, young, pid)
			}
			f.crash()
			now := f.k.pids()
			f.boot()
			time.Sleep(time.Minute)
			if n := f.renewed(now); n != 0 {
				t.Errorf("keeper %v: %d renewed a second time", keeper, n)
			}
		})
	}
}

// TestIdleOnesFirst: a quarter at a time, those at work last; who does not come back
// stops the wave.
func TestIdleOnesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &pillState{value: "one"}
		f := &fleet{t: t, k: newFakeKeeper(t), dir: t.TempDir()}
		began := time.Now()
		f.usage = func(pids []int) map[int]procUsage {
			m := map[int]procUsage{}
			for _, pid := range pids {
				m[pid] = procUsage{CPU: time.Second}
				if pid < 1005 { // the first four are at work
					m[pid] = procUsage{CPU: time.Since(began)}
				}
			}
			return m
		}
		f.cfg = f.config()
		f.boot()
		defer f.end()
		f.use(st, conf("a", 8))
		time.Sleep(5 * time.Second)
		before := f.k.pids()
		var order []string
		least := 8
		f.k.set(func() {
			f.k.stopsIn = 100 * time.Millisecond
			f.k.behave = func(slot string, run uint64) (time.Duration, int) {
				if run > 1 {
					order = append(order, slot)
				}
				staying := -1 // without this one
				for _, c := range f.k.live {
					if c.stopping == "" {
						staying++
					}
				}
				least = min(least, staying)
				return 1000 * time.Hour, 0
			}
		})
		st.set("two", nil)
		time.Sleep(time.Minute)
		if n := f.renewed(before); n != 8 || least != 6 {
			t.Errorf("%d renewed, %d were at work meanwhile", n, least)
		}
		for i, slot := range order {
			if busy := before[slot] < 1005; busy != (i >= 4) {
				t.Errorf("place %d: %s (pid %d); all: %v", i, slot, before[slot], order)
			}
		}
		f.k.set(func() { f.k.behave = func(string, uint64) (time.Duration, int) { return 10 * time.Millisecond, 1 } })
		st.set("broken", nil)
		time.Sleep(10 * time.Minute)
		if live, _ := f.k.count(); live != 6 {
			t.Errorf("%d are left after a change to what does not live", live)
		}
	})
}

// TestNoStormOfRestarts: what changes all the time replaces ever more seldom.
func TestNoStormOfRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &pillState{value: "one"}
		f := pilled(t, st, conf("a", 2))
		defer f.end()
		_, before := f.k.count()
		for i := range 1800 {
			st.set(time.Duration(i).String(), nil)
			time.Sleep(time.Second)
		}
		_, starts := f.k.count()
		if n := (starts - before) / 2; n < 7 || n > 10 {
			t.Errorf("%d waves in half an hour", n)
		}
		if g := gateNamed(f.snapshot("a").Gates, "restart_on"); !strings.Contains(g.Evidence, "the next change has to wait for") {
			t.Errorf("%+v", g)
		}
		now := f.k.pids()
		time.Sleep(11 * time.Minute) // the latest change is not forgotten
		if n := f.renewed(now); n != 2 {
			t.Errorf("%d renewed", n)
		}
		time.Sleep(time.Hour)
		now = f.k.pids()
		st.set("calm", nil)
		time.Sleep(5 * time.Second)
		if n := f.renewed(now); n < 1 {
			t.Error("a change after a rest has to wait")
		}
	})
}

// TestNobodyIsAskedDuringAnOutage: what could not come back goes on.
func TestNobodyIsAskedDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "current")
		write := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		write("1")
		st := &pillState{value: "one"}
		c := conf("a", 2)
		c.RestartOn, c.Requires = []config.Signal{{File: file}}, []string{"db"}
		f := pilled(t, st, c)
		defer f.end()
		before := f.k.pids()
		st.set("one", errors.New("connection refused"))
		time.Sleep(5 * time.Second)
		write("release 2")
		time.Sleep(time.Minute)
		if n := f.renewed(before); n != 0 {
			t.Errorf("%d renewed during the outage", n)
		}
		st.set("one", nil)
		time.Sleep(10 * time.Second)
		if n := f.renewed(before); n != 2 {
			t.Errorf("%d renewed after it", n)
		}
	})
}
