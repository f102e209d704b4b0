package backends_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"qsuper/health"
	"qsuper/health/backends"
	"qsuper/health/healthtest"
)

// flavour is a kind of database.
type flavour string

const (
	mariaDB    flavour = "mysql"
	sqLite     flavour = "sqlite"
	postgreSQL flavour = "postgres"
)

// layout is how a framework keeps its messages, for the tests of all databases.
// Words of statements in braces are explained at sqlRig.words.
type layout struct {
	name    string
	schema  func(flavour) []string
	queue   string // "" = queues are made by publishing
	publish string
	take    string
	delay   string
	content string // body and whether anybody touched it
}

var layouts = []layout{{
	name:    "symfony",
	schema:  func(f flavour) []string { return []string{fmt.Sprintf(symfonySchema, serial(f), moment(f))} },
	publish: "INSERT INTO messenger_messages (body, headers, queue_name, created_at, available_at) VALUES ({b}, '', {q}, {utc}, {utc})",
	take:    "UPDATE messenger_messages SET delivered_at = {utc} WHERE queue_name = {q} AND body = 'a'",
	delay:   "INSERT INTO messenger_messages (body, headers, queue_name, created_at, available_at) VALUES ('later', '', {q}, {utc}, '2999-01-01 00:00:00')",
	content: "SELECT body, delivered_at IS NOT NULL FROM messenger_messages WHERE queue_name = {q} ORDER BY id",
}, {
	name:    "laravel",
	schema:  func(f flavour) []string { return []string{fmt.Sprintf(laravelSchema, serial(f))} },
	publish: "INSERT INTO jobs (queue, payload, attempts, available_at, created_at) VALUES ({q}, {b}, 0, {unix}, {unix})",
	take:    "UPDATE jobs SET reserved_at = {unix}, attempts = 1 WHERE queue = {q} AND payload = 'a'",
	delay:   "INSERT INTO jobs (queue, payload, attempts, available_at, created_at) VALUES ({q}, 'later', 0, {unix} + 3600, {unix})",
	content: "SELECT payload, attempts FROM jobs WHERE queue = {q} ORDER BY id",
}, {
	name: "plain",
	schema: func(f flavour) []string {
		return statements(map[flavour]string{mariaDB: backends.PlainMySQL, sqLite: backends.PlainSQLite, postgreSQL: backends.PlainPostgres}[f])
	},
	publish: "INSERT INTO messages (queue, body, available_at) VALUES ({q}, {b}, {unix})",
	take:    "UPDATE messages SET taken_at = {unix}, taken_by = 'me' WHERE queue = {q} AND body = 'a'",
	delay:   "INSERT INTO messages (queue, body, available_at) VALUES ({q}, 'later', {unix} + 3600)",
	content: "SELECT body, taken_at IS NOT NULL OR done_at IS NOT NULL FROM messages WHERE queue = {q} ORDER BY id",
}, {
	name:    "magento",
	schema:  magentoSchema,
	queue:   "INSERT INTO queue (name) VALUES ({q})",
	publish: "INSERT INTO queue_message_status (queue_id, message_id, status) SELECT id, (SELECT COUNT(*) + 1 FROM queue_message_status s), 2 FROM queue WHERE name = {q}; INSERT INTO queue_message (topic_name, body) VALUES ('t', {b})",
	take:    "UPDATE queue_message_status SET status = 3 WHERE queue_id = (SELECT id FROM queue WHERE name = {q}) AND message_id = (SELECT MIN(id) FROM queue_message WHERE body = 'a')",
	content: "SELECT m.body, s.status <> 2 OR s.number_of_trials > 0 FROM queue_message_status s JOIN queue q ON q.id = s.queue_id JOIN queue_message m ON m.id = s.message_id WHERE q.name = {q} ORDER BY s.id",
}}

const symfonySchema = `CREATE TABLE messenger_messages (id %s, body TEXT NOT NULL, headers TEXT NOT NULL, queue_name VARCHAR(190) NOT NULL,
	created_at %[2]s NOT NULL, available_at %[2]s NOT NULL, delivered_at %[2]s DEFAULT NULL)`

const laravelSchema = `CREATE TABLE jobs (id %s, queue VARCHAR(190) NOT NULL, payload TEXT NOT NULL, attempts INTEGER NOT NULL,
	reserved_at INTEGER NULL, available_at INTEGER NOT NULL, created_at INTEGER NOT NULL)`

