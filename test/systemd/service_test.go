package systemd

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"
)

// worker tells that it has begun, and finishes its message when asked to stop,
// for as many seconds as its argument says.
const worker = `#!/bin/sh
env >/srv/env
trap 'sleep "$1"; echo $$ >>/srv/finished; exit 0' TERM
echo $$ >>/srv/begun
while :; do sleep 0.1; done
`

// forks leaves a process that no group and no session tells of.
const forks = `#!/bin/sh
setsid sh -c 'echo $$ >>/srv/forked; exec sleep 1000' &
exec sh /srv/worker 0
`

const file = `version: 1
daemon: {interval: 200ms}
consumers:
  orders: {command: [/bin/sh, /srv/worker, "0"], spawn: always, stop: {grace: 40s}}
`

type status struct {
	Daemon struct {
		KeeperPID int `json:"keeper_pid"`
		EnginePID int `json:"engine_pid"`
	} `json:"daemon"`
	Consumers []struct {
		Name    string `json:"name"`
		Running int    `json:"running"`
	} `json:"consumers"`
}

// status is false as long as nobody answers.
func (b *box) status() (s status, ok bool) {
	b.t.Helper()
	o := b.try("/srv/qsuper", "status", "--json")
	return s, json.Unmarshal([]byte(o.text), &s) == nil && s.Daemon.EnginePID != 0
}

// up boots a box in which the service runs, and returns the consumer's pid.
func up(t *testing.T, file, service string) (*box, status, string) {
	t.Helper()
	b := newBox(t, file)
	b.boot()
	b.install(service)
	b.must("systemctl", "start", "qsuper")
	s, ok := b.status() // at once: started means ready
	if !ok || strconv.Itoa(s.Daemon.KeeperPID) != b.property("MainPID") {
		t.Errorf("started, but not ready: %+v, main process %s", s, b.property("MainPID"))
	}
	eventually(t, "the consumer runs", func() bool { return len(b.lines("begun")) == 1 })
	return b, s, b.lines("begun")[0]
}

// untouched checks that the one consumer there has been still lives.
func (b *box) untouched(pid string) {
	b.t.Helper()
	if begun := b.lines("begun"); len(begun) != 1 || !b.alive(pid) || len(b.lines("finished")) > 0 {
		b.t.Errorf("the consumer was touched: begun %v, finished %v, %s lives: %v", begun, b.lines("finished"), pid, b.alive(pid))
	}
}

func TestStartReloadStop(t *testing.T) {
	b, _, pid := up(t, file, "")
	if got := b.property("TimeoutStopUSec"); got != "1min 10s" {
		t.Errorf("TimeoutStopUSec=%s", got)
	}
	for _, kv := range b.lines("env") {
		for _, name := range []string{"NOTIFY_SOCKET=", "WATCHDOG_", "INVOCATION_ID=", "STATE_DIRECTORY=", "JOURNAL_STREAM=", "SYSTEMD_EXEC_PID="} {
			if strings.HasPrefix(kv, name) {
				t.Errorf("the consumer has %s", kv)
			}
		}
	}
	b.write("qsuper.yaml", file+"  mails: {command: [/bin/sleep, '1000'], spawn: always}\n")
	b.must("systemctl", "reload", "qsuper")
	eventually(t, "the new consumer runs", func() bool {
		s, ok := b.status()
		return ok && len(s.Consumers) == 2 && s.Consumers[1].Running == 1
	})
	b.write("qsuper.yaml", "version: 1\nconsumer: {}\n")
	if o := b.try("systemctl", "reload", "qsuper"); o.code == 0 {
		t.Errorf("the reload of a bad file succeeded: %s", o.text)
	}
	if journal := b.must("journalctl", "--no-pager", "-u", "qsuper", "-o", "cat"); !strings.Contains(journal, `did you mean "consumers"`) {
		t.Errorf("the journal does not say what is wrong:\n%s", journal)
	}
	if got := b.property("ActiveState"); got != "active" {
		t.Errorf("after a refused reload it is %s", got)
	}
	b.untouched(pid)
	b.must("systemctl", "stop", "qsuper")
	if got := b.property("Result"); got != "success" || b.alive(pid) || len(b.lines("finished")) != 1 {
		t.Errorf("stopped: %s, finished %v", got, b.lines("finished"))
	}
}

