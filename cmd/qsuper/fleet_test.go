package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"qsuper/control"
)

// noon is when golden tests look.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

// scenario is a made-up daemon to look at; now is when it is looked at.
func scenario(name string, now time.Time) *fakeDaemon {
	d := &fakeDaemon{status: control.Status{
		Version: 1,
		Daemon: control.DaemonStatus{
			Name: "shop", Version: "v1.0.0", KeeperPID: 812, EnginePID: 813, StartedAt: now.Add(-52 * time.Hour),
			Config: control.ConfigStatus{Path: "/etc/qsuper/qsuper.yaml", LoadedAt: now.Add(-5 * time.Hour)},
		},
	}}
	st := &d.status
	switch name {
	case "one":
		st.Consumers = []control.ConsumerStatus{running("orders", 1, now)}
	case "empty":
	case "fleet":
		fleet(st, now)
	case "long":
		long(st, now)
	case "fifty":
		for i := range 50 {
			st.Consumers = append(st.Consumers, running(fmt.Sprintf("consumer-%02d", i), 1+i%8, now))
		}
		st.Consumers[17].State, st.Consumers[17].Healthy, st.Consumers[17].Running = "backoff", false, 0
		st.Consumers[17].Reason = "exit 255 after 0.2 s, 9 crashes in a row; next start in 31 s"
	case "thousand":
		st.Consumers = []control.ConsumerStatus{running("orders", 1000, now)}
	case "unicode":
		unicodeFleet(st, now)
	default:
		panic("no scenario " + name)
	}
	d.explain = func(name string) (control.Explain, error) { return explained(name, now) }
	d.do = func(ctx context.Context, c control.Command) (control.CommandReply, error) {
		return d.drain(ctx, c, 4*time.Second)
	}
	d.shutdown = func(ctx context.Context, c control.Shutdown) (control.CommandReply, error) {
		return d.drain(ctx, control.Command{Verb: control.VerbStop, By: c.By, Wait: !c.NoWait}, 4*time.Second)
	}
	d.upgrade = d.upgradeTo
	d.events = []control.Event{
		{Seq: 1, At: now.Add(-time.Minute), Code: "started", Reason: "the daemon started"},
		{Seq: 2, At: now.Add(-time.Minute), Consumer: "orders", Slot: ptr(0), Run: 17, PID: 4242, From: "spawning", To: "running", Code: "ok", Reason: "ready 12 >= 1"},
		{Seq: 3, At: now.Add(-8 * time.Second), Consumer: "mails", Slot: ptr(1), Run: 22, From: "running", To: "waiting", Code: "backoff", Reason: "exit 255 after 0.2 s\n\x1b[2J; next start in 12 s"},
		{Seq: 4, At: now, Consumer: "ticker", Slot: ptr(0), Run: 3, PID: 999, From: "running", To: "draining", Code: "paused", Reason: "paused by anna"},
	}
	d.logs = []control.LogLine{
		{Consumer: "orders", Slot: 0, Text: "[OK] Consuming messages from transport \"orders\"."},
		{Consumer: "orders", Slot: 1, Text: "handled\t4711 \x1b[2J\x07"},
		{Consumer: "mails", Slot: 0, Text: "PHP Fatal error: Uncaught Exception"},
	}
	return d
}

// upgradeTo lets every binary take over but /bad and /old-file.
func (f *fakeDaemon) upgradeTo(u control.Upgrade) control.UpgradeReply {
	r := control.UpgradeReply{Binary: u.Binary, Home: "/usr/bin/qsuper", From: "v1.0.0"}
	if u.Binary == "" {
		r.Binary = r.Home
	}
	switch u.Binary {
	case "/bad":
		r.Refused = "execute /bad: permission denied"
		return r
	case "/old-file":
		r.Refused, r.BadFile = "qsuper.yaml:3: unknown key", true
		return r
	}
	f.set(func(st *control.Status) {
		r.EnginePID = st.Daemon.EnginePID
		st.Daemon.EnginePID, st.Daemon.Version = 900, "v2.0.0"
	})
	return r
}

