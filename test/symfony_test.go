package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// shop is a Symfony Messenger application with one queue, "orders", on some
// transport.
type shop struct {
	*app
	connection string // the YAML of the connection

	// left is how many messages the broker still has, and inFlight how many of
	// them are with a consumer. Both ask the backend itself, not qsuper.
	left, inFlight func() int
}

func newShop(t *testing.T) *shop {
	t.Helper()
	return &shop{app: newApp(t, "symfony/bin/console")}
}

func (s *shop) setUp()        { s.t.Helper(); s.run("messenger:setup-transports") }
func (s *shop) publish(n int) { s.t.Helper(); s.run("app:publish", fmt.Sprint(n)) }

// config is the file with a consumer whose messages take ms.
func (s *shop) config(ms int, keys ...string) string {
	s.env["APP_WORK_MS"] = fmt.Sprint(ms)
	return s.file(s.connection, "type: symfony, receivers: [async]", keys...)
}

// engineKilled is the promise that the engine may die at any time: 5,000
// messages with recycling, handled once each by processes that all end by
// themselves, while the engine is killed ten times.
func (s *shop) engineKilled() {
	t := s.t
	const messages, kills = 5000, 10
	s.setUp()
	s.publish(messages)
	d := startDaemon(t, s.config(10, "instances: 4", "max_messages: 100", "idle_timeout: 2s"))
	for i := range kills {
		eventually(t, 3*patience, "messages are handled", func() bool { return s.handled().len(t) > i*messages/(kills+1) })
		d.KillEngine()
	}
	eventually(t, 5*patience, "all messages are handled", func() bool { return s.handled().len(t) >= messages })
	c := d.UntilRunning("orders", 0)
	eventually(t, patience, "the consumer rests", func() bool { c = d.Consumer("orders"); return c.State == "waiting" })
	if c.Crashes != 0 || c.Queue == nil || c.Queue.State != "ok" || c.Queue.Ready == nil || *c.Queue.Ready != 0 {
		t.Errorf("status at the end: %+v", c)
	}
	var why explainJSON
	d.JSON(&why, "explain", "orders")
	if g := why.Gate("depth"); g.State != "closed" || !strings.Contains(g.Evidence, "ready 0") {
		t.Errorf("the depth gate is %+v", g)
	}
	if len(why.Exits) == 0 {
		t.Error("explain knows of no exit")
	}
	for _, e := range why.Exits {
		if e.Code != 0 || e.Signal != "" || e.Step == "kill" {
			t.Errorf("an exit: %+v", e)
		}
	}
	d.StopAll()

	s.handled().once(t, messages)
	if n := s.left(); n != 0 {
		t.Errorf("the queue still has %d messages", n)
	}
	runs := s.processes().runs(t)
	t.Logf("%d messages by %d processes, %d engines killed", messages, runs, kills)
	// Each run handles 100 at most. Some more than 50 are what the end of the
	// queue costs; many more would mean that killing engines ends consumers.
	if runs < messages/100 || runs > messages/100+2*kills {
		t.Errorf("%d processes have run, expected a few more than %d", runs, messages/100)
	}
	perRun := map[int]int{}
	for _, e := range s.handled().read(t) {
		perRun[e.PID]++
	}
	for pid, n := range perRun {
		if n > 100 {
			t.Errorf("pid %d handled %d messages, more than max_messages", pid, n)
		}
	}
}

// stoppedInTheMiddle stops consumers that are in the middle of 2 s messages:
// these are finished, what waits stays in the queue, and nothing is lost.
func (s *shop) stoppedInTheMiddle() {
	t := s.t
	const messages, instances, work = 8, 2, 2 * time.Second
	s.setUp()
	s.publish(messages)
	d := startDaemon(t, s.config(int(work.Milliseconds()), "instances: 2", "stop: {grace: 30s}"))
	// The first round is over, and the second well under way.
	eventually(t, patience, "each instance is in its second message", func() bool {
		list := s.handled().read(t)
		return len(list) >= instances && unix(time.Now()) > list[len(list)-1].End+0.3
	})
	c := d.Consumer("orders")
	if len(c.PIDs()) != instances {
		t.Fatalf("%d instances run: %+v", len(c.PIDs()), c)
	}

	began := unix(time.Now())
	var reply replyJSON
	r := d.JSON(&reply, "stop", "orders")
	gone(t, c.PIDs())
	if r.Code != 0 || reply.Killed != 0 || reply.TimedOut {
		t.Errorf("qsuper stop: exit %d, %+v", r.Code, reply)
	}
	within(t, "qsuper stop", r.Took, 100*time.Millisecond, 15*time.Second)
	if len(reply.Outcomes) != instances {
		t.Errorf("%d outcomes, expected %d: %s", len(reply.Outcomes), instances, r.Stdout)
	}
	for _, o := range reply.Outcomes {
		if o.Exit == nil || o.Exit.Class != "stopped" || o.Exit.Code != 0 || o.Exit.Signal != "" || o.Exit.Step != "signal" {
			t.Errorf("outcome of %s/%d: %+v", o.Consumer, o.Slot, o.Exit)
		}
	}
	if c = d.Consumer("orders"); c.State != "stopped" || c.Running != 0 {
		t.Errorf("state %q, running %d after the stop", c.State, c.Running)
	}
	done, cut := s.handled().read(t), 0
	for _, e := range done {
		if e.Start < began && e.End > began {
			cut++
		}
	}
	if cut != instances || len(done) == messages {
		t.Errorf("%d of %d messages were under way when the stop came, expected %d", cut, len(done), instances)
	}
	s.handled().once(t, len(done))
	eventually(t, patience, "nothing is in flight", func() bool { return s.inFlight() == 0 })
	if left := s.left(); left != messages-len(done) {
		t.Errorf("the queue has %d messages, expected %d", left, messages-len(done))
	}

	d.Must("start", "orders")
	eventually(t, patience, "the rest is handled", func() bool { return s.handled().len(t) >= messages })
	d.StopAll()
	s.handled().once(t, messages)
	s.processes().runs(t)
}