func TestItIsThereAfterABoot(t *testing.T) {
	b := newBox(t, file)
	b.boot()
	b.install("")
	b.must("systemctl", "enable", "qsuper")
	if len(b.lines("begun")) > 0 {
		t.Error("enabling started it")
	}
	b.halt()
	b.boot()
	eventually(t, "the consumer runs", func() bool { return len(b.lines("begun")) == 1 })
	if got := b.property("ActiveState"); got != "active" {
		t.Errorf("it is %s", got)
	}
}

// What `qsuper stop` has stopped systemd does not start again.
func TestStopByCommandIsNotUndone(t *testing.T) {
	b, _, pid := up(t, file, "")
	b.must("/srv/qsuper", "stop")
	eventually(t, "the service is down", func() bool { return b.property("ActiveState") == "inactive" })
	if got := b.property("NRestarts") + " " + b.property("SubState") + " " + b.property("Result"); got != "0 dead success" || b.alive(pid) {
		t.Errorf("%s, consumer lives: %v", got, b.alive(pid))
	}
}

func TestTheEngineIsKilled(t *testing.T) {
	b, s, pid := up(t, file, "")
	b.must("kill", "-KILL", strconv.Itoa(s.Daemon.EnginePID))
	eventually(t, "the next engine answers", func() bool {
		now, ok := b.status()
		return ok && now.Daemon.EnginePID != s.Daemon.EnginePID && now.Consumers[0].Running == 1
	})
	b.untouched(pid)
	if got := b.property("NRestarts") + " " + b.property("ActiveState"); got != "0 active" {
		t.Errorf("systemd has seen it: %s", got)
	}
	b.must("systemctl", "stop", "qsuper")
	if b.alive(pid) {
		t.Error("the consumer outlives the stop")
	}
}

// adopted waits until the next keeper has the consumer, and stops the service:
// all that was ever started for it ends.
func (b *box) adopted(pid string) {
	b.t.Helper()
	eventually(b.t, "the consumer is adopted", func() bool {
		now, ok := b.status()
		return ok && len(now.Consumers) == 1 && now.Consumers[0].Running == 1
	})
	b.untouched(pid)
	group := b.property("ControlGroup")
	b.must("systemctl", "stop", "qsuper")
	if b.alive(pid) || len(b.lines("begun")) != 1 || len(b.lines("finished")) != 1 {
		b.t.Errorf("stopped: %s lives: %v; begun %v, finished %v", pid, b.alive(pid), b.lines("begun"), b.lines("finished"))
	}
	if got := b.property("Result"); got != "success" {
		b.t.Errorf("Result=%s", got)
	}
	if o := b.try("cat", "/sys/fs/cgroup"+group+"/cgroup.events"); strings.Contains(o.text, "populated 1") {
		b.t.Errorf("left behind:\n%s", b.try("systemd-cgls", "--no-pager", group).text)
	}
}

// The next keeper goes on with the consumer, and there is no second one.
func TestTheKeeperIsKilled(t *testing.T) {
	b, s, pid := up(t, file, "")
	b.must("kill", "-KILL", strconv.Itoa(s.Daemon.KeeperPID))
	eventually(t, "the next keeper answers", func() bool {
		now, ok := b.status()
		return ok && now.Daemon.KeeperPID != s.Daemon.KeeperPID
	})
	b.untouched(pid)
	if got := b.property("NRestarts") + " " + b.property("ActiveState"); got != "1 active" {
		t.Errorf("%s", got)
	}
	b.adopted(pid)
}

// talker prints numbered lines until it is told that all is over.
const talker = `#!/bin/sh
env >/srv/env
echo $$ >>/srv/begun
n=0
until test -e /srv/over; do n=$((n+1)); echo "$$ $n"; sleep 0.01; done
echo "$$ end $n"
`