// drain stops what the command names: all but the last instance at once, that
// one is killed when its grace has passed. Slots change as a daemon's would.
func (f *fakeDaemon) drain(ctx context.Context, c control.Command, grace time.Duration) (control.CommandReply, error) {
	began := time.Now()
	r := f.beginDrain(c, began.Add(grace))
	if !c.Wait {
		r.Outcomes = r.Outcomes[:0]
		return r, nil
	}
	var late <-chan time.Time
	if d := c.Limit(); d > 0 {
		late = time.After(d)
	}
	last := len(r.Outcomes) - 1
	for i := range r.Outcomes {
		share, e := grace*time.Duration(i+1)/time.Duration(2*last+2), control.ExitStatus{Code: 0, Class: "stopped", Step: "signal"}
		if i == last {
			share, e = grace, control.ExitStatus{Code: -1, Signal: "SIGKILL", Class: "stopped", Step: "kill"}
			r.Killed++
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-late:
			r.TimedOut, r.Killed = true, 0
			return r, nil
		case <-time.After(time.Until(began.Add(share))):
		}
		e.StopSeconds = time.Since(began).Seconds()
		f.endSlot(&r.Outcomes[i], e)
	}
	return r, nil
}

// beginDrain turns what runs into draining, with one outcome for each.
func (f *fakeDaemon) beginDrain(c control.Command, deadline time.Time) control.CommandReply {
	r := control.CommandReply{Outcomes: []control.Outcome{}}
	f.set(func(st *control.Status) {
		st.Daemon.Stopping = len(c.Names) == 0
		for i := range st.Consumers {
			consumer := &st.Consumers[i]
			if len(c.Names) > 0 && !named(c.Names, *consumer) {
				continue
			}
			r.Consumers = append(r.Consumers, consumer.Name)
			consumer.State = "stopping"
			for j := range consumer.Slots {
				if s := &consumer.Slots[j]; s.PID != 0 {
					r.Outcomes = append(r.Outcomes, control.Outcome{Consumer: consumer.Name, Slot: s.Slot, Phase: "draining", PID: s.PID})
					s.Phase, s.Deadline = "draining", &deadline
				}
			}
		}
	})
	return r
}

func (f *fakeDaemon) endSlot(o *control.Outcome, e control.ExitStatus) {
	f.set(func(st *control.Status) {
		for _, c := range st.Consumers {
			for k := range c.Slots {
				if s := &c.Slots[k]; c.Name == o.Consumer && s.Slot == o.Slot {
					s.PID, s.Phase, s.Deadline = 0, "halted", nil
				}
			}
		}
	})
	o.Phase, o.PID, o.Exit = "halted", 0, &e
}

func running(name string, n int, now time.Time) control.ConsumerStatus {
	c := control.ConsumerStatus{
		Name: name, State: "running", Healthy: true, Wanted: n, Running: n, Max: n, Since: now.Add(-192 * time.Second),
		Queue: &control.QueueStatus{Connection: "broker", Name: name, State: "ok", Ready: ptr(int64(12)), InFlight: ptr(int64(3)),
			Delayed: ptr(int64(0)), OldestSeconds: ptr(1.5), Consumers: ptr(int64(n)), MeasuredAt: now.Add(-400 * time.Millisecond)},
	}
	for i := range n {
		c.Slots = append(c.Slots, control.SlotStatus{
			Slot: i, Phase: "running", PID: 4242 + i, Since: now.Add(-192 * time.Second), Run: 17, RSSBytes: 64 << 20, CPUPercent: 1.25,
			LastExit: &control.ExitStatus{Run: 16, Code: 0, Class: "recycled", Step: "signal", At: now.Add(-193 * time.Second), Seconds: 600, StopSeconds: 0.4},
		})
	}
	return c
}

