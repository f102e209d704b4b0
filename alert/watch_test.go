package alert

import (
	"testing"
	"time"

	"qsuper/config"
	"qsuper/control"
	"qsuper/health"
)

// look is one look of a story: what the queue says, and what is to be told.
type look struct {
	ready  int64 // -1: nobody knows
	oldest float64
	mod    func(*control.ConsumerStatus)
	want   string // state of the one notice; "" = none
}

// story plays looks, 5 s apart, against one alert of the consumer "orders".
func story(t *testing.T, a *config.Alert, looks []look) {
	t.Helper()
	w := newWatch()
	w.configure([]*config.Alert{a})
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for i, l := range looks {
		now = now.Add(every)
		c := control.ConsumerStatus{Name: "orders", State: "running", Running: 1, Queue: &control.QueueStatus{State: "ok", Ready: &l.ready, OldestSeconds: &l.oldest}}
		if l.ready < 0 {
			c.Queue = &control.QueueStatus{State: "unknown"}
		}
		if l.mod != nil {
			l.mod(&c)
		}
		st := control.Status{Consumers: []control.ConsumerStatus{c, {Name: "other", State: "running"}}}
		got := ""
		for _, n := range w.look(st, nil, now) {
			got += n.State
			if n.Subject != "orders" || n.State == Firing && n.Text == "" {
				t.Errorf("look %d: %+v", i, n)
			}
		}
		if got != l.want {
			t.Errorf("look %d: told %q, want %q", i, got, l.want)
		}
	}
}

func depth(n int64, lasting time.Duration) *config.Alert {
	return &config.Alert{Name: "deep", For: lasting, When: config.When{Consumer: "orders", Depth: n}}
}

func TestOneMessageOnEntryAndOneOnRecovery(t *testing.T) {
	story(t, depth(100, 10*time.Second), []look{
		{ready: 99}, {ready: 100}, {ready: 150}, {ready: 200, want: Firing}, {ready: 300}, {ready: 300},
		{ready: 50}, {ready: 50}, {ready: 50, want: Resolved}, {ready: 0},
	})
}

func TestAroundTheLimitIsToldOnce(t *testing.T) {
	story(t, depth(100, 0), []look{
		{ready: 100, want: Firing}, {ready: 99}, {ready: 101}, {ready: 85}, {ready: 81}, {ready: 79, want: Resolved}, {ready: 99}, {ready: 100, want: Firing},
	})
}

func TestAShortPeakIsNotTold(t *testing.T) {
	story(t, depth(100, 10*time.Second), []look{{ready: 500}, {ready: 500}, {ready: 10}, {ready: 500}, {ready: 500}, {ready: 10}})
}

// TestUnknownIsNeitherGoodNorBad: an outage of the broker neither raises what
// depends on its numbers nor ends it.
func TestUnknownIsNeitherGoodNorBad(t *testing.T) {
	story(t, depth(100, 5*time.Second), []look{
		{ready: 500}, {ready: -1}, {ready: 500}, {ready: 500, want: Firing}, {ready: -1}, {ready: -1}, {ready: -1}, {ready: 10}, {ready: -1}, {ready: 10}, {ready: 10, want: Resolved},
	})
}

func TestOldest(t *testing.T) {
	a := &config.Alert{Name: "late", When: config.When{Consumer: "*", Oldest: 5 * time.Minute}}
	story(t, a, []look{{ready: 3, oldest: 299}, {ready: 3, oldest: 300, want: Firing}, {ready: 1, oldest: 250}, {ready: 0, want: Resolved}})
}

func TestUnserved(t *testing.T) {
	idle := func(c *control.ConsumerStatus) { c.Running, c.State, c.Reason = 0, "stopped", "stopped by a person" }
	a := &config.Alert{Name: "nobody", When: config.When{Is: config.Unserved}}
	story(t, a, []look{{ready: 5}, {ready: 0, mod: idle}, {ready: 5, mod: idle, want: Firing}, {ready: 5, want: Resolved}})
}

