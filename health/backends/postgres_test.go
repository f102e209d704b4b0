package backends_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"qsuper/health"
	"qsuper/health/backends"
	"qsuper/health/healthtest"
	"qsuper/test/servers"
)

// postgresRig is a database with the tables of all layouts, and a superuser for
// the probe: that it changes nothing is the probe's doing.
type postgresRig struct {
	*sqlRig
	server   *servers.Postgres
	database string
}

func newPostgresRig(t *testing.T) *postgresRig {
	t.Helper()
	server := servers.PostgreSQL(t)
	name, db := server.NewDatabase(t)
	server.Exec(t, fmt.Sprintf("CREATE USER probe_%s SUPERUSER PASSWORD '%s'", name, strings.ReplaceAll(nasty, "'", "''")))
	t.Cleanup(func() { server.Exec(t, "DROP USER probe_"+name) })
	return &postgresRig{newSQLRig(t, db, postgreSQL), server, name}
}

func (r *postgresRig) url(addr, password string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword("probe_"+r.database, password), Host: addr, Path: "/" + r.database}
	return u.String()
}

func (r *postgresRig) spec(t testing.TB, more string) health.Spec {
	return r.open(t, r.server.Addr, nasty, more)
}

func (r *postgresRig) open(t testing.TB, addr, password, more string) health.Spec {
	return spec(t, "postgres", "{type: postgres, url: %q%s}", r.url(addr, password), more)
}

