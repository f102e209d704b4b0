package test

import (
	"strings"
	"testing"
)

// pace is what explain says of max_wait.
func pace(d *daemon) string {
	var why explainJSON
	d.JSON(&why, "explain", "orders")
	g := why.Gate("pace")
	return g.Evidence
}

// With max_wait nothing runs while nothing waits; the first message brings one,
// many bring more as soon as it is known how quick one is, and all go again.
func TestMaxWaitFromZeroAndBack(t *testing.T) {
	const messages = 800
	q := newQueue(t)
	q.ms, q.most = 50, 100
	d := startDaemon(t, q.file("instances: {min: 0, max: 8, max_wait: 8s, cooldown: 1s}", "idle_timeout: 1s"))
	if c := d.Consumer("orders"); c.Running != 0 || c.State != "waiting" {
		t.Errorf("before any message: %+v", c)
	}
	q.publish(1)
	eventually(t, patience, "the first message is handled", func() bool { return q.handled().len(t) == 1 })
	eventually(t, patience, "no instance runs", func() bool { return d.Consumer("orders").Running == 0 })
	q.publish(messages - 1)
	most := 0
	eventually(t, patience, "three instances or more run", func() bool {
		most = max(most, d.Consumer("orders").Running)
		return most >= 3
	})
	if p := pace(d); !strings.Contains(p, "messages a second") || !strings.Contains(p, "of 8s") {
		t.Errorf("explain says %q", p)
	}
	eventually(t, patience, "all messages are handled", func() bool { return q.handled().len(t) >= messages })
	eventually(t, patience, "no instance runs", func() bool { c := d.Consumer("orders"); return c.Running == 0 && c.State == "waiting" })
	d.StopAll()
	q.handled().once(t, messages)
	q.processes().runs(t)
}

// Where all wait for one lock, more instances are not quicker: qsuper notices,
// and keeps to a few.
func TestMaxWaitWhereMoreDoNotHelp(t *testing.T) {
	const limit, most = 20, 8
	q := newQueue(t)
	q.kind, q.ms, q.most = "serial", 50, 100
	d := startDaemon(t, q.file("instances: {min: 0, max: 20, max_wait: 5s, cooldown: 1s}", "idle_timeout: 1s"))
	q.publish(1000)
	peak := 0
	eventually(t, patience, "qsuper sees that more do not help", func() bool {
		peak = max(peak, d.Consumer("orders").Running)
		return strings.Contains(pace(d), "did not help")
	})
	if peak > most {
		t.Errorf("%d of %d instances ran before it was seen that more do not help", peak, limit)
	}
	eventually(t, patience, "few are wanted", func() bool { return d.Consumer("orders").Wanted <= 3 })
	t.Logf("%d at most; %s", peak, pace(d))
	left := q.left()
	eventually(t, patience, "it goes on", func() bool { return q.left() < left })
	d.Must("stop", "orders")
	d.StopAll()
	q.processes().runs(t)
}
