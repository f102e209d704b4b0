package faults

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"qsuper/test/rig"
)

var deafFaults = []fault{
	{name: "F022_ConsumersConnectionIsGone", score: 20, run: deafConsumer},
	{name: "F039_ManySlotsDueAfterAnOutage", score: 12, run: rampAfterOutage},
	{name: "F040_QueueMissing", score: 12, run: queueMissing},
	{name: "F041_WrongPassword", score: 12, run: wrongPassword},
	{name: "F063_NamesThatArePaths", score: 10, run: namesThatArePaths},
}

// A consumer whose own connection has been dropped without a word waits for ever,
// while the broker answers everybody else. The stall rule restarts it, not more
// than one in `stall`, and nobody during an outage.
func deafConsumer(t *testing.T) {
	const stall = 2 * time.Second
	b := newBroker(t, 50)
	f := newFleet(t)
	deaf := fmt.Sprintf("  deaf:\n    command: [sh, -c, 'echo began >>%s; exec sleep 1000']\n    queue: {connection: broker, path: /depth}\n    instances: 3\n    stall: %s\n", f.Path("deaf"), stall)
	f.Write(f.file(b.connection(), deaf, talkers(2)))
	began := func() int { text, _ := os.ReadFile(f.Path("deaf")); return strings.Count(string(text), "began") }
	f.Start()
	since := now()
	f.UntilRunning("deaf", 3)
	f.begun(2)
	talk := f.UntilRunning("talk", 2).PIDs()
	eventually(t, rig.Patience, "one after the other is restarted", func() bool { return began() >= 3+3 })
	if most := int((now() - since) / stall); began()-3 > most {
		t.Errorf("O10 rate: %d restarts in %s, at most %d are allowed", began()-3, now()-since, most)
	}
	var events strings.Builder
	events.WriteString(f.Must("events", "-n", "1000", "deaf").Stdout)
	if !strings.Contains(events.String(), "50 messages wait and none went for 2s") {
		t.Errorf("events do not say why:\n%s", events.String())
	}
	b.set(t, hole)
	f.brokerState(t, "down")
	n, until := began(), now()+3*stall
	eventually(t, rig.Patience, "the outage lasts", func() bool { return now() > until })
	if again := began(); again > n+1 { // one may have been on its way
		t.Errorf("%d restarts during an outage", again-n)
	}
	if now := f.UntilRunning("talk", 2).PIDs(); fmt.Sprint(now) != fmt.Sprint(talk) {
		t.Errorf("O5 fleet: it was %v and is %v", talk, now)
	}
	f.quiesce(0)
	f.linesWhole(false)
}

