package faults

import (
	"fmt"
	"os"
	"testing"
	"time"

	"qsuper/test/rig"
)

var brokerFaults = []fault{
	{name: "F018_BrokerDiesAndConsumersExit", score: 20, run: brokerDies},
	{name: "F019_BrokerDownAtStart", score: 20, run: brokerDownAtStart},
	{name: "F021_BrokerAcceptsAndNeverAnswers", score: 16, run: brokerHole},
	{name: "F097_BrokerFlaps", score: 12, run: brokerFlaps},
	{name: "F098_BrokerSlowOrTalksNonsense", score: 9, run: brokerOdd},
	{name: "F026_SecretsWhenAuthenticationFails", score: 15, run: secrets},
	{name: "F101_CommandProbeMisbehaves", score: 8, run: badProbe},
}

// needy are n consumers that run only while the broker answers, and exit with 1
// once a file says that it is gone.
func (f *fleet) needy(n int) string {
	return crew("needy", "lines 5 until "+f.Path("gone")+" 1", fmt.Sprintf("instances: %d", n), "requires: [broker]",
		"backoff: {initial: 100ms, max: 500ms}")
}

func (f *fleet) brokerState(t *testing.T, state string) {
	t.Helper()
	eventually(t, rig.Patience, "the broker is "+state, func() bool {
		st, _ := f.Status()
		return len(st.Connections) == 1 && st.Connections[0].State == state
	})
}