// sessions counts those of the probe's user.
func (r *postgresRig) sessions(t testing.TB) (n int) {
	t.Helper()
	if err := r.db.QueryRow("SELECT COUNT(*) FROM pg_stat_activity WHERE usename = $1", "probe_"+r.database).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPostgres(t *testing.T) {
	r := newPostgresRig(t)
	r.testServer(t, sqlServer{r.server.Addr, r.open, r.sessions})
}

func TestPostgresOwnQueries(t *testing.T) {
	r := newPostgresRig(t)
	r.testOwnQueries(t, r.spec(t, ""))
	r.testRows(t, r.spec(t, ""))
	for _, c := range r.content(t, "SELECT tablename, false FROM pg_tables WHERE tablename IN ('mine', 'messages')") {
		if c != "messages" {
			t.Errorf("a query left %s", c)
		}
	}
}

// Each statement is in a transaction of its own that refuses to write, whatever
// functions it calls.
func TestPostgresIsReadOnly(t *testing.T) {
	r := newPostgresRig(t)
	r.exec(t, "CREATE FUNCTION sneak() RETURNS INT LANGUAGE sql AS $$ INSERT INTO messages (queue, body) VALUES ('x', 'y') RETURNING 1 $$")
	for _, q := range []string{
		"SELECT sneak()", "SELECT CASE WHEN set_config('transaction_read_only', 'off', true) = 'off' THEN sneak() END",
		"SELECT CASE WHEN set_config('default_transaction_read_only', 'off', false) = 'off' THEN sneak() END",
	} {
		got := reading(t, r.spec(t, ""), health.Queue{SQL: q})
		if got.State != health.Unknown || !strings.Contains(got.Err, "transaction") {
			t.Errorf("%s: got %+v", q, got)
		}
	}
	if left := r.content(t, "SELECT body, false FROM messages"); len(left) > 0 {
		t.Errorf("a query wrote %v", left)
	}
}

// A query that takes for ever is ended on the server, and harms no other.
func TestPostgresSlowQuery(t *testing.T) {
	r := newPostgresRig(t)
	p := health.NewProbe("c", r.spec(t, ", timeout: 2s"), 2*time.Second)
	defer p.Close(context.Background())
	slow := health.Queue{SQL: "SELECT COUNT(*) FROM (SELECT pg_sleep(1000)) AS s"}
	for range 2 {
		testSlowQuery(t, func(q ...health.Queue) health.Observation { return p.Look(t.Context(), q) }, slow.SQL, 2500*time.Millisecond)
		if n := r.sessions(t); n != 1 {
			t.Errorf("%d sessions after a slow query, want the one that lasts", n)
		}
	}
	if o := p.Look(t.Context(), []health.Queue{slow}); !o.Up || o.Readings[0].State != health.Unknown {
		t.Errorf("alone: %+v", o)
	}
}

// A locked table makes its queue unknown, not the server down.
func TestPostgresLockedTable(t *testing.T) {
	r := newPostgresRig(t)
	tx, err := r.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("LOCK TABLE jobs"); err != nil {
		t.Fatal(err)
	}
	o := look(t, r.spec(t, ", timeout: 2s"), health.Queue{Name: "x", Layout: "laravel"})
	if got := o.Readings[0]; !o.Up || got.State != health.Unknown {
		t.Errorf("got %+v", o)
	}
}

// Killed as by a power cut, and back with the same data: seen at once both ways.
func TestPostgresServerRestart(t *testing.T) {
	r := newPostgresRig(t)
	q := health.Queue{Name: "x", Layout: "plain"}
	r.exec(t, "INSERT INTO messages (queue, body) VALUES ('x', 'y')")
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
	r.server.Kill(t)
	r.server.Start(t)
	if o := p.Look(t.Context(), []health.Queue{q}); !o.Up || o.Readings[0].Ready != 1 {
		t.Errorf("started again unseen, but %+v", o)
	}
}

// The number of transactions does not depend on the number of queues.
func TestPostgresOneStatement(t *testing.T) {
	r := newPostgresRig(t)
	var queues []health.Queue
	for i := range 120 {
		queues = append(queues, health.Queue{Name: fmt.Sprint("q", i), Layout: r.layouts()[i%3].name})
	}
	// Statistics of a session are sent at its end at the latest: all others have to be gone.
	r.db.SetMaxIdleConns(0)
	scans := func() (n int) {
		eventually(t, "nobody else is in the database", func() bool {
			var others int
			err := r.db.QueryRow("SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()").Scan(&others)
			return err == nil && others == 0
		})
		if err := r.db.QueryRow("SELECT SUM(seq_scan + COALESCE(idx_scan, 0)) FROM pg_stat_user_tables").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := scans() // the tables' indexes are made by scans as well
	p := health.NewProbe("c", r.spec(t, ""), 30*time.Second)
	defer p.Close(context.Background())
	for range 10 {
		if o := p.Look(t.Context(), queues); !o.Up || o.Readings[0].State != health.OK {
			t.Fatalf("got %+v", o)
		}
	}
	if err := p.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := scans() - before; n != 10*120 { // each look scans the three tables 40 times
		t.Errorf("%d scans, expected %d", n, 10*120)
	}
}

func TestPostgresTLS(t *testing.T) {
	r := newPostgresRig(t)
	encrypted := health.Queue{SQL: "SELECT COUNT(*) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl"}
	if got := reading(t, r.spec(t, ", tls: {ca: "+r.server.CA+"}"), encrypted); got.Ready != 1 {
		t.Errorf("with tls: %+v", got)
	}
	if got := reading(t, r.spec(t, ""), encrypted); got.Ready != 0 {
		t.Errorf("without tls: %+v", got)
	}
	for more, reason := range map[string]string{
		", tls: {}": "certificate", ", tls: {ca: " + r.server.CA + ", server_name: other.example}": "other.example",
	} {
		if o := look(t, r.spec(t, more), encrypted); o.Up || !strings.Contains(o.Err, reason) {
			t.Errorf("%s: %+v", more, o)
		}
	}
	r.server.Exec(t, "CREATE USER secured SUPERUSER")
	t.Cleanup(func() { r.server.Exec(t, "DROP USER secured") })
	secured := fmt.Sprintf("postgres://secured@%s/%s", r.server.Addr, r.database)
	both := fmt.Sprintf("{type: postgres, url: %q, tls: {ca: %q, cert: %[2]q, key: %q}}", secured, r.server.CA, r.server.Key)
	if got := reading(t, spec(t, "postgres", "%s", both), encrypted); got.Ready != 1 {
		t.Errorf("with a client certificate: %+v", got)
	}
	if o := look(t, spec(t, "postgres", "{type: postgres, url: %q, tls: {ca: %q}}", secured, r.server.CA), encrypted); o.Up {
		t.Errorf("without the client certificate it wants: %+v", o)
	}
	plain := serverWithoutTLS(t)
	plainly := spec(t, "postgres", "{type: postgres, url: %q, tls: {ca: %q}}", r.url(plain, nasty), r.server.CA)
	if o := look(t, plainly, encrypted); o.Up || !strings.Contains(o.Err, "refused TLS") {
		t.Errorf("a server without TLS: %+v", o)
	}
}

// serverWithoutTLS answers the question for TLS with no, and minds that nothing
// is sent to it afterwards.
func serverWithoutTLS(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(c, make([]byte, 8))
			_, _ = c.Write([]byte("N"))
			if more, _ := io.ReadAll(c); len(more) > 0 {
				t.Errorf("%d bytes were sent in plain text", len(more))
			}
			c.Close()
		}
	}()
	return l.Addr().String()
}

