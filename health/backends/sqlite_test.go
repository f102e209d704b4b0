package backends_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"qsuper/health"
	"qsuper/health/backends"
	"qsuper/health/healthtest"
)

// sqliteDB makes a database file that is written through a pool of its own.
func sqliteDB(t testing.TB, path, mode string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode("+mode+")")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func sqliteSpec(t testing.TB, path string) health.Spec {
	return spec(t, "sqlite", "{type: sqlite, path: %q}", path)
}

func TestSQLite(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		path := filepath.Join(t.TempDir(), "a b?c%d#e.db")
		// The path of a pool is cut at a question mark, that of the backend is not.
		work := filepath.Join(t.TempDir(), "work.db")
		r := newSQLRig(t, sqliteDB(t, work, mode), sqLite)
		if err := os.Link(work, path); err != nil {
			t.Fatal(err)
		}
		if mode == "wal" {
			path = work // its log is found by name
		}
		for i, l := range layouts {
			if i > 0 && mode == "delete" {
				break
			}
			t.Run(mode+"/"+l.name, func(t *testing.T) {
				healthtest.Run(t, healthtest.Suite{
					Spec:   func(t *testing.T, _, _ string) health.Spec { return sqliteSpec(t, path) },
					Queues: r.queues(l), Row: "sqlite/" + l.name,
				})
			})
		}
		t.Run(mode+"/rules", func(t *testing.T) { r.testLayoutRules(t, sqliteSpec(t, path)) })
	}
}

func TestSQLiteOwnQueries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	r := newSQLRig(t, sqliteDB(t, path, "wal"), sqLite)
	r.testOwnQueries(t, sqliteSpec(t, path))
	r.testRows(t, sqliteSpec(t, path))
	if _, err := os.Stat("/tmp/qsuper-must-not-exist"); err == nil {
		t.Error("a query made a file")
	}
}

func TestSQLiteTableAndPrefix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	db := sqliteDB(t, path, "wal")
	for _, s := range statements(backends.PlainSQLite) {
		if _, err := db.Exec(strings.ReplaceAll(s, " messages", " app_messages")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec("INSERT INTO app_messages (queue, body) VALUES ('x', 'b')"); err != nil {
		t.Fatal(err)
	}
	if got := reading(t, spec(t, "sqlite", "{type: sqlite, path: %q, table_prefix: app_}", path), health.Queue{Name: "x", Layout: "plain"}); got.Ready != 1 {
		t.Errorf("with a prefix: %+v", got)
	}
	if got := reading(t, spec(t, "sqlite", "{type: sqlite, path: %q, table_prefix: other_}", path), health.Queue{Name: "x", Layout: "plain", Table: "main.app_messages"}); got.Ready != 1 {
		t.Errorf("with a table: %+v", got)
	}
}

// The driver's own additions are left out of what a person reads.
func TestSQLiteErrorsInWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	if _, err := sqliteDB(t, path, "wal").Exec("CREATE TABLE other (id INTEGER)"); err != nil {
		t.Fatal(err)
	}
	for want, q := range map[string]health.Queue{
		"no such table: messages": {Name: "x", Layout: "plain"},
		"no such column: orders":  {SQL: "SELECT orders"},
		`near "1": syntax error`:  {SQL: "SELEC 1"},
	} {
		if got := reading(t, sqliteSpec(t, path), q); got.Err != want {
			t.Errorf("%+v: %q, expected %q", q, got.Err, want)
		}
	}
}

// What is not a database is down, and stays what it is.
func TestSQLiteDown(t *testing.T) {
	dir := t.TempDir()
	q := health.Queue{Name: "x", Layout: "plain"}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("no database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, reason := range map[string]string{
		filepath.Join(dir, "none"): "no such file", text: "not a database", fifo: "is not a file", dir: "is not a file",
	} {
		o := look(t, sqliteSpec(t, path), q)
		if o.Up || !strings.Contains(o.Err, reason) || strings.HasSuffix(o.Err, ")") {
			t.Errorf("%s: %+v", path, o)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("looking at a missing file made one: %v", err)
	}
	if b, _ := os.ReadFile(text); len(b) != 12000 {
		t.Error("a file was changed")
	}
}

// A database that is locked for long is there, but its queues are unknown.
func TestSQLiteLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	db := sqliteDB(t, path, "delete")
	newSQLRig(t, db, sqLite)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	s := spec(t, "sqlite", "{type: sqlite, path: %q, timeout: 1s}", path)
	o := look(t, s, health.Queue{Name: "x", Layout: "plain"}, health.Queue{Name: "y", Layout: "laravel"})
	if got := o.Readings[0]; !o.Up || got.State != health.Unknown || !strings.Contains(got.Err, "locked") || o.Latency > 2*time.Second {
		t.Errorf("got %+v", o)
	}
	if o := look(t, s); !o.Up {
		t.Errorf("got %+v", o)
	}
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if got := reading(t, s, health.Queue{Name: "x", Layout: "plain"}); got.State != health.OK {
		t.Errorf("got %+v", got)
	}
}

