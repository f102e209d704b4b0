package backends_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"qsuper/health"
	"qsuper/test/servers"
)

// mysqlRig is a database with the tables of all layouts, and a user with every
// right on it: that the probe changes nothing is the probe's doing.
type mysqlRig struct {
	*sqlRig
	server   *servers.Maria
	database string
}

func newMySQLRig(t *testing.T) *mysqlRig {
	t.Helper()
	server := servers.MariaDB(t)
	name, db := server.NewDatabase(t)
	server.Exec(t, fmt.Sprintf("CREATE USER 'probe-%s'@'127.0.0.1' IDENTIFIED BY '%s'", name, strings.ReplaceAll(nasty, "'", "''")))
	server.Exec(t, fmt.Sprintf("GRANT ALL ON *.* TO 'probe-%s'@'127.0.0.1'", name))
	t.Cleanup(func() { server.Exec(t, fmt.Sprintf("DROP USER 'probe-%s'@'127.0.0.1'", name)) })
	return &mysqlRig{newSQLRig(t, db, mariaDB), server, name}
}

func (r *mysqlRig) dsn(addr, password string) string {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = "probe-"+r.database, password, "tcp", addr, r.database
	return c.FormatDSN()
}

func (r *mysqlRig) spec(t testing.TB, more string) health.Spec {
	return r.open(t, r.server.Addr, nasty, more)
}

func (r *mysqlRig) open(t testing.TB, addr, password, more string) health.Spec {
	return spec(t, "mysql", "{type: mysql, dsn: %q%s}", r.dsn(addr, password), more)
}

// connections counts the sessions of the probe's user.
func (r *mysqlRig) connections(t testing.TB) (n int) {
	t.Helper()
	if err := r.db.QueryRow("SELECT COUNT(*) FROM information_schema.processlist WHERE user = ?", "probe-"+r.database).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMySQL(t *testing.T) {
	r := newMySQLRig(t)
	r.testServer(t, sqlServer{r.server.Addr, r.open, r.connections})
}

func TestMySQLOwnQueries(t *testing.T) {
	r := newMySQLRig(t)
	r.testOwnQueries(t, r.spec(t, ""))
	r.testRows(t, r.spec(t, ""))
	r.testLocks(t, r.spec(t, ""), r.db)
	// Several statements at once are not allowed even if the DSN says so.
	s := spec(t, "mysql", "{type: mysql, dsn: %q}", r.dsn(r.server.Addr, nasty)+"?multiStatements=true&interpolateParams=false")
	r.testOwnQueries(t, s)
	for _, c := range r.content(t, "SELECT CONCAT(table_name, ' ', table_rows), 0 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN ('mine', 'messages')") {
		if c != "messages 0" {
			t.Errorf("a query left %s", c)
		}
	}
}

// The session itself refuses to write, whatever the statement.
func TestMySQLSessionIsReadOnly(t *testing.T) {
	r := newMySQLRig(t)
	r.exec(t, "CREATE FUNCTION sneak() RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO messages (queue, body, available_at) VALUES ('x', 'y', 1); RETURN 1; END")
	got := reading(t, r.spec(t, ""), health.Queue{SQL: "SELECT sneak()"})
	if got.State != health.Unknown || !strings.Contains(got.Err, "READ ONLY") {
		t.Errorf("got %+v", got)
	}
	if left := r.content(t, "SELECT body, 0 FROM messages"); len(left) > 0 {
		t.Errorf("a query wrote %v", left)
	}
}

// A query that takes for ever is ended on the server, and harms no other.
func TestMySQLSlowQuery(t *testing.T) {
	r := newMySQLRig(t)
	s := r.spec(t, ", timeout: 2s")
	slow := health.Queue{SQL: "SELECT SLEEP(1000)"}
	for range 2 {
		testSlowQuery(t, func(q ...health.Queue) health.Observation { return look(t, s, q...) }, slow.SQL, 2500*time.Millisecond)
	}
	if o := look(t, s, slow); !o.Up || o.Readings[0].State != health.Unknown {
		t.Errorf("alone: %+v", o)
	}
	eventually(t, "the server has no session left", func() bool { return r.connections(t) == 0 })
}

// A locked table makes its queue unknown, not the server down.
func TestMySQLLockedTable(t *testing.T) {
	r := newMySQLRig(t)
	conn, err := r.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "LOCK TABLES jobs WRITE"); err != nil {
		t.Fatal(err)
	}
	o := look(t, r.spec(t, ", timeout: 2s"), health.Queue{Name: "x", Layout: "laravel"})
	if got := o.Readings[0]; !o.Up || got.State != health.Unknown {
		t.Errorf("got %+v", o)
	}
}