func brokerDies(t *testing.T) {
	const n, startRate = 30, 10
	b := newBroker(t, 5)
	f := newFleet(t)
	f.Write(f.file(fmt.Sprintf("  start_rate: %d\n", startRate)+b.connection(), f.needy(n)))
	since := now()
	f.Start()
	f.begun(n)
	f.rate(since, startRate)

	since = now()
	b.set(t, shut)
	if err := os.WriteFile(f.Path("gone"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.brokerState(t, "down")
	eventually(t, rig.Patience, "all have exited", func() bool { return f.Consumer("needy").Running == 0 })
	began := len(f.journal.begins(t))
	_, asked := b.connections()
	// The outage starts nothing at all, however long it is; it ends nothing either.
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); <-time.After(200 * time.Millisecond) {
		if c := f.alive().Consumers[0]; c.Running != 0 || c.State != "waiting" && c.State != "backoff" {
			t.Fatalf("during the outage: %+v", c)
		}
	}
	if _, again := b.connections(); again != asked {
		t.Errorf("%d connections to a broker that is shut", again-asked)
	}
	if again := len(f.journal.begins(t)); again != began {
		t.Errorf("%d starts during the outage", again-began)
	}
	if err := os.Remove(f.Path("gone")); err != nil {
		t.Fatal(err)
	}
	b.set(t, fair)
	f.UntilRunning("needy", n)
	f.begun(began + n)
	f.rate(since, startRate) // its end is no stampede
	f.truth()
	f.quiesce(0)
	f.linesWhole(false)
}

func brokerDownAtStart(t *testing.T) {
	b := newBroker(t, 5)
	b.set(t, shut)
	f := newFleet(t)
	f.Write(f.file(b.connection(), f.needy(4), talkers(2)))
	f.Start()
	f.begun(2) // who does not need it
	f.brokerState(t, "down")
	if c := f.Consumer("needy"); c.Running != 0 || c.State != "waiting" {
		t.Errorf("without a broker: %+v", c)
	}
	var why rig.Explain
	f.JSON(&why, "explain", "needy")
	if g := why.Gate("connection"); g.State != "closed" || g.Evidence == "" {
		t.Errorf("the gate says %+v", g)
	}
	b.set(t, fair)
	f.UntilRunning("needy", 4)
	f.begun(6)
	f.quiesce(0)
	f.linesWhole(false)
}

// hungry is a consumer of a queue behind the proxy.
func hungry(n int) string {
	return hungryFor("path: /depth", n)
}

func hungryFor(queue string, n int) string {
	return fmt.Sprintf("  hungry:\n    command: [$SELF, lines, \"10\"]\n    queue: {connection: broker, %s}\n    instances: %d\n    idle_timeout: 300ms\n", queue, n)
}

// threeHungry run, and their queue holds messages.
func threeHungry(t *testing.T) (b *broker, f *fleet, pids string) {
	b, f = newBroker(t, 50), newFleet(t)
	f.Write(f.file(b.connection(), hungry(3)))
	f.Start()
	f.begun(3)
	f.UntilRunning("hungry", 3)
	return b, f, f.pids()
}

// The probe ends at its timeout, and unknown is not zero: what runs goes on, well
// beyond its idle_timeout. Nothing piles up.
func brokerHole(t *testing.T) {
	b, f, before := threeHungry(t)
	st := f.alive()
	engine, keeper := usageOf(st.Daemon.EnginePID), usageOf(st.Daemon.KeeperPID)
	b.set(t, hole)
	f.brokerState(t, "down")
	_, first := b.connections()
	eventually(t, rig.Patience, "it is asked again and again", func() bool {
		open, n := b.connections()
		if open > 5 {
			t.Errorf("%d connections are open at once", open)
		}
		return n >= first+6
	})
	f.alive()
	f.samePIDs(before)
	f.flat("the engine", st.Daemon.EnginePID, engine, 10)
	f.flat("the keeper", st.Daemon.KeeperPID, keeper, 10)
	b.set(t, fair)
	f.brokerState(t, "up")
	f.samePIDs(before)
	f.quiesce(0)
	f.linesWhole(false)
}

func brokerFlaps(t *testing.T) {
	b, f, before := threeHungry(t)
	for i := range 5 {
		b.set(t, []weather{shut, cut}[i%2])
		f.brokerState(t, "down")
		b.set(t, fair)
		f.brokerState(t, "up")
	}
	f.samePIDs(before)
	f.quiesce(0)
	f.linesWhole(false)
}

func brokerOdd(t *testing.T) {
	b, f, before := threeHungry(t)
	st := f.alive()
	held := usageOf(st.Daemon.EnginePID)
	for _, w := range []weather{slug, noise} {
		b.set(t, w)
		f.brokerState(t, "down")
		_, first := b.connections()
		eventually(t, rig.Patience, "it is asked again", func() bool { _, n := b.connections(); return n >= first+4 })
		f.alive()
	}
	f.flat("the engine", st.Daemon.EnginePID, held, 10)
	f.samePIDs(before)
	b.set(t, fair)
	f.brokerState(t, "up")
	f.samePIDs(before)
	f.quiesce(0)
	f.linesWhole(false)
}

// The daemons of all cases inherit a secret; this one uses it.
const secretEnv, canary = "QFAULT_SECRET", "kanari3nv0gel"

func secrets(t *testing.T) {
	b := newBroker(t, 50)
	b.auth = "shop:something-else"
	f := newFleet(t)
	text := "connections:\n  broker: {type: http, url: \"http://shop:${" + secretEnv + "}@" + b.addr + "\", timeout: 500ms}\n"
	f.Write(f.file(text, hungry(1), talkers(2)))
	f.Start()
	f.begun(2)
	f.brokerState(t, "down")
	replies := []rig.Result{f.Run("check", "--probe"), f.Run("status", "-v"), f.Run("status", "--json"), f.Run("explain", "hungry"),
		f.Run("events"), f.Run("events", "--json"), f.Run("logs"), f.Run("reload")}
	b.set(t, shut)
	replies = append(replies, f.Run("check", "--probe"), f.Run("explain", "hungry"))
	f.noSecret(canary, replies...)
	f.Write("connections:\n  broker: {type: http, url: \"http://shop:${" + secretEnv + "}@" + b.addr + "\", timeuot: 5}\nconsumers: {}\n")
	f.noSecret(canary, f.Run("check"), f.Run("reload"))
	f.quiesce(0)
	f.noSecret(canary)
}

// A probe that is a command has nothing to lose: it hangs, floods, and leaves
// children. It is killed with what it started, and the depth is unknown.
func badProbe(t *testing.T) {
	for name, script := range map[string]string{
		"hangs":    "sleep 1000",
		"children": "sleep 1000 & sleep 1000 & sleep 1000",
		"floods":   "while :; do echo 12345678901234567890; done",
		"fails":    "echo 5; exit 255",
		"killed":   "kill -9 $$$$",
		"words":    "echo many",
	} {
		f := newFleet(t)
		f.Write(f.file("connections:\n  broker: {type: exec, command: [sh, -c, '"+script+"'], timeout: 300ms}\n", hungryFor("name: orders", 2), talkers(1)))
		f.Start()
		f.begun(1)
		st := f.alive()
		held := usageOf(st.Daemon.EnginePID)
		var q string
		eventually(t, rig.Patience, name+": the depth is unknown", func() bool {
			if c := f.Consumer("hungry"); c.Queue != nil {
				q = c.Queue.State
			}
			return q == "unknown"
		})
		for range 3 {
			f.alive()
		}
		if c := f.Consumer("hungry"); c.Running != 0 {
			t.Errorf("%s: something was started: %+v", name, c)
		}
		f.flat(name+": the engine", st.Daemon.EnginePID, held, 10)
		f.quiesce(0)
		if left := rig.ProcessesOf(f.Dir); len(left) > 0 {
			t.Errorf("%s: O2 left behind: %v", name, left)
		}
	}
}