// The end of an outage is no stampede: starts double each second, although no
// start_rate holds them.
func rampAfterOutage(t *testing.T) {
	const n = 24
	b := newBroker(t, 5)
	f := newFleet(t)
	f.Write(f.file("  start_rate: 0\n"+b.connection(), f.needy(n)))
	f.Start()
	f.begun(n)
	f.UntilRunning("needy", n)
	b.set(t, shut)
	f.brokerState(t, "down")
	if err := os.WriteFile(f.Path("gone"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, rig.Patience, "all have exited", func() bool { return f.Consumer("needy").Running == 0 })
	if err := os.Remove(f.Path("gone")); err != nil {
		t.Fatal(err)
	}
	since := now()
	b.set(t, fair)
	f.begun(2 * n)
	starts := f.journal.begins(t)[n:]
	for i, r := range starts {
		// The i-th may start when 2^s ≥ i+1, s seconds after the broker is back.
		earliest := time.Duration(0)
		for 1<<(earliest/time.Second) < i+1 {
			earliest += time.Second
		}
		if at := r.At - since; at < earliest-time.Second {
			t.Errorf("O10 rate: start %d came %s after the broker, not before %s", i+1, at, earliest-time.Second)
		}
	}
	f.UntilRunning("needy", n)
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}

// A queue that does not exist is neither empty nor full, and asking for it again
// and again holds nothing.
func queueMissing(t *testing.T) {
	b := newBroker(t, 50)
	f := newFleet(t)
	f.Write(f.file(b.connection(), hungryFor("path: /missing", 2), talkers(1)))
	f.Start()
	f.begun(1)
	st := f.alive()
	var c rig.ConsumerStatus
	eventually(t, rig.Patience, "the queue is missing", func() bool {
		c = f.Consumer("hungry")
		return c.Queue != nil && c.Queue.State == "missing"
	})
	if c.Running != 0 || c.Queue.Ready != nil || !strings.Contains(c.Reason, "404") {
		t.Errorf("status: %+v", c)
	}
	held := usageOf(st.Daemon.EnginePID)
	first := b.requests()
	eventually(t, rig.Patience, "it is asked for many times", func() bool { return b.requests() > first+100 })
	f.flat("the engine", st.Daemon.EnginePID, held, 20)
	if open, _ := b.connections(); open > 3 {
		t.Errorf("%d connections are open", open)
	}
	if n := len(f.journal.begins(t)); n != 1 {
		t.Errorf("%d starts, expected only that of the talker", n)
	}
	f.quiesce(0)
}

// A wrong password is not tried every interval: accounts are locked after a few.
// A reload tries at once.
func wrongPassword(t *testing.T) {
	b := newBroker(t, 50)
	b.auth = "shop:right"
	f := newFleet(t)
	text := func(password string) string {
		return f.file("connections:\n  broker: {type: http, url: \"http://shop:"+password+"@"+b.addr+"\"}\n", hungry(1), talkers(1))
	}
	f.Write(text("hunter2hunter2"))
	f.Start()
	f.begun(1)
	f.brokerState(t, "down")
	tried, until := b.requests(), now()+3*time.Second // thirty intervals
	eventually(t, rig.Patience, "time goes by", func() bool { return now() > until })
	if n := b.requests() - tried; n > 4 {
		t.Errorf("the wrong password was tried %d more times in 3 s", n)
	}
	said := f.Run("status", "-v")
	if !strings.Contains(said.Stdout, "asked again every 30s") {
		t.Errorf("status does not say when it is asked again:\n%s", said.Stdout)
	}
	f.noSecret("hunter2hunter2", said, f.Run("explain", "hungry"), f.Run("events"))
	f.Write(text("right"))
	f.Must("reload")
	f.brokerState(t, "up")
	f.UntilRunning("hungry", 1)
	f.begun(2)
	f.quiesce(0)
}

// What looks like a path is a name that nobody has, and a link in the place of a
// log is not followed.
func namesThatArePaths(t *testing.T) {
	f := startFleet(t, talkers(1))
	f.begun(1)
	before := f.pids()
	target := f.Path("precious")
	if err := os.WriteFile(target, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 10000)
	for _, name := range []string{"../../precious", "..%2f..%2fprecious", target, "talk/../../precious", "talk/-1", "talk/99999999999999999999", "talk/0/0", "[", "@", "talk\x1b[2J", long, "__proto__"} {
		for _, verb := range []string{"logs", "explain", "stop", "events"} {
			r := f.Run(verb, "--", name)
			if r.Code == 0 || strings.Contains(r.Stdout+r.Stderr, canary) {
				t.Errorf("%s %.40q: exit %d, %.200s%.200s", verb, name, r.Code, r.Stdout, r.Stderr)
			}
			if strings.Contains(r.Stdout+r.Stderr, "\x1b[2J") {
				t.Errorf("%s %.40q: a control character reaches the terminal", verb, name)
			}
			if len(r.Stderr) > 4096 {
				t.Errorf("%s: a long name is repeated in full, %d bytes", verb, len(r.Stderr))
			}
		}
	}
	for _, link := range []string{"logs/talk.0.log.1", "logs/talk.0.log"} {
		if err := os.Remove(f.Path(link)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := os.Symlink(target, f.Path(link)); err != nil {
			t.Fatal(err)
		}
		if r := f.Run("logs", "-n", "100000", "talk"); strings.Contains(r.Stdout+r.Stderr, canary) {
			t.Errorf("O6 secrets: %s was followed:\n%s", link, r.Stdout)
		}
	}
	f.samePIDs(before)
	f.quiesce(0)
	if b, _ := os.ReadFile(target); string(b) != canary+"\n" {
		t.Errorf("what the links pointed to is %.100q", b)
	}
}