// Killed as by a power cut, and back with the same data.
func TestMySQLServerRestart(t *testing.T) {
	r := newMySQLRig(t)
	q := health.Queue{Name: "x", Layout: "plain"}
	r.exec(t, "SET GLOBAL innodb_flush_log_at_trx_commit = 1") // the message below must survive
	r.exec(t, "INSERT INTO messages (queue, body, available_at) VALUES ('x', 'y', 1)")
	p := health.NewProbe("c", r.spec(t, ""), 5*time.Second)
	defer p.Close(context.Background())
	if o := p.Look(t.Context(), []health.Queue{q}); !o.Up || o.Readings[0].Ready != 1 {
		t.Fatalf("got %+v", o)
	}
	r.server.Kill(t)
	if o := p.Look(t.Context(), []health.Queue{q}); o.Up {
		t.Errorf("killed, but %+v", o)
	}
	r.server.Start(t)
	if o := p.Look(t.Context(), []health.Queue{q}); !o.Up || o.Readings[0].Ready != 1 {
		t.Errorf("started again, but %+v", o)
	}
}

// The number of statements does not depend on the number of queues.
func TestMySQLOneStatement(t *testing.T) {
	r := newMySQLRig(t)
	var queues []health.Queue
	for i := range 120 {
		queues = append(queues, health.Queue{Name: fmt.Sprint("q", i), Layout: layouts[i%len(layouts)].name})
	}
	p := health.NewProbe("c", r.spec(t, ""), 30*time.Second)
	defer p.Close(context.Background())
	count := func() (n int) {
		var name string
		if err := r.db.QueryRow("SHOW GLOBAL STATUS LIKE 'Questions'").Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if o := p.Look(t.Context(), queues); !o.Up {
		t.Fatal(o.Err)
	}
	before := count()
	for range 10 {
		if o := p.Look(t.Context(), queues); !o.Up || o.Readings[0].State != health.OK {
			t.Fatalf("got %+v", o)
		}
	}
	if n := count() - before - 1; n != 10 { // SHOW counts itself
		t.Errorf("10 looks at %d queues were %d statements", len(queues), n)
	}
}

func TestMySQLTLS(t *testing.T) {
	r := newMySQLRig(t)
	cipher := health.Queue{SQL: "SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'"}
	if got := reading(t, r.spec(t, ", tls: {ca: "+r.server.CA+"}"), cipher); got.Ready != 1 {
		t.Errorf("with tls: %+v", got)
	}
	if got := reading(t, r.spec(t, ""), cipher); got.Ready != 0 {
		t.Errorf("without tls: %+v", got)
	}
	for more, reason := range map[string]string{
		", tls: {}": "certificate", ", tls: {ca: " + r.server.CA + ", server_name: other.example}": "other.example",
	} {
		if o := look(t, r.spec(t, more), cipher); o.Up || !strings.Contains(o.Err, reason) {
			t.Errorf("%s: %+v", more, o)
		}
	}
}

func TestMySQLRefuses(t *testing.T) {
	refused(t, "mysql", map[string]string{
		"{type: mysql}":                                               "dsn is missing",
		`{type: mysql, dsn: "u:hidden@tcp(h:1"}`:                      "dsn must be",
		`{type: mysql, dsn: "u:hidden@h/db?tls=hidden"}`:              "dsn must be",
		`{type: mysql, dsn: "u:hidden@tcp(h:1)/db?parseTime=hidden"}`: "dsn must be",
		`{type: mysql, dsn: "/", table_prefix: "m2;"}`:                "table_prefix",
		`{type: mysql, dsn: "/", timeout: 0s}`:                        "must be more than 0",
		`{type: mysql, dsn: "u:hidden@tcp(h:1)/db?tls=preferred"}`:    "fall back to plain text",
	})
	o := look(t, spec(t, "mysql", `{type: mysql, dsn: "u@tcp(127.0.0.1:1)/x", password_file: /no/such}`))
	if o.Up || !strings.Contains(o.Err, "password_file") {
		t.Errorf("got %+v", o)
	}
}
