package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"qsuper/test/servers"
)

// restarted waits until the instances of "orders" have been replaced because of
// restart_on, and returns their pids and how long it took from since until the first
// was asked. words are in the reason.
func restarted(d *daemon, before []int, since time.Time, words ...string) (pids []int, took time.Duration) {
	d.T.Helper()
	eventually(d.T, patience, "all instances are new", func() bool {
		c := d.Consumer("orders")
		pids = c.PIDs()
		return c.Running == len(before) && !slices.ContainsFunc(pids, func(pid int) bool { return slices.Contains(before, pid) })
	})
	gone(d.T, before)
	for line := range strings.Lines(d.Must("events", "orders", "--json").Stdout) {
		var e struct {
			At     time.Time `json:"at"`
			To     string    `json:"to"`
			Code   string    `json:"code"`
			Reason string    `json:"reason"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			d.T.Fatalf("%v: %s", err, line)
		}
		if e.To != "draining" || !e.At.After(since) {
			continue
		}
		for _, w := range words {
			if e.Code != "restart_on" || !strings.Contains(e.Reason, w) {
				d.T.Errorf("asked to finish for %s: %s", e.Code, e.Reason)
			}
		}
		if took == 0 {
			took = e.At.Sub(since)
		}
	}
	if took == 0 {
		d.T.Errorf("no event tells that an instance was asked to finish")
	}
	for _, s := range d.Consumer("orders").Slots {
		if s.LastExit == nil || s.LastExit.Class != "recycled" {
			d.T.Errorf("slot %d ended as %+v", s.Slot, s.LastExit)
		}
	}
	return pids, took
}

// An idle consumer of Magento's kind is replaced by a poison pill within an interval,
// without a message, and once. Magento's own notice with the next message, or never.
func TestPoisonPillReplacesAnIdleConsumer(t *testing.T) {
	a := newApp(t, "magento/bin/magento")
	server := servers.MariaDB(t)
	name, db := server.NewDatabase(t)
	a.env["DATABASE_URL"] = fmt.Sprintf("mysql://root@%s/%s", server.Addr, name)
	a.run("app:setup")
	exec := func(statement string) {
		t.Helper()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("INSERT INTO queue (name) VALUES ('orders')")
	exec("CREATE TABLE queue_poison_pill (version VARCHAR(255) NOT NULL)")
	exec("INSERT INTO queue_poison_pill VALUES ('version-1')")
	d := startDaemon(t, a.file(fmt.Sprintf("{type: mysql, dsn: %q}", server.DSN(name)), "type: magento", "spawn: always",
		`restart_on: [{query: {connection: backend, sql: "SELECT version FROM queue_poison_pill"}}]`))
	before := d.UntilRunning("orders", 1).PIDs()
	gate := func(state, words string) {
		t.Helper()
		eventually(t, patience, "explain says "+words, func() bool {
			var why explainJSON
			d.JSON(&why, "explain", "orders")
			g := why.Gate("restart_on")
			return g.State == state && strings.Contains(g.Evidence, words)
		})
	}
	gate("open", "query on backend has not changed")
	began := time.Now()
	exec("UPDATE queue_poison_pill SET version = 'version-2'")
	before, took := restarted(d, before, began, "query on backend changed")
	t.Logf("noticed and asked to finish after %s", took.Round(time.Millisecond))

	// Not to know is no change.
	exec("RENAME TABLE queue_poison_pill TO away")
	gate("unknown", "doesn't exist")
	exec("RENAME TABLE away TO queue_poison_pill")
	gate("open", "changed")
	if now := d.UntilRunning("orders", 1).PIDs(); now[0] != before[0] {
		t.Errorf("replaced without a change: pid %d, now %d", before[0], now[0])
	}

	// A pill that comes while no engine is there.
	st, _ := d.Status()
	began = time.Now()
	d.KillEngine()
	exec("UPDATE queue_poison_pill SET version = 'version-3'")
	restarted(d, before, began, "query on backend changed")
	if now, _ := d.Status(); now.Daemon.EnginePID == st.Daemon.EnginePID {
		t.Error("it is the same engine")
	}
	d.StopAll()
	for _, e := range a.processes().read(t) {
		if e.Event == "end" && e.Code != 0 {
			t.Errorf("pid %d ended with %d", e.PID, e.Code)
		}
	}
}

// release is a folder of releases with a link to the current one, and a Redis.
type release struct {
	*queue
	server *servers.Redis
}

func newRelease(t *testing.T) *release {
	r := &release{newQueue(t), servers.RedisServer(t)}
	for _, n := range []string{"1", "2"} {
		r.must(os.MkdirAll(r.at("releases", n, "etc"), 0o755))
		r.write("<?php return 1;", "releases", n, "etc", "env.php")
	}
	r.must(os.Symlink(r.at("releases", "1"), r.at("current")))
	r.write("a1b2", "revision")
	r.key("1700000000")
	return r
}

func (r *release) at(name ...string) string { return filepath.Join(r.dir, filepath.Join(name...)) }
func (r *release) key(value string)         { r.server.Do(r.t, "SET", "signals:restart", value) }
func (r *release) write(text string, name ...string) {
	r.t.Helper()
	r.must(os.WriteFile(r.at(name...), []byte(text), 0o644))
}
func (r *release) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// daemon runs three instances that heed all kinds of signals.
func (r *release) daemon() *daemon {
	keys := fmt.Sprintf("restart_on: [{file: %q}, {file: %q}, {redis: {connection: cache, key: \"signals:restart\"}}, {command: [cat, %q]}]",
		r.at("current"), r.at("current/etc/env.php"), r.at("revision"))
	file := r.file("instances: 3", "spawn: always", keys)
	return startDaemon(r.t, strings.Replace(file, "connections:\n", fmt.Sprintf("connections:\n  cache: {type: redis, url: \"redis://%s/0\"}\n", r.server.Addr), 1))
}

// known waits until nobody doubts how everything in restart_on is.
func known(d *daemon) {
	d.T.Helper()
	eventually(d.T, patience, "all signals are known", func() bool {
		var why explainJSON
		d.JSON(&why, "explain", "orders")
		return why.Gate("restart_on").State == "open"
	})
}

// A deploy switches a link under running consumers; a file, a key and a command do the same.
func TestRestartSignals(t *testing.T) {
	for what, change := range map[string]func(r *release) (reason string){
		"a release is switched": func(r *release) string {
			r.must(os.Symlink(r.at("releases", "2"), r.at("next")))
			r.must(os.Rename(r.at("next"), r.at("current")))
			return "file " + r.at("current") // and what lies below it
		},
		"settings are written": func(r *release) string {
			r.write("<?php return 2 ;", "releases", "1", "etc", "env.php")
			return "file " + r.at("current/etc/env.php") + " changed"
		},
		"a key is set": func(r *release) string { r.key("1700000001"); return "key signals:restart on cache changed" },
		"a command prints something else": func(r *release) string {
			r.write("c3d4", "revision")
			return "command \"cat /"
		},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRelease(t)
			d := r.daemon()
			pids := d.UntilRunning("orders", 3).PIDs()
			known(d)
			began := time.Now()
			reason := change(r)
			_, took := restarted(d, pids, began, reason)
			t.Logf("the first is asked to finish after %s, all are new after %s", took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
			d.StopAll()
			r.processes().runs(t)
		})
	}
}

// A file that is missing for a moment, a folder in use, a server that is away and comes
// back empty are no change.
func TestWhatIsNoRestartSignal(t *testing.T) {
	r := newRelease(t)
	d := r.daemon()
	pids := d.UntilRunning("orders", 3).PIDs()
	known(d)
	r.must(os.Rename(r.at("current"), r.at("hidden")))
	unknown := func(notThere int, words string) {
		t.Helper()
		eventually(t, patience, "nobody knows", func() bool {
			var why explainJSON
			d.JSON(&why, "explain", "orders")
			g := why.Gate("restart_on")
			return g.State == "unknown" && strings.Count(g.Evidence, "it is not there") == notThere && strings.Contains(g.Evidence, words)
		})
	}
	r.server.Kill(t)
	unknown(2, "key signals:restart on cache unknown: ")
	r.server.Start(t)
	unknown(3, "key signals:restart on cache unknown: it is not there")
	r.must(os.Rename(r.at("hidden"), r.at("current")))
	r.write("", "releases", "1", "maintenance.flag")
	r.key("1700000000")
	known(d)
	if now := d.UntilRunning("orders", 3).PIDs(); fmt.Sprint(now) != fmt.Sprint(pids) {
		t.Fatalf("replaced without a change: pids %v, now %v", pids, now)
	}
	d.StopAll()
	r.processes().runs(t)
}

// A schedule replaces what was started before each of its moments.
func TestRestartSchedule(t *testing.T) {
	q := newQueue(t)
	d := startDaemon(t, q.file("spawn: always", `restart_on: [{schedule: "*/10 * * * * *"}]`))
	before := d.UntilRunning("orders", 1).PIDs()
	restarted(d, before, time.Now(), "restart_on schedule")
}