func TestStuck(t *testing.T) {
	busy := func(n int64) func(*control.ConsumerStatus) {
		return func(c *control.ConsumerStatus) { c.Queue.InFlight = &n }
	}
	a := &config.Alert{Name: "stuck", For: 10 * time.Second, When: config.When{Is: config.Stuck}}
	story(t, a, []look{
		{ready: 5}, {ready: 4}, {ready: 4, mod: busy(1)}, {ready: 4, mod: busy(2)}, {ready: 4, mod: busy(1)}, // something moves
		{ready: 4, mod: busy(1)}, {ready: 6, mod: busy(1)}, {ready: 6, mod: busy(1), want: Firing}, {ready: 5, mod: busy(1)}, {ready: 4, mod: busy(1)}, {ready: 3, mod: busy(1), want: Resolved},
	})
}

func TestDrain(t *testing.T) {
	a := &config.Alert{Name: "slow", When: config.When{Drain: 10 * time.Minute}}
	var looks []look
	for i := range 13 { // a minute of 1 message a second, with 500 left: too little is known at first
		looks = append(looks, look{ready: int64(1000 - 5*i)})
	}
	looks[12].want = Firing // 940 left at 1/s: 15 min
	for i := range 24 {     // then 10 a second
		looks = append(looks, look{ready: int64(900 - 30*i)})
	}
	looks[14].want = Resolved // 870 left at 130 in 70 s: 468 s, below 80 % of the limit
	story(t, a, looks)
	story(t, a, []look{{ready: 10}, {ready: 10}, {ready: 0}})
}

// TestCrashLoop: one crash is none, and one that runs between two crashes is still in it.
func TestCrashLoop(t *testing.T) {
	crashes := func(n uint64, state, code string) look {
		return look{mod: func(c *control.ConsumerStatus) {
			c.Crashes, c.State, c.Code, c.Reason = n, state, code, "crashed with exit code 7"
		}}
	}
	a := &config.Alert{Name: "crashing", When: config.When{Is: config.CrashLoop}}
	on := func(l look) look { l.want = Firing; return l }
	looks := []look{
		crashes(50, "running", "ok"), // before anybody looked
		crashes(51, "backoff", "backoff"), crashes(52, "running", "ok"), crashes(52, "backoff", "backoff"),
		on(crashes(53, "backoff", "backoff")), crashes(53, "running", "ok"), crashes(1, "backoff", "backoff"), // another engine
	}
	for range 119 {
		looks = append(looks, crashes(1, "running", "ok"))
	}
	over := crashes(1, "running", "ok")
	over.want = Resolved
	story(t, a, append(looks, over, crashes(2, "backoff", "backoff")))
	story(t, a, []look{crashes(0, "running", "ok"), on(crashes(1, "waiting", "breaker"))})
}

// TestSpinning: between two pauses the consumer runs for an instant.
func TestSpinning(t *testing.T) {
	paced := func(c *control.ConsumerStatus) {
		c.State, c.Code, c.Reason = "waiting", "paced", "spinning: ended after 10 ms ten times"
	}
	a := &config.Alert{Name: "spinning", When: config.When{Is: config.Spinning}}
	looks := []look{{}, {mod: paced, want: Firing}, {}, {mod: paced}}
	for range 11 {
		looks = append(looks, look{})
	}
	story(t, a, append(looks, look{want: Resolved}, look{mod: paced, want: Firing}))
}

// TestKilledIsToldOnceAndEnds: a count that falls belongs to another engine.
func TestKilledIsToldOnceAndEnds(t *testing.T) {
	kills := func(n uint64) func(*control.ConsumerStatus) {
		return func(c *control.ConsumerStatus) { c.StopSteps = map[string]uint64{"kill": n, "signal": 7} }
	}
	a := &config.Alert{Name: "killed", When: config.When{Is: config.Killed}}
	looks := []look{{}, {mod: kills(0)}, {mod: kills(1), want: Firing}, {mod: kills(2)}, {mod: kills(0)}, {mod: kills(1)}}
	for range 119 {
		looks = append(looks, look{mod: kills(1)})
	}
	story(t, a, append(looks, look{mod: kills(1), want: Resolved}))
}