// fleet has one of everything.
func fleet(st *control.Status, now time.Time) {
	st.Daemon.Config.Error = "/etc/qsuper/qsuper.yaml:41: consumers.orders.instanzes: unknown key, did you mean \"instances\"?"
	st.Connections = []control.ConnectionStatus{
		{Name: "broker", Type: "rabbitmq", State: "up", LatencyMS: 0.8, Since: now.Add(-52 * time.Hour), CheckedAt: now},
		{Name: "db", Type: "mysql", State: "down", Since: now.Add(-192 * time.Second), CheckedAt: now,
			Error: "dial tcp 127.0.0.1:3306: connect: connection refused"},
	}
	orders := running("orders", 4, now)
	orders.Group = "shop"
	mails := running("mails", 2, now)
	mails.Group, mails.State, mails.Healthy, mails.Running, mails.Since = "mail", "backoff", false, 0, now.Add(-8*time.Second)
	mails.Queue.Ready, mails.Queue.InFlight, mails.Queue.OldestSeconds = ptr(int64(123456)), nil, ptr(5400.0)
	mails.Reason = "exit 255 after 0.2 s, 5 crashes in a row; next start in 12 s"
	for i := range mails.Slots {
		mails.Slots[i] = control.SlotStatus{Slot: i, Phase: "waiting", Since: now.Add(-8 * time.Second), Run: 22, Failures: 5, Code: "backoff",
			Reason:   "exit 255 after 0.2 s, 5 crashes in a row; next start in 12 s",
			LastExit: &control.ExitStatus{Run: 22, Code: 255, Class: "crashed", At: now.Add(-8 * time.Second), Seconds: 0.2}}
	}
	st.Consumers = []control.ConsumerStatus{
		orders, mails,
		{Name: "invoices", State: "waiting", Healthy: true, Max: 8, Code: "empty", Reason: "queue invoices is empty", Since: now.Add(-3 * time.Hour),
			Queue: &control.QueueStatus{Connection: "broker", State: "ok", Ready: ptr(int64(0)), InFlight: ptr(int64(0))}},
		{Name: "exports", State: "waiting", Healthy: true, Wanted: 0, Max: 2, Code: "connection", Since: now.Add(-192 * time.Second),
			Reason: "connection db is down: dial tcp 127.0.0.1:3306: connect: connection refused",
			Queue:  &control.QueueStatus{Connection: "db", State: "unknown", Error: "connection db is down"}},
		{Name: "images", State: "waiting", Healthy: false, Max: 2, Code: "queue_missing", Since: now.Add(-52 * time.Hour),
			Reason: "queue images does not exist on broker", Queue: &control.QueueStatus{Connection: "broker", State: "missing"}},
		{Name: "feeds", State: "stopped", Healthy: true, Max: 1, Code: "stopped", Reason: "stopped by anna, 12 Mar 09:14", Since: now.Add(-50 * time.Hour)},
		{Name: "ticker", State: "stopping", Healthy: true, Wanted: 0, Running: 1, Max: 1, Code: "paused", Reason: "paused by anna; 1 instance finishes, 18 s of grace left", Since: now.Add(-12 * time.Second),
			Slots: []control.SlotStatus{{Slot: 0, Phase: "draining", PID: 999, Since: now.Add(-12 * time.Second), Run: 3, Reason: "paused by anna", Adopted: true, RSSBytes: 1 << 30, CPUPercent: 99.9, Deadline: ptr(now.Add(18 * time.Second))}}},
	}
}

// long has names and reasons as long as they may be.
func long(st *control.Status, now time.Time) {
	a := running(strings.Repeat("very-long-name.", 8)+"eightchr", 64, now)
	b := running("short", 1, now)
	b.State, b.Healthy, b.Running = "held", false, 0
	b.Reason = "the slot lock is held by pid 31337 (php bin/console messenger:consume short --limit=1000 --time-limit=600), which no daemon of this host has started"
	b.Queue.Ready = ptr(int64(999_999_999_999))
	b.Queue.OldestSeconds = ptr(float64(400 * 86400))
	st.Consumers = []control.ConsumerStatus{a, b}
}

func unicodeFleet(st *control.Status, now time.Time) {
	a := running("orders", 2, now)
	b := running("mails", 1, now)
	b.State, b.Running, b.Reason = "waiting", 0, "queue 注文キュー is empty — naïve 🚀 👩‍💻"
	c := running("images", 1, now)
	c.State, c.Running, c.Healthy = "backoff", 0, false
	c.Reason = "it said: \x1b[2J\x1b[31mred\x1b[0m \u202eevil\nsecond line \xff"
	st.Consumers = []control.ConsumerStatus{a, b, c}
	st.Connections = []control.ConnectionStatus{{Name: "кролик", Type: "rabbitmq", State: "down", Error: "接続が拒否されました、サーバーが動いているか確認してください。もう一度お試しください"}}
}

