package rig

import (
	"encoding/json"
	"syscall"
	"testing"
	"time"
)

// The parts of --json that tests look at, by the names of the reference.

type Status struct {
	Version int `json:"version"`
	Daemon  struct {
		Version   string `json:"version"`
		KeeperPID int    `json:"keeper_pid"`
		EnginePID int    `json:"engine_pid"`
	} `json:"daemon"`
	Consumers   []ConsumerStatus `json:"consumers"`
	Connections []struct {
		Name  string `json:"name"`
		State string `json:"state"`
		Error string `json:"error"`
	} `json:"connections"`
}

type ConsumerStatus struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Wanted  int    `json:"wanted"`
	Running int    `json:"running"`
	Reason  string `json:"reason"`
	Exits   uint64 `json:"exits"`
	Crashes int    `json:"crashes"`
	Queue   *struct {
		State    string `json:"state"`
		Ready    *int64 `json:"ready"`
		InFlight *int64 `json:"in_flight"`
	} `json:"queue"`
	Slots []SlotStatus `json:"slots"`
}

type SlotStatus struct {
	Slot     int       `json:"slot"`
	Phase    string    `json:"phase"`
	PID      int       `json:"pid"`
	Run      int       `json:"run"`
	Failures int       `json:"failures"`
	Code     string    `json:"code"`
	Reason   string    `json:"reason"`
	Deadline time.Time `json:"deadline"` // zero: there is none
	Adopted  bool      `json:"adopted"`
	LastExit *Exit     `json:"last_exit"`
}

type Exit struct {
	Run    int    `json:"run"`
	Code   int    `json:"code"`
	Signal string `json:"signal"`
	Class  string `json:"class"`
	Step   string `json:"step"`
}

type Explain struct {
	State  string `json:"state"`
	Reason string `json:"reason"`
	Gates  []Gate `json:"gates"`
	Slots  []struct {
		Slot   int    `json:"slot"`
		Want   string `json:"want"`
		Code   string `json:"code"`
		Reason string `json:"reason"`
		Gates  []Gate `json:"gates"`
	} `json:"slots"`
	Exits []struct {
		Slot int `json:"slot"`
		Exit
	} `json:"exits"`
}

type Gate struct {
	Name     string `json:"gate"`
	State    string `json:"state"`
	Evidence string `json:"evidence"`
}

// Gate returns a gate of the consumer by name, the zero gate if it is not there.
func (e Explain) Gate(name string) Gate {
	for _, g := range e.Gates {
		if g.Name == name {
			return g
		}
	}
	return Gate{}
}

type Reply struct {
	Outcomes []struct {
		Consumer string `json:"consumer"`
		Slot     int    `json:"slot"`
		PID      int    `json:"pid"`
		Exit     *Exit  `json:"exit"`
	} `json:"outcomes"`
	TimedOut bool `json:"timed_out"`
	Killed   int  `json:"killed"`
}

// Status asks the daemon; false while none answers, as between two engines.
func (d *Daemon) Status() (Status, bool) {
	d.T.Helper()
	var st Status
	if r := d.Run("status", "--json"); r.Code != 0 && r.Code != 3 || json.Unmarshal([]byte(r.Stdout), &st) != nil {
		return st, false
	}
	return st, st.Version == 1
}

// Consumer returns the status of one consumer, the zero status while nobody
// answers.
func (d *Daemon) Consumer(name string) ConsumerStatus {
	d.T.Helper()
	st, _ := d.Status()
	for _, c := range st.Consumers {
		if c.Name == name {
			return c
		}
	}
	return ConsumerStatus{}
}

// UntilRunning waits until so many instances of a consumer run and none is
// about to end, and returns it.
func (d *Daemon) UntilRunning(name string, n int) ConsumerStatus {
	d.T.Helper()
	var c ConsumerStatus
	Eventually(d.T, Patience, name+" runs as wanted", func() bool {
		c = d.Consumer(name)
		return c.Name != "" && c.Running == n && len(c.PIDs()) == n
	})
	return c
}

// PIDs of the instances that run.
func (c ConsumerStatus) PIDs() []int {
	var list []int
	for _, s := range c.Slots {
		if s.PID != 0 {
			list = append(list, s.PID)
		}
	}
	return list
}

// KillEngine kills the engine process and waits until the next one answers. The
// consumers that ran before and have not ended of their own will are the same
// processes, adopted.
func (d *Daemon) KillEngine() {
	d.T.Helper()
	var before Status
	Eventually(d.T, Patience, "the daemon answers", func() (ok bool) { before, ok = d.Status(); return ok })
	if err := syscall.Kill(before.Daemon.EnginePID, syscall.SIGKILL); err != nil {
		d.T.Fatalf("kill the engine, pid %d: %v", before.Daemon.EnginePID, err)
	}
	var after Status
	Eventually(d.T, Patience, "another engine answers", func() (ok bool) {
		after, ok = d.Status()
		return ok && after.Daemon.EnginePID != before.Daemon.EnginePID
	})
	if after.Daemon.KeeperPID != before.Daemon.KeeperPID {
		d.T.Fatalf("keeper_pid went from %d to %d", before.Daemon.KeeperPID, after.Daemon.KeeperPID)
	}
	for i, c := range before.Consumers {
		for j, s := range c.Slots {
			now := after.Consumers[i].Slots[j]
			if s.Phase != "running" || now.Phase != "running" || s.Run != now.Run {
				continue
			}
			if now.PID != s.PID || !now.Adopted {
				d.T.Errorf("%s/%d run %d: pid %d became %d, adopted %v", c.Name, s.Slot, s.Run, s.PID, now.PID, now.Adopted)
			}
		}
	}
}

// Gone ends the test unless all processes have ended.
func Gone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("pid %d still exists", pid)
		}
	}
}

// Within checks that a command neither returned early nor dawdled.
func Within(t *testing.T, what string, took, least, most time.Duration) {
	t.Helper()
	if took < least || took > most {
		t.Errorf("%s took %s, expected %s to %s", what, took.Round(time.Millisecond), least, most)
	}
}