// A query that takes for ever is ended, and does not harm the others.
func TestSQLiteSlowQuery(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	newSQLRig(t, sqliteDB(t, path, "wal"), sqLite)
	s := spec(t, "sqlite", "{type: sqlite, path: %q, timeout: 2s}", path)
	endless := health.Queue{SQL: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"}
	testSlowQuery(t, func(q ...health.Queue) health.Observation { return look(t, s, q...) }, endless.SQL, 3*time.Second)
	if o := look(t, s, endless); !o.Up || o.Readings[0].State != health.Unknown {
		t.Errorf("alone: %+v", o)
	}
}

// The path may come to name another file, as after a deploy.
func TestSQLiteFollowsThePath(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "q.db")
	p := health.NewProbe("c", sqliteSpec(t, path), 5*time.Second)
	defer p.Close(t.Context())
	q := health.Queue{SQL: "SELECT COUNT(*) FROM messages"}
	if o := p.Look(t.Context(), []health.Queue{q}); o.Up {
		t.Fatalf("without a file: %+v", o)
	}
	for want := range int64(3) {
		next := filepath.Join(dir, fmt.Sprintf("next%d.db", want))
		db := sqliteDB(t, next, "delete")
		newSQLRig(t, db, sqLite)
		for range want {
			if _, err := db.Exec("INSERT INTO messages (queue, body) VALUES ('x', 'b')"); err != nil {
				t.Fatal(err)
			}
		}
		db.Close()
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
		if o := p.Look(t.Context(), []health.Queue{q}); !o.Up || o.Readings[0].Ready != want {
			t.Errorf("want %d: %+v", want, o)
		}
	}
}

func TestSQLiteRefuses(t *testing.T) {
	refused(t, "sqlite", map[string]string{
		"{type: sqlite}": "path is missing",
		"{type: sqlite, path: x, table_prefix: \"a; b\"}": "table_prefix",
		"{type: sqlite, path: x, password_file: y}":       "unknown key",
	})
	refusedQueues(t, "sqlite", map[string]health.Queue{
		"name is missing": {Layout: "plain"},
		"table:":          {Name: "x", Layout: "plain", Table: "a`; DROP TABLE x"},
		"schema. in":      {Name: "x", Layout: "plain", Table: "a.b.c"},
		"a-b":             {Name: "x", Layout: "plain", Table: "a-b"},
		"a.":              {Name: "x", Layout: "plain", Table: "a."},
		"table_prefix":    {Name: "x", Layout: "magento", Table: "queue"},
		"exclude":         {SQL: "SELECT 1", Table: "x"},
	})
}

// Changes of the file, its log or its journal tell of messages, also behind a
// link, and after another file has come into its place.
func TestSQLiteWatch(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			work, link := filepath.Join(dir, "work.db"), filepath.Join(t.TempDir(), "link.db")
			if err := os.Symlink(work, link); err != nil {
				t.Fatal(err)
			}
			db := sqliteDB(t, work, mode)
			db.SetMaxOpenConns(1)
			newSQLRig(t, db, sqLite)
			write := func() {
				if _, err := db.Exec("INSERT INTO messages (queue, body) VALUES ('x', 'b')"); err != nil {
					t.Fatal(err)
				}
			}
			w := healthtest.Watched{
				Spec: sqliteSpec(t, link), Queue: health.Queue{Name: "x", Layout: "plain"}, Publish: write,
				Aside: func() {
					if err := os.WriteFile(filepath.Join(dir, "other"), []byte("x"), 0o600); err != nil {
						t.Fatal(err)
					}
				},
			}
			if mode == "delete" {
				w.Cut = func() { // and a copy in its place
					other := filepath.Join(dir, "copy.db")
					if _, err := db.Exec("VACUUM INTO ?", other); err != nil {
						t.Fatal(err)
					}
					db.Close()
					if err := os.Rename(other, work); err != nil {
						t.Fatal(err)
					}
					db = sqliteDB(t, work, mode)
				}
			}
			healthtest.Watch(t, w)
		})
	}
}