func explained(name string, now time.Time) (control.Explain, error) {
	consumer, _, _ := strings.Cut(name, "/")
	if consumer != "mails" && consumer != "exports" {
		return control.Explain{}, &control.NotFound{Name: name, Suggestion: "mails"}
	}
	if consumer == "exports" {
		return control.Explain{
			Consumer: "exports", State: "waiting", Reason: "connection db is down: dial tcp 127.0.0.1:3306: connect: connection refused",
			Gates: []control.Gate{
				{Name: "stopped", State: "open", Evidence: "not stopped or paused by anybody"},
				{Name: "window", State: "skipped", Evidence: "not configured"},
				{Name: "connection", State: "closed", Evidence: "db (mysql) is down for 3m12s: dial tcp 127.0.0.1:3306: connect: connection refused"},
				{Name: "queue", State: "unknown", Evidence: "connection db is down"},
				{Name: "depth", State: "skipped", Evidence: "not looked at"},
			},
		}, nil
	}
	ex := control.Explain{
		Consumer: "mails", State: "backoff", Wanted: 2, Reason: "exit 255 after 0.2 s, 5 crashes in a row; next start in 12 s",
		Gates: []control.Gate{
			{Name: "stopped", State: "open", Evidence: "not stopped or paused by anybody"},
			{Name: "window", State: "skipped", Evidence: "not configured"},
			{Name: "connection", State: "open", Evidence: "broker up, checked 0.4 s ago"},
			{Name: "queue", State: "open", Evidence: "mails exists"},
			{Name: "depth", State: "open", Evidence: "ready 123456 >= 1, measured 0.4 s ago"},
			{Name: "budget", State: "open", Evidence: "6 of 50 processes, 3.1 GiB of memory free, 512 MiB must stay free"},
			{Name: "start_rate", State: "open", Evidence: "50 per second, none used"},
		},
		Slots: []control.SlotExplain{
			{Slot: 0, Phase: "waiting", Want: "up", Code: "backoff", Reason: "5 crashes in a row, next start in 12 s",
				Gates: []control.Gate{{Name: "backoff", State: "closed", Evidence: "5 failures in a row, last: exit 255; next try in 12.1 s"}, {Name: "lock", State: "skipped", Evidence: "looked at last"}}},
			{Slot: 1, Phase: "waiting", Want: "up", Code: "locked", Reason: "slot held by pid 31337 (php bin/console)",
				Gates: []control.Gate{{Name: "backoff", State: "open"}, {Name: "lock", State: "closed", Evidence: "held by pid 31337 (php bin/console), which no daemon here has started"}}},
		},
	}
	for i := range 5 {
		ex.Exits = append(ex.Exits, control.SlotExit{Slot: i % 2, ExitStatus: control.ExitStatus{Run: uint64(22 - i), Code: 255, Class: "crashed", At: now.Add(-time.Duration(8+i*20) * time.Second), Seconds: 0.2, Detail: "exit 255"}})
	}
	ex.Exits = append(ex.Exits,
		control.SlotExit{Slot: 0, ExitStatus: control.ExitStatus{Run: 17, Code: 0, Class: "recycled", Step: "signal", At: now.Add(-2 * time.Hour), Seconds: 600, StopSeconds: 1.2}},
		control.SlotExit{Slot: 1, ExitStatus: control.ExitStatus{Run: 16, Code: -1, Signal: "SIGKILL", Class: "stopped", Step: "kill", At: now.Add(-3 * time.Hour), Seconds: 7260, StopSeconds: 30}},
		control.SlotExit{Slot: 1, ExitStatus: control.ExitStatus{Run: 15, Code: -1, Class: "unknown", At: now.Add(-26 * time.Hour), Seconds: 3}},
	)
	return ex, nil
}