// All of qsuper is killed at once, and what it kept talks on and ends before systemd
// starts the next: systemd holds its pipe meanwhile, so no line is lost.
func TestLastWordsWhileNobodyLives(t *testing.T) {
	b := newBox(t, strings.Replace(file, `[/bin/sh, /srv/worker, "0"]`, "[/bin/sh, /srv/talker]", 1))
	b.write("talker", talker)
	b.boot()
	b.install("RestartSec=5s")
	b.must("systemctl", "start", "qsuper")
	const log = "/var/log/qsuper/orders.0.log"
	logged := func() []string {
		return strings.Split(strings.TrimSpace(b.try("cat", log).text), "\n")
	}
	eventually(t, "it talks", func() bool { return len(b.lines("begun")) == 1 && len(logged()) > 20 })
	pid := b.lines("begun")[0]
	eventually(t, "systemd holds its pipe", func() bool { return b.property("NFileDescriptorStore") == "1" })
	s, ok := b.status()
	if !ok {
		t.Fatal("no status")
	}
	b.must("kill", "-KILL", strconv.Itoa(s.Daemon.KeeperPID), strconv.Itoa(s.Daemon.EnginePID))
	before := len(logged())
	eventually(t, "it goes on", func() bool { return b.property("SubState") == "auto-restart" && b.alive(pid) })
	b.write("over", "")
	eventually(t, "it ends", func() bool { return !b.alive(pid) })
	if got := b.property("SubState") + " " + b.property("NFileDescriptorStore"); got != "auto-restart 1" || len(logged()) != before {
		t.Errorf("nobody lives: %s, %d lines and then %d", got, before, len(logged()))
	}
	b.must("rm", "/srv/over")
	eventually(t, "the next run talks", func() bool {
		return len(b.lines("begun")) == 2 && len(logged()) > before+20 && b.property("NRestarts") == "1"
	})
	for i, line := range logged() {
		if end, ok := strings.CutPrefix(line, pid+" end "); ok {
			if end != strconv.Itoa(i) || i <= before {
				t.Errorf("line %d of the log: %q; there were %d when it was killed", i+1, line, before)
			}
			t.Logf("%d of %d lines were printed while nobody lived", i-before, i)
			break
		}
		if line != pid+" "+strconv.Itoa(i+1) {
			t.Fatalf("line %d of the log: %q", i+1, line)
		}
	}
	for _, kv := range b.lines("env") {
		for _, name := range []string{"NOTIFY_SOCKET=", "LISTEN_", "FDSTORE="} {
			if strings.HasPrefix(kv, name) {
				t.Errorf("the consumer has %s", kv)
			}
		}
	}
	b.must("systemctl", "stop", "qsuper")
	if got := b.property("Result") + " " + b.property("NFileDescriptorStore"); got != "success 0" {
		t.Errorf("stopped: %s", got)
	}
}

// A hung engine is told by its silence, not by a healthy one's.
func TestTheWatchdogBarks(t *testing.T) {
	b, s, pid := up(t, file, "WatchdogSec=2s")
	fed := func() string { return b.property("WatchdogTimestampMonotonic") }
	first := fed()
	eventually(t, "the watchdog is fed", func() bool { return fed() != first })
	if got := b.property("NRestarts"); got != "0" {
		t.Errorf("%s restarts of a healthy daemon", got)
	}
	b.must("kill", "-STOP", strconv.Itoa(s.Daemon.EnginePID))
	eventually(t, "somebody has replaced it", func() bool {
		now, ok := b.status()
		return ok && now.Daemon.EnginePID != s.Daemon.EnginePID
	})
	if b.alive(strconv.Itoa(s.Daemon.EnginePID)) {
		t.Error("the hung engine is still there")
	}
	b.untouched(pid)
	t.Logf("restarts by systemd: %s", b.property("NRestarts"))
	b.adopted(pid)
}

