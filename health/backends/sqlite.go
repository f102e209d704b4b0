package backends

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"qsuper/health"
	"qsuper/internal/kind"
	"qsuper/internal/pattern"
)

// sqliteConfig is `type: sqlite`: a database file that is only ever read.
type sqliteConfig struct {
	Path        kind.Path     `yaml:"path,required"` // of the database
	TablePrefix string        `yaml:"table_prefix"`  // in front of the tables of layouts
	Timeout     kind.Duration `yaml:"timeout"`
}

func init() {
	health.Register(health.Kind{
		InFlightNow: true, Asked: []string{"query"},
		Type: "sqlite", QueueKeys: sqlQueueKeys, Layouts: sqlLayouts, CheckQueue: checkSQLQueue,
	}, sqliteConfig{Timeout: health.DefaultTimeout}, openSQLite)
}

// Validate checks what becomes part of a statement.
func (c *sqliteConfig) Validate() error {
	if err := validTable(c.TablePrefix); err != nil {
		return fmt.Errorf("table_prefix %w", err)
	}
	return nil
}

var sqliteDialect = dialect{
	mark:  "`",
	unix:  "CAST(strftime('%s', 'now') AS INTEGER)",
	utc:   "datetime('now')",
	stamp: "datetime('now')", // where other databases have a zone, SQLite keeps UTC
	before: func(s int) string {
		return fmt.Sprintf("datetime('now', '-%d seconds')", s)
	},
	since: func(now, then string) string {
		return fmt.Sprintf("strftime('%%s', %s) - strftime('%%s', %s)", now, then)
	},
	age: func(column string) string {
		return fmt.Sprintf("strftime('%%s', 'now') - strftime('%%s', %s)", column)
	},
	// A statement that is given up on is interrupted by the driver.
	limit: func(int64) (string, string) { return "", "" },
	verdict: func(err error) verdict {
		var e *sqlite.Error
		if !errors.As(err, &e) {
			return lost
		}
		switch e.Code() & 0xff { // the rest are details
		case sqlite3.SQLITE_ERROR:
			if strings.Contains(e.Error(), "no such table") {
				return noTable
			}
			return refused
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return slow
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE:
			return refused
		}
		return lost
	},
}

// sqliteFile keeps the file open, and opens it again when the path has come to
// name another one: the old one would be read for ever.
type sqliteFile struct {
	path      string
	prefix    string
	connector driver.Connector
	life      lifetime

	mu   sync.Mutex
	open *database
	file os.FileInfo // of open
}

func openSQLite(c sqliteConfig) (health.Conn, error) {
	options := url.Values{"mode": {"ro"}, "_pragma": {
		// Shorter than the probe, so that a lock is told from a file that hangs.
		fmt.Sprintf("busy_timeout(%d)", c.Timeout.Milliseconds()/4),
		"query_only(1)",
		"cache_size(-512)", // KiB; the default of 2 MiB would stay with the daemon
	}}
	name := url.URL{Scheme: "file", Path: string(c.Path), RawQuery: options.Encode()}
	connector, err := sqlite.NewConnector(name.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", c.Path, err)
	}
	return &sqliteFile{path: string(c.Path), prefix: c.TablePrefix, connector: connector, life: newLifetime()}, nil
}

// current returns the database that the path names now.
func (c *sqliteFile) current() (*database, error) {
	file, err := os.Stat(c.path)
	if err != nil {
		return nil, err
	}
	if !file.Mode().IsRegular() {
		// Opening a FIFO would block until somebody writes to it.
		return nil, fmt.Errorf("%s is not a file", c.path)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.ctx.Err() != nil {
		return nil, errClosed
	}
	if c.open != nil && os.SameFile(c.file, file) {
		return c.open, nil
	}
	if c.open != nil {
		_ = c.open.db.Close()
	}
	db := sql.OpenDB(c.connector)
	db.SetMaxOpenConns(1)
	c.open, c.file = &database{db, &sqliteDialect, c.prefix, c.life}, file
	return c.open, nil
}

// Ping reads the file. One that is locked at the moment is there and in use.
func (c *sqliteFile) Ping(ctx context.Context) error {
	d, err := c.current()
	if err != nil {
		return err
	}
	err = d.ping(ctx, "SELECT COUNT(*) FROM sqlite_schema")
	if err != nil && sqliteDialect.verdict(err) == slow {
		return nil
	}
	return worded(err)
}

// Measure implements health.Meter.
func (c *sqliteFile) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	d, err := c.current()
	if err != nil {
		return nil, err
	}
	readings, err := d.Measure(ctx, queues)
	for i := range readings {
		readings[i].Err = words(readings[i].Err)
	}
	return readings, worded(err)
}

// InProgress implements health.Lister.
func (c *sqliteFile) InProgress(ctx context.Context, q health.Queue) ([]health.Taken, error) {
	d, err := c.current()
	if err != nil {
		return nil, err
	}
	taken, err := d.InProgress(ctx, q)
	return taken, worded(err)
}

// driverWords is what the driver puts around SQLite's own message: the name of the
// error's class, which says nothing, and its number.
var driverWords = pattern.Lazy(`^(?:SQL logic error: )?(.*) \(\d+\)(?: \(SQLITE_BUSY\))?$`)

// words is a message without what the driver has added.
func words(text string) string { return driverWords().ReplaceAllString(text, "$1") }

// sqliteError is an error of the driver in SQLite's words.
type sqliteError struct{ error }

func (e sqliteError) Error() string { return words(e.error.Error()) }
func (e sqliteError) Unwrap() error { return e.error }

// worded puts an error of the driver into SQLite's words.
func worded(err error) error {
	if _, ok := errors.AsType[*sqlite.Error](err); ok {
		return sqliteError{err}
	}
	return err
}

func (c *sqliteFile) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life.end()
	if c.open == nil {
		return nil
	}
	return c.open.db.Close()
}