func TestGrowingAndConnections(t *testing.T) {
	w := newWatch()
	failed := &config.Queue{Connection: "db", Queue: health.Queue{Name: "failed"}}
	w.configure([]*config.Alert{
		{Name: "failed", When: config.When{Queue: failed, Is: config.Growing}},
		{Name: "db", When: config.When{Connection: "db", Is: config.Down}},
	})
	now := time.Now()
	for i, c := range []struct {
		ready int64
		state string
		want  int
	}{{3, "up", 0}, {3, "unknown", 0}, {4, "down", 2}, {4, "down", 0}, {5, "up", 1}, {2, "up", 1}, {2, "up", 0}} {
		now = now.Add(every)
		of := func(*config.Queue) control.QueueStatus { return control.QueueStatus{State: "ok", Ready: &c.ready} }
		st := control.Status{Connections: []control.ConnectionStatus{{Name: "db", State: c.state, Error: "refused"}}}
		if got := w.look(st, of, now); len(got) != c.want {
			t.Errorf("look %d: %+v", i, got)
		}
	}
}

// TestReloadEndsWhatIsGone: what fired on a consumer that left the file is resolved; an alert that left is forgotten.
func TestReloadEndsWhatIsGone(t *testing.T) {
	w := newWatch()
	a := depth(1, 0)
	w.configure([]*config.Alert{a})
	ready := int64(5)
	st := control.Status{Consumers: []control.ConsumerStatus{{Name: "orders", Queue: &control.QueueStatus{State: "ok", Ready: &ready}}}}
	if n := w.look(st, nil, time.Now()); len(n) != 1 || n[0].State != Firing {
		t.Fatal(n)
	}
	if n := w.look(control.Status{}, nil, time.Now()); len(n) != 1 || n[0].State != Resolved {
		t.Error(n)
	}
	w.look(st, nil, time.Now())
	w.configure(nil)
	if n := w.look(st, nil, time.Now()); len(n) != 0 || len(w.items) != 0 {
		t.Error(n)
	}
}

func TestJobs(t *testing.T) {
	w := newWatch()
	w.configure([]*config.Alert{
		{Name: "failed", When: config.When{Job: "*", Is: config.Failed}},
		{Name: "late", When: config.When{Job: "@nightly", Is: config.Late}},
	})
	now := time.Now()
	for i, c := range []struct {
		job  control.JobStatus
		want string
	}{
		{control.JobStatus{Healthy: true}, ""},
		{control.JobStatus{Healthy: true, Last: &control.JobEnd{Code: 3, Class: "crashed"}}, "failed firing, "},
		{control.JobStatus{Healthy: true, Last: &control.JobEnd{Code: -1, Class: "stopped"}}, ""},
		{control.JobStatus{Healthy: true, Last: &control.JobEnd{Class: "clean"}}, "failed resolved, "},
		{control.JobStatus{Reason: "the host cannot start a process now"}, "late firing, "},
		{control.JobStatus{Healthy: true}, "late resolved, "},
		{control.JobStatus{Healthy: true, Skipped: 1}, "late firing, "},
	} {
		now = now.Add(every)
		c.job.Name, c.job.Group = "reindex", "nightly"
		got := ""
		for _, n := range w.look(control.Status{Jobs: []control.JobStatus{c.job, {Name: "other", Healthy: true}}}, nil, now) {
			got += n.Alert + " " + n.State + ", "
		}
		if got != c.want {
			t.Errorf("look %d: told %q, want %q", i, got, c.want)
		}
	}
}