// A keeper that stands still is as bad as an engine that does, though the engine has
// everything it needs to feed the watchdog.
func TestTheKeeperStandsStill(t *testing.T) {
	b, s, pid := up(t, file, "WatchdogSec=2s")
	b.must("kill", "-STOP", strconv.Itoa(s.Daemon.KeeperPID))
	eventually(t, "the next keeper answers", func() bool {
		now, ok := b.status()
		return ok && now.Daemon.KeeperPID != s.Daemon.KeeperPID
	})
	b.untouched(pid)
	if got := b.property("NRestarts"); got != "1" {
		t.Errorf("%s restarts", got)
	}
	b.adopted(pid)
}

// Nobody but the two processes themselves notices that there is another binary:
// for systemd it is the same service, which is ready and feeds its watchdog.
func TestUpgrade(t *testing.T) {
	b, s, pid := up(t, file, "WatchdogSec=2s")
	for range 2 {
		if said := b.must("/srv/qsuper", "upgrade"); said == "" {
			t.Error("nothing is said")
		}
		now, ok := b.status()
		if !ok || now.Daemon.KeeperPID != s.Daemon.KeeperPID || now.Daemon.EnginePID == s.Daemon.EnginePID {
			t.Errorf("upgraded: %+v, before: %+v", now, s)
		}
		s = now
		fed := b.property("WatchdogTimestampMonotonic")
		eventually(t, "the watchdog is fed", func() bool { return b.property("WatchdogTimestampMonotonic") != fed })
	}
	if got := b.property("MainPID") + " " + b.property("NRestarts") + " " + b.property("ActiveState"); got != strconv.Itoa(s.Daemon.KeeperPID)+" 0 active" {
		t.Errorf("for systemd it is %s", got)
	}
	b.untouched(pid)
	b.write("qsuper.yaml", file+"  mails: {command: [/bin/sleep, '1000'], spawn: always}\n")
	b.must("systemctl", "reload", "qsuper")
	eventually(t, "the new consumer runs", func() bool {
		s, ok := b.status()
		return ok && len(s.Consumers) == 2 && s.Consumers[1].Running == 1
	})
	b.untouched(pid)
	b.must("systemctl", "stop", "qsuper")
	if b.alive(pid) || b.property("Result") != "success" {
		t.Errorf("stopped: %s lives: %v, %s", pid, b.alive(pid), b.property("Result"))
	}
}

// A message that takes longer than systemd would wait is finished all the same.
func TestALongGraceIsHonoured(t *testing.T) {
	long := strings.Replace(file, `"0"`, `"7"`, 1)
	b, _, pid := up(t, long, "TimeoutStopSec=3s")
	if said := b.must("/srv/qsuper", "check", "-c", "/srv/qsuper.yaml"); !strings.Contains(said, "TimeoutStopSec=3s") {
		t.Errorf("check does not warn: %s", said)
	}
	o := b.try("systemctl", "stop", "qsuper")
	if o.code != 0 || o.took < 7*time.Second || len(b.lines("finished")) != 1 || b.alive(pid) {
		t.Errorf("stop: exit %d after %s, finished %v\n%s", o.code, o.took, b.lines("finished"), o.text)
	}
	if got := b.property("Result"); got != "success" {
		t.Errorf("Result=%s", got)
	}
}

// systemd loses patience with a keeper whose engine does not answer, and kills it in
// the middle of the stop. What it had been asked to stop ends all the same, after
// its message and not before.
func TestAStopThatIsCutOff(t *testing.T) {
	b, s, pid := up(t, strings.Replace(file, `"0"`, `"4"`, 1), "TimeoutStopSec=2s\nWatchdogSec=0")
	b.must("kill", "-STOP", strconv.Itoa(s.Daemon.EnginePID))
	o := b.try("systemctl", "stop", "qsuper")
	if got := b.property("Result"); got != "timeout" || b.alive(strconv.Itoa(s.Daemon.KeeperPID)) {
		t.Errorf("the stop was not cut off: Result=%s, exit %d after %s\n%s", got, o.code, o.took, o.text)
	}
	if b.alive(pid) || len(b.lines("finished")) != 1 || len(b.lines("begun")) != 1 {
		t.Errorf("begun %v, finished %v, it lives: %v", b.lines("begun"), b.lines("finished"), b.alive(pid))
	}
	if b.alive(strconv.Itoa(s.Daemon.EnginePID)) {
		t.Error("the engine is left behind")
	}
	b.must("systemctl", "start", "qsuper")
	eventually(t, "it can be started again", func() bool { return len(b.lines("begun")) == 2 })
}

