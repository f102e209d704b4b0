package test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"qsuper/health/backends"
)

// queue is an SQLite queue of layout plain, "orders", with this test binary as
// its consumer.
type queue struct {
	t    *testing.T
	dir  string
	db   *sql.DB
	kind string // of consumer, see consumerEnv
	ms   int    // that a message takes
	most int    // max_messages; 0 = not set
}

func newQueue(t *testing.T) *queue {
	t.Helper()
	q := &queue{t: t, dir: t.TempDir(), kind: "worker"}
	db, err := openSQLite(q.path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Exec(backends.PlainSQLite); err != nil {
		t.Fatal(err)
	}
	q.db = db
	return q
}

func (q *queue) path() string       { return filepath.Join(q.dir, "queue.db") }
func (q *queue) handled() journal   { return journal(filepath.Join(q.dir, "handled")) }
func (q *queue) processes() journal { return journal(filepath.Join(q.dir, "processes")) }

func (q *queue) publish(n int) {
	q.t.Helper()
	tx, err := q.db.Begin()
	if err != nil {
		q.t.Fatal(err)
	}
	for range n {
		if _, err := tx.Exec("INSERT INTO messages (queue, body) VALUES ('orders', '')"); err != nil {
			q.t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		q.t.Fatal(err)
	}
}

// left is how many messages are not done.
func (q *queue) left() int {
	q.t.Helper()
	var n int
	if err := q.db.QueryRow("SELECT COUNT(*) FROM messages WHERE done_at IS NULL").Scan(&n); err != nil {
		q.t.Fatal(err)
	}
	return n
}

// file is the configuration of the consumer "orders" with further keys.
func (q *queue) file(keys ...string) string {
	q.t.Helper()
	me, err := os.Executable()
	if err != nil {
		q.t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "connections:\n  local: {type: sqlite, path: %q}\nconsumers:\n  orders:\n", q.path())
	if q.most > 0 {
		fmt.Fprintf(&b, "    command: [%q, \"--max-messages={max_messages}\"]\n    max_messages: %d\n", me, q.most)
	} else {
		fmt.Fprintf(&b, "    command: [%q]\n", me)
	}
	b.WriteString("    queue: {connection: local, name: orders}\n")
	for _, k := range keys {
		b.WriteString("    " + k + "\n")
	}
	fmt.Fprintf(&b, "    env: {%s: %s, TEST_DB: %q, TEST_QUEUE: orders, TEST_HANDLED: %q, TEST_PROCESSES: %q, TEST_WORK_MS: \"%d\"}\n",
		consumerEnv, q.kind, q.path(), q.handled(), q.processes(), q.ms)
	return b.String()
}

func TestFromZeroToFourAndBack(t *testing.T) {
	const messages = 400
	q := newQueue(t)
	q.ms, q.most = 20, 40
	d := startDaemon(t, q.file("instances: {min: 0, max: 4, per_instance: 20, cooldown: 500ms}", "idle_timeout: 500ms"))
	if c := d.Consumer("orders"); c.Running != 0 || c.State != "waiting" || c.Reason == "" {
		t.Errorf("before any message: %+v", c)
	}
	q.publish(messages)
	most := 0
	watch := func() consumerJSON {
		c := d.Consumer("orders")
		most = max(most, c.Running)
		return c
	}
	eventually(t, patience, "four instances run", func() bool { return watch().Running == 4 })
	eventually(t, patience, "all messages are handled", func() bool { watch(); return q.handled().len(t) >= messages })
	eventually(t, patience, "no instance runs", func() bool { c := watch(); return c.Running == 0 && c.State == "waiting" })
	if r := d.Run("status"); r.Code != 0 {
		t.Errorf("a queue that is empty is healthy, but status exits with %d:\n%s", r.Code, r.Stdout)
	}
	d.StopAll()
	if most > 4 {
		t.Errorf("%d instances ran at once", most)
	}
	q.handled().once(t, messages)
	if n := q.left(); n != 0 {
		t.Errorf("the queue still has %d messages", n)
	}
	if runs := q.processes().runs(t); runs < messages/q.most {
		t.Errorf("%d processes have run, expected at least %d", runs, messages/q.most)
	}
}

func TestEngineKilledInTheMiddleOfMessages(t *testing.T) {
	const messages = 6
	q := newQueue(t)
	q.ms = 3000
	q.publish(messages)
	d := startDaemon(t, q.file("instances: 2"))
	before := d.UntilRunning("orders", 2)
	for range 3 {
		d.KillEngine()
	}
	if after := d.UntilRunning("orders", 2); fmt.Sprint(after.PIDs()) != fmt.Sprint(before.PIDs()) {
		t.Errorf("pids went from %v to %v", before.PIDs(), after.PIDs())
	}
	// The engine that has adopted them can also end them.
	if r := d.Run("stop", "orders"); r.Code != 0 {
		t.Errorf("stop: exit %d\n%s", r.Code, r.Stdout)
	}
	gone(t, before.PIDs())
	d.Must("start", "orders")
	eventually(t, patience, "all messages are handled", func() bool { return q.handled().len(t) >= messages })
	d.StopAll()
	q.handled().once(t, messages)
	q.processes().runs(t)
}

func TestEngineKilledDuringAStop(t *testing.T) {
	q := newQueue(t)
	q.ms = 3000
	q.publish(2)
	d := startDaemon(t, q.file("instances: 2", "stop: {grace: 20s}"))
	pids := d.UntilRunning("orders", 2).PIDs()
	eventually(t, patience, "both have taken a message", func() bool { return q.taken() == 2 })
	d.Must("stop", "orders", "--no-wait")
	d.KillEngine()
	eventually(t, patience, "the stop goes on", func() bool { c := d.Consumer("orders"); return c.State == "stopped" && c.Running == 0 })
	gone(t, pids)
	d.StopAll()
	q.handled().once(t, 2)
	q.processes().runs(t)
}

// taken is how many messages are with a consumer.
func (q *queue) taken() int {
	q.t.Helper()
	var n int
	if err := q.db.QueryRow("SELECT COUNT(*) FROM messages WHERE done_at IS NULL AND taken_at IS NOT NULL").Scan(&n); err != nil {
		q.t.Fatal(err)
	}
	return n
}

func TestKeeperToldToStop(t *testing.T) {
	q := newQueue(t)
	q.ms = 1000
	q.publish(4)
	d := startDaemon(t, q.file("instances: 2"))
	pids := d.UntilRunning("orders", 2).PIDs()
	eventually(t, patience, "both have taken a message", func() bool { return q.taken() == 2 })
	if err := d.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the keeper ends", d.Over)
	if code := d.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("qsuper run: exit %d", code)
	}
	gone(t, pids)
	if left := processesOf(d.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	q.handled().once(t, q.handled().len(t))
	q.processes().runs(t)
	if n := q.taken(); n != 0 {
		t.Errorf("%d messages were cut off", n)
	}
}