// Nothing of the environment counts: a file means the same to everybody.
func TestPostgresIgnoresTheEnvironment(t *testing.T) {
	r := newPostgresRig(t)
	t.Setenv("PGHOST", "192.0.2.1")
	t.Setenv("PGPASSWORD", "other")
	t.Setenv("PGSSLMODE", "verify-full")
	t.Setenv("PGOPTIONS", "-c search_path=nowhere")
	t.Setenv("PGAPPNAME", "other")
	got := reading(t, r.spec(t, ""), health.Queue{SQL: "SELECT COUNT(*) FROM pg_stat_activity WHERE pid = pg_backend_pid() AND application_name = 'qsuper' AND current_schema() = 'public'"})
	if got.Ready != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestPostgresRefuses(t *testing.T) {
	refused(t, "postgres", map[string]string{
		"{type: postgres}":                                                      "url is missing",
		`{type: postgres, url: "u:hidden@h/db"}`:                                "url must be",
		`{type: postgres, url: "postgres://u:hidden@h:port/db"}`:                "url must be",
		`{type: postgres, url: "postgres://u:hidden@h/db?sslmode=hidden"}`:      "url must be",
		`{type: postgres, url: "postgres://u:hidden@h/db?sslmode=prefer"}`:      "without a word",
		`{type: postgres, url: "postgres://u@h/db?sslmode=require", tls: {}}`:   "exclude",
		`{type: postgres, url: "postgres://u:hidden@h/db", table_prefix: "m;"}`: "table_prefix",
	})
	o := look(t, spec(t, "postgres", `{type: postgres, url: "postgres://u@127.0.0.1:1/x", password_file: /no/such}`))
	if o.Up || !strings.Contains(o.Err, "password_file") {
		t.Errorf("got %+v", o)
	}
}

// Symfony's trigger and the one for any other table tell of new messages in the
// queue that is looked at, and only of these.
func TestPostgresWatch(t *testing.T) {
	r := newPostgresRig(t)
	for _, s := range []string{
		"CREATE FUNCTION notify_messenger_messages() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('messenger_messages', NEW.queue_name::text); RETURN NEW; END $$",
		"CREATE TRIGGER notify_trigger AFTER INSERT OR UPDATE ON messenger_messages FOR EACH ROW EXECUTE PROCEDURE notify_messenger_messages()",
		backends.NotifyPostgres,
	} {
		r.exec(t, s)
	}
	for _, l := range []layout{r.layouts()[0], r.layouts()[2]} {
		q, other := health.Queue{Name: "watched", Layout: l.name}, health.Queue{Name: "other", Layout: l.name}
		healthtest.Watch(t, healthtest.Watched{
			Spec: r.spec(t, ""), Queue: q,
			Publish: func() { r.on(t, l.publish, q, "a") },
			Aside:   func() { r.on(t, l.publish, other, "b") },
			Cut: func() {
				r.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'probe_"+r.database+"'")
			},
		})
		eventually(t, "the server has no session left", func() bool { return r.sessions(t) == 0 })
	}
	own := health.NewProbe("c", r.spec(t, ""), time.Second)
	conn, err := r.spec(t, "").Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	defer own.Close(context.Background())
	if err := conn.(health.Waker).Watch(t.Context(), []health.Queue{{SQL: "SELECT 1"}}, func() { t.Error("woken by a query") }); err != nil {
		t.Errorf("nothing tells of a query, but %v", err)
	}
}