func magentoSchema(f flavour) []string {
	updated := "DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP"
	if f == mariaDB {
		updated = "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"
	}
	return []string{
		fmt.Sprintf("CREATE TABLE queue (id %s, name VARCHAR(190) UNIQUE)", serial(f)),
		fmt.Sprintf("CREATE TABLE queue_message (id %s, topic_name VARCHAR(190), body TEXT)", serial(f)),
		fmt.Sprintf("CREATE TABLE queue_message_status (id %s, queue_id INTEGER NOT NULL, message_id BIGINT NOT NULL, updated_at %s, status INTEGER NOT NULL, number_of_trials INTEGER NOT NULL DEFAULT 0, UNIQUE (queue_id, message_id))",
			serial(f), updated),
	}
}

func serial(f flavour) string {
	return map[flavour]string{
		mariaDB: "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY", sqLite: "INTEGER PRIMARY KEY AUTOINCREMENT", postgreSQL: "BIGSERIAL PRIMARY KEY",
	}[f]
}

func moment(f flavour) string {
	if f == postgreSQL {
		return "TIMESTAMP(0) WITHOUT TIME ZONE"
	}
	return "DATETIME"
}

func statements(text string) []string {
	return slices.DeleteFunc(strings.Split(text, ";\n"), func(s string) bool { return strings.TrimSpace(s) == "" })
}

// sqlRig is a database with the tables of all layouts.
type sqlRig struct {
	db *sql.DB
	flavour
	names atomic.Int64
}

func newSQLRig(t testing.TB, db *sql.DB, f flavour) *sqlRig {
	r := &sqlRig{db: db, flavour: f}
	for _, l := range r.layouts() {
		for _, s := range l.schema(f) {
			r.exec(t, s)
		}
	}
	return r
}

// sqlServer is a server as the tests of all databases need it.
type sqlServer struct {
	addr     string
	open     func(t testing.TB, addr, password, more string) health.Spec
	sessions func(testing.TB) int // of the probe's user
}

