package test

import (
	"encoding/json"
	"syscall"
	"testing"
	"time"
)

// The parts of --json that tests look at, by the names of the reference.

type statusJSON struct {
	Version int `json:"version"`
	Daemon  struct {
		Version   string `json:"version"`
		KeeperPID int    `json:"keeper_pid"`
		EnginePID int    `json:"engine_pid"`
	} `json:"daemon"`
	Consumers   []consumerJSON `json:"consumers"`
	Connections []struct {
		Name  string `json:"name"`
		State string `json:"state"`
		Error string `json:"error"`
	} `json:"connections"`
}

type consumerJSON struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Wanted  int    `json:"wanted"`
	Running int    `json:"running"`
	Reason  string `json:"reason"`
	Crashes int    `json:"crashes"`
	Queue   *struct {
		State    string `json:"state"`
		Ready    *int64 `json:"ready"`
		InFlight *int64 `json:"in_flight"`
	} `json:"queue"`
	Slots []slotJSON `json:"slots"`
}

type slotJSON struct {
	Slot     int       `json:"slot"`
	Phase    string    `json:"phase"`
	PID      int       `json:"pid"`
	Run      int       `json:"run"`
	Failures int       `json:"failures"`
	Reason   string    `json:"reason"`
	Adopted  bool      `json:"adopted"`
	LastExit *exitJSON `json:"last_exit"`
}

type exitJSON struct {
	Run    int    `json:"run"`
	Code   int    `json:"code"`
	Signal string `json:"signal"`
	Class  string `json:"class"`
	Step   string `json:"step"`
}

type explainJSON struct {
	State  string     `json:"state"`
	Reason string     `json:"reason"`
	Gates  []gateJSON `json:"gates"`
	Slots  []struct {
		Slot   int        `json:"slot"`
		Want   string     `json:"want"`
		Code   string     `json:"code"`
		Reason string     `json:"reason"`
		Gates  []gateJSON `json:"gates"`
	} `json:"slots"`
	Exits []struct {
		Slot int `json:"slot"`
		exitJSON
	} `json:"exits"`
}

type gateJSON struct {
	Name     string `json:"gate"`
	State    string `json:"state"`
	Evidence string `json:"evidence"`
}

// gate returns a gate of the consumer by name, the zero gate if it is not there.
func (e explainJSON) gate(name string) gateJSON {
	for _, g := range e.Gates {
		if g.Name == name {
			return g
		}
	}
	return gateJSON{}
}

type replyJSON struct {
	Outcomes []struct {
		Consumer string    `json:"consumer"`
		Slot     int       `json:"slot"`
		PID      int       `json:"pid"`
		Exit     *exitJSON `json:"exit"`
	} `json:"outcomes"`
	TimedOut bool `json:"timed_out"`
	Killed   int  `json:"killed"`
}

// status asks the daemon; false while none answers, as between two engines.
func (d *daemon) status() (statusJSON, bool) {
	d.t.Helper()
	var st statusJSON
	if r := d.run("status", "--json"); r.code != 0 && r.code != 3 || json.Unmarshal([]byte(r.stdout), &st) != nil {
		return st, false
	}
	return st, st.Version == 1
}

// consumer returns the status of one consumer, the zero status while nobody
// answers.
func (d *daemon) consumer(name string) consumerJSON {
	d.t.Helper()
	st, _ := d.status()
	for _, c := range st.Consumers {
		if c.Name == name {
			return c
		}
	}
	return consumerJSON{}
}

// untilRunning waits until so many instances of a consumer run and none is
// about to end, and returns it.
func (d *daemon) untilRunning(name string, n int) consumerJSON {
	d.t.Helper()
	var c consumerJSON
	eventually(d.t, patience, name+" runs as wanted", func() bool {
		c = d.consumer(name)
		return c.Name != "" && c.Running == n && len(c.pids()) == n
	})
	return c
}

// pids of the instances that run.
func (c consumerJSON) pids() []int {
	var list []int
	for _, s := range c.Slots {
		if s.PID != 0 {
			list = append(list, s.PID)
		}
	}
	return list
}

// killEngine kills the engine process and waits until the next one answers. The
// consumers that ran before and have not ended of their own will are the same
// processes, adopted.
func (d *daemon) killEngine() {
	d.t.Helper()
	var before statusJSON
	eventually(d.t, patience, "the daemon answers", func() (ok bool) { before, ok = d.status(); return ok })
	if err := syscall.Kill(before.Daemon.EnginePID, syscall.SIGKILL); err != nil {
		d.t.Fatalf("kill the engine, pid %d: %v", before.Daemon.EnginePID, err)
	}
	var after statusJSON
	eventually(d.t, patience, "another engine answers", func() (ok bool) {
		after, ok = d.status()
		return ok && after.Daemon.EnginePID != before.Daemon.EnginePID
	})
	if after.Daemon.KeeperPID != before.Daemon.KeeperPID {
		d.t.Fatalf("keeper_pid went from %d to %d", before.Daemon.KeeperPID, after.Daemon.KeeperPID)
	}
	for i, c := range before.Consumers {
		for j, s := range c.Slots {
			now := after.Consumers[i].Slots[j]
			if s.Phase != "running" || now.Phase != "running" || s.Run != now.Run {
				continue
			}
			if now.PID != s.PID || !now.Adopted {
				d.t.Errorf("%s/%d run %d: pid %d became %d, adopted %v", c.Name, s.Slot, s.Run, s.PID, now.PID, now.Adopted)
			}
		}
	}
}

// gone ends the test unless all processes have ended.
func gone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("pid %d still exists", pid)
		}
	}
}

// within checks that a command neither returned early nor dawdled.
func within(t *testing.T, what string, took, least, most time.Duration) {
	t.Helper()
	if took < least || took > most {
		t.Errorf("%s took %s, expected %s to %s", what, took.Round(time.Millisecond), least, most)
	}
}