// What a consumer puts into a session of its own ends with it, and each run has
// its cgroup below the service's.
func TestARunHasItsCgroup(t *testing.T) {
	b, _, pid := up(t, strings.Replace(file, `[/bin/sh, /srv/worker, "0"]`, "[/bin/sh, /srv/forks]", 1), "")
	eventually(t, "it has forked", func() bool { return len(b.lines("forked")) == 1 })
	group := b.property("ControlGroup") + "/qsuper."
	for _, of := range []string{pid, b.lines("forked")[0]} {
		at := b.must("sed", "-n", "s/^0:://p", "/proc/"+of+"/cgroup")
		if !strings.HasPrefix(at, group) || !strings.Contains(at, "/run.orders") {
			t.Errorf("%s is in %s", of, at)
		}
	}
	b.must("systemctl", "stop", "qsuper")
	if b.alive(pid) || b.alive(b.lines("forked")[0]) {
		t.Errorf("after the stop: %s lives: %v, what it forked: %v", pid, b.alive(pid), b.alive(b.lines("forked")[0]))
	}
}

func TestTheUnitIsSound(t *testing.T) {
	b := newBox(t, file)
	b.boot()
	b.install("")
	if said := b.must("systemd-analyze", "verify", "--man=no", "/etc/systemd/system/qsuper.service"); said != "" {
		t.Errorf("verify: %s", said)
	}
	if said := b.must("/srv/qsuper", "check", "-c", "/srv/qsuper.yaml"); strings.Contains(said, "warning") {
		t.Errorf("check: %s", said)
	}
	// It must be able to start anything as anybody, and what would lower the number
	// would hold for consumers as well: it is shown, not judged.
	said := b.must("systemd-analyze", "security", "--no-pager", "qsuper.service")
	lines := strings.Split(said, "\n")
	last := lines[len(lines)-1]
	if !strings.Contains(last, "Overall exposure level") {
		t.Errorf("security: %s", said)
	}
	t.Log(last)
}

// TestStartIsSystemds: a stop and a start by qsuper's own commands leave the
// daemon where systemd sees it, and a user who may not ask it hears that.
func TestStartIsSystemds(t *testing.T) {
	b, before, _ := up(t, file, "")
	b.must("/srv/qsuper", "stop", "--config", "/srv/qsuper.yaml")
	said := b.must("/srv/qsuper", "start", "--config", "/srv/qsuper.yaml") // the unit may not have ended yet
	s, ok := b.status()
	if !ok || s.Daemon.KeeperPID == before.Daemon.KeeperPID || strconv.Itoa(s.Daemon.KeeperPID) != b.property("MainPID") || b.property("ActiveState") != "active" {
		t.Errorf("%s\nkeeper %d, before %d, systemd has %s, %s", said, s.Daemon.KeeperPID, before.Daemon.KeeperPID, b.property("MainPID"), b.property("ActiveState"))
	}
	b.must("sh", "-c", "mkdir -p /etc/qsuper && cp /srv/qsuper.yaml /etc/qsuper && chmod 600 /etc/qsuper/qsuper.yaml && cp /srv/qsuper /usr/local/bin/qsuper-test")
	o := b.try("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "/usr/local/bin/qsuper-test", "status")
	if o.code == 0 || !strings.Contains(o.text, "/run/qsuper/qsuper.sock") || !strings.Contains(o.text, "root") {
		t.Errorf("nobody asks: exit %d: %s", o.code, o.text)
	}
}