// testServer runs the suite for each layout: the first has to stand what the network
// does, and the others have their password from a file.
func (r *sqlRig) testServer(t *testing.T, s sqlServer) {
	for i, l := range r.layouts() {
		suite := healthtest.Suite{
			Addr: s.addr, Password: nasty, Queues: r.queues(l), Row: string(r.flavour) + "/" + l.name,
			Spec: func(t *testing.T, addr, password string) health.Spec { return s.open(t, addr, password, "") },
		}
		if i > 0 {
			suite.Addr, suite.Password = "", ""
			suite.Spec = func(t *testing.T, _, _ string) health.Spec {
				file := filepath.Join(t.TempDir(), "password")
				if err := os.WriteFile(file, []byte(nasty+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				return s.open(t, s.addr, "old", fmt.Sprintf(", password_file: %q", file))
			}
		}
		t.Run(l.name, func(t *testing.T) { healthtest.Run(t, suite) })
		eventually(t, "the server has no session left", func() bool { return s.sessions(t) == 0 })
	}
	t.Run("rules", func(t *testing.T) { r.testLayoutRules(t, s.open(t, s.addr, nasty, "")) })
}

// testSlowQuery: one that takes for ever is ended, and harms no other.
func testSlowQuery(t *testing.T, look func(...health.Queue) health.Observation, slow string, limit time.Duration) {
	t.Helper()
	o := look(health.Queue{SQL: slow}, health.Queue{Name: "x", Layout: "plain"}, health.Queue{SQL: "SELECT 4"})
	var got []string
	for _, r := range o.Readings {
		got = append(got, fmt.Sprintf("%s %d", r.State, r.Ready))
	}
	if text := strings.Join(got, ", "); !o.Up || text != "unknown -1, ok 0, ok 4" || o.Latency > limit {
		t.Errorf("got %s in %s: %+v", text, o.Latency, o)
	}
}

// layouts are those that the database knows; magento is the last of all.
func (r *sqlRig) layouts() []layout {
	if r.flavour == postgreSQL {
		return layouts[:len(layouts)-1]
	}
	return layouts
}

func (r *sqlRig) exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	if _, err := r.db.Exec(r.words(statement, "", ""), args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// words puts the quoted name of a queue for {q}, a quoted body for {b}, and the
// dialect's present for {utc} and {unix}.
func (r *sqlRig) words(statement, queue, body string) string {
	quoted := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	utc, unix := "datetime('now')", "unixepoch()"
	switch r.flavour {
	case mariaDB:
		utc, unix = "UTC_TIMESTAMP()", "UNIX_TIMESTAMP()"
	case postgreSQL:
		utc, unix = "(now() AT TIME ZONE 'UTC')", "FLOOR(EXTRACT(EPOCH FROM now()))"
	}
	return strings.NewReplacer("{q}", quoted(queue), "{b}", quoted(body), "{utc}", utc, "{unix}", unix).Replace(statement)
}

// on runs statements about a queue and a message.
func (r *sqlRig) on(t testing.TB, text string, q health.Queue, body string) {
	t.Helper()
	for _, s := range strings.Split(text, "; ") {
		r.exec(t, r.words(s, q.Name, body))
	}
}

// queues is a layout for the conformance suite.
func (r *sqlRig) queues(l layout) *healthtest.Queues {
	qs := &healthtest.Queues{
		New: func(t *testing.T) health.Queue {
			q := health.Queue{Name: fmt.Sprintf("ürgent 'x' %d", r.names.Add(1)), Layout: l.name}
			if l.queue != "" {
				r.on(t, l.queue, q, "")
			}
			return q
		},
		Broken: func(*testing.T) health.Queue { return health.Queue{SQL: "SELECT nothing FROM nowhere"} },
		Publish: func(t *testing.T, q health.Queue, bodies ...string) {
			for _, b := range bodies {
				r.on(t, l.publish, q, b)
			}
		},
		Take: func(t *testing.T, q health.Queue) { r.on(t, l.take, q, "") },
		Content: func(t *testing.T, q health.Queue) []string {
			return r.content(t, r.words(l.content, q.Name, ""))
		},
		RoundTrips: 1,
	}
	qs.Age = func(t *testing.T, q health.Queue) { qs.Publish(t, q, "a") }
	if l.delay != "" {
		qs.Delay = func(t *testing.T, q health.Queue) { r.on(t, l.delay, q, "") }
	}
	qs.Missing = func(*testing.T) health.Queue { return health.Queue{Name: "x", Layout: "plain", Table: "no_such_table"} }
	if l.queue != "" {
		qs.Missing = func(*testing.T) health.Queue { return health.Queue{Name: "nobody's", Layout: l.name} }
	}
	return qs
}

func (r *sqlRig) content(t testing.TB, query string) []string {
	t.Helper()
	rows, err := r.db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var bodies []string
	for rows.Next() {
		var body string
		var touched string // a number, or PostgreSQL's boolean
		if err := rows.Scan(&body, &touched); err != nil {
			t.Fatal(err)
		}
		if touched != "0" && touched != "false" {
			body += " was touched"
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// testLayoutRules are the finer points of each layout.
func (r *sqlRig) testLayoutRules(t *testing.T, s health.Spec) {
	want := func(q health.Queue, ready, flight, delayed int64, oldest time.Duration) {
		t.Helper()
		got := reading(t, s, q)
		if got.State != health.OK || got.Ready != ready || got.InFlight != flight || got.Delayed != delayed ||
			got.Oldest < oldest-time.Second || got.Oldest > oldest+time.Minute { // whole seconds may be rounded
			t.Errorf("%s: want ready %d, in flight %d, delayed %d, oldest %s; got %+v", q.Layout, ready, flight, delayed, oldest, got)
		}
	}
	ago := func(s int) string {
		if r.flavour != sqLite {
			return fmt.Sprintf("{utc} - INTERVAL '%d' SECOND", s)
		}
		return fmt.Sprintf("datetime('now', '-%d seconds')", s)
	}
	q := health.Queue{Name: "rules", Layout: "symfony"}
	insert := "INSERT INTO messenger_messages (body, headers, queue_name, created_at, available_at, delivered_at) VALUES ('', '', 'rules', {utc}, %s, %s)"
	r.exec(t, fmt.Sprintf(insert, ago(600), "NULL"))
	r.exec(t, fmt.Sprintf(insert, ago(7300), ago(3700)))               // redelivered
	r.exec(t, fmt.Sprintf(insert, ago(7000), ago(3500)))               // still with its consumer
	r.exec(t, fmt.Sprintf(insert, ago(9000), "'9999-12-31 23:59:59'")) // done, in older releases
	want(q, 2, 1, 0, 7300*time.Second)

	q.Layout = "laravel"
	insert = "INSERT INTO jobs (queue, payload, attempts, created_at, available_at, reserved_at) VALUES ('rules', '', 0, 0, {unix} - %d, %s)"
	r.exec(t, fmt.Sprintf(insert, 10, "NULL"))
	r.exec(t, fmt.Sprintf(insert, 500, "{unix} - 100")) // retry_after has passed
	r.exec(t, fmt.Sprintf(insert, 500, "{unix} - 50"))
	r.exec(t, fmt.Sprintf(insert, -50, "NULL"))
	want(q, 2, 1, 1, 500*time.Second)

	q.Layout = "plain"
	insert = "INSERT INTO messages (queue, body, available_at, taken_at, done_at) VALUES ('rules', '', {unix} - %d, %s, %s)"
	r.exec(t, fmt.Sprintf(insert, 70, "NULL", "NULL"))
	r.exec(t, fmt.Sprintf(insert, 900, "{unix} - 800", "NULL"))
	r.exec(t, fmt.Sprintf(insert, 900, "{unix} - 800", "{unix} - 700"))
	want(q, 1, 1, 0, 70*time.Second)

	if r.flavour == postgreSQL {
		return
	}
	q.Layout = "magento"
	r.exec(t, "INSERT INTO queue (name) VALUES ('rules')")
	for i, status := range []int{2, 5, 3, 4, 6, 7} {
		r.exec(t, "INSERT INTO queue_message_status (queue_id, message_id, status, updated_at) SELECT id, ?, ?, "+ // statuses 4, 6 and 7 are final
			map[flavour]string{mariaDB: "NOW() - INTERVAL 120 SECOND", sqLite: "datetime('now', '-120 seconds')"}[r.flavour]+" FROM queue WHERE name = 'rules'", 1000+i, status)
	}
	want(q, 2, 1, health.NotKnown, 120*time.Second)
}

// testOwnQueries are `query:` in all its forms.
func (r *sqlRig) testOwnQueries(t *testing.T, s health.Spec) {
	for query, want := range map[string]string{
		"SELECT 7":                       "ok 7 -1 -1",
		"SELECT COUNT(*) FROM messages;": "ok 0 -1 -1",
		"SELECT 3 AS ready, 2 AS in_flight -- the comment":     "ok 3 2 -1",
		"SELECT 3 AS READY, NULL AS in_flight, 4 AS `delayed`": "ok 3 -1 4",
		"WITH x AS (SELECT 5 AS n) SELECT n FROM x":            "ok 5 -1 -1",
		"SELECT 5.0":                                     "ok 5 -1 -1",
		"SELECT 5.5":                                     `not a whole number: "5.5"`,
		"SELECT -1":                                      "negative: -1",
		"SELECT NULL":                                    "ready is missing",
		"SELECT 'many'":                                  `not a whole number: "many"`,
		"SELECT 1 AS ready, 2 AS inflight":               `"inflight" is not one of ready`,
		"SELECT 1 AS in_flight, 2 AS `delayed`":          "ready is missing",
		"SELECT 1 UNION ALL SELECT 2":                    "more than one row",
		"SELECT 1 WHERE 1 = 0":                           "no row",
		"SELECT id FROM no_such_table":                   "no_such_table",
		"DELETE FROM messages":                           "",
		"UPDATE messages SET body = ''":                  "",
		"INSERT INTO messages (queue) VALUES ('x')":      "",
		"DROP TABLE messages":                            "",
		"CREATE TABLE mine (id INTEGER)":                 "",
		"COMMIT":                                         "",
		"SELECT 1) AS q; DROP TABLE messages; SELECT (1": "",
		"SET @x = 1":                                     "",
		"PRAGMA query_only = 0":                          "",
		"SET SESSION TRANSACTION READ WRITE":             "",
		"SELECT 1) AS q; COMMIT; DROP TABLE messages; SELECT (1": "",
		"SELECT 1 INTO OUTFILE '/tmp/qsuper-must-not-exist'":     "",
		"ATTACH DATABASE '/tmp/qsuper-must-not-exist' AS more":   "",
	} {
		switch r.flavour {
		case mariaDB:
			query = strings.ReplaceAll(query, "WHERE 1 = 0", "FROM DUAL WHERE 1 = 0")
		case postgreSQL:
			query = strings.ReplaceAll(query, "`", "")
		}
		o := look(t, s, health.Queue{SQL: query})
		got := o.Readings[0]
		text := fmt.Sprintf("%s %d %d %d", got.State, got.Ready, got.InFlight, got.Delayed)
		if strings.HasPrefix(want, "ok") {
			if text != want {
				t.Errorf("%s: want %s, got %+v", query, want, got)
			}
			continue
		}
		if !o.Up || got.State != health.Unknown || got.Err == "" || !strings.Contains(got.Err, want) {
			t.Errorf("%s: want unknown (%s), got up %v %+v", query, want, o.Up, got)
		}
	}
}
