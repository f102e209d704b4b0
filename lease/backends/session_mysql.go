package backends

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// mysqlServer keeps locks of sessions by GET_LOCK, of which a session may have many
// since MySQL 5.7.5 and MariaDB 10.0.2.
type mysqlServer struct{ db *sql.DB }

// newMySQLServer takes a pool of its own, which keeps no connection back: a session
// ends when it is closed.
func newMySQLServer(db *sql.DB) *mysqlServer {
	db.SetMaxOpenConns(0) // a session and its witness, for a moment
	db.SetMaxIdleConns(-1)
	return &mysqlServer{db}
}

func (m *mysqlServer) dial(ctx context.Context) (database, error) {
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return pool{conn}, nil
}

func (m *mysqlServer) close() error { return m.db.Close() }

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) int64 { return max(1, int64(math.Ceil(d.Seconds()))) }

func (m *mysqlServer) setup(ttl time.Duration) ([]string, string, int64) {
	n := wholeSeconds(ttl)
	return []string{fmt.Sprintf("SET SESSION wait_timeout = %d, net_read_timeout = %d, net_write_timeout = %d, innodb_lock_wait_timeout = %d, lock_wait_timeout = %d",
		n, n, n, wholeSeconds(ttl/6), wholeSeconds(ttl/6))}, "SELECT @@SESSION.wait_timeout", n
}

// fit refuses a node of a Galera cluster: each knows its own locks only.
func (m *mysqlServer) fit(ctx context.Context, db database) error {
	return db.query(ctx, "SHOW GLOBAL VARIABLES LIKE 'wsrep_on'", nil, func(scan func(...any) error) error {
		var name, value []byte
		err := scan(&name, &value)
		if err == nil && strings.EqualFold(string(value), "ON") {
			err = errors.New("the server is a node of a Galera cluster, and each node knows only the locks of its own sessions: write mode: rows")
		}
		return err
	})
}

func (m *mysqlServer) id() string    { return "SELECT CONNECTION_ID()" }
func (m *mysqlServer) scope() string { return "SELECT COALESCE(DATABASE(), '')" }

// each makes one statement of many; the names are this program's own, of harmless
// characters.
func each(format string, names []string) string {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = strings.ReplaceAll(format, "NAME", "'"+name+"'")
	}
	return strings.Join(parts, " UNION ALL ")
}

func (m *mysqlServer) lock(names []string) string {
	return each("SELECT NAME, COALESCE(GET_LOCK(NAME, 0), 0)", names)
}

func (m *mysqlServer) unlock(names []string) string {
	return each("SELECT NAME, COALESCE(RELEASE_LOCK(NAME), 0)", names)
}

func (m *mysqlServer) holders(names []string) string {
	return each("SELECT NAME, COALESCE(IS_USED_LOCK(NAME), 0), CONNECTION_ID()", names)
}

func (m *mysqlServer) kill(id int64) string { return fmt.Sprintf("KILL %d", id) }

func (m *mysqlServer) name(sum [sha256.Size]byte) string { return hexName(sum) }

func (m *mysqlServer) held(scope, name string) string {
	return "IS_USED_LOCK(CONCAT('qsuper:', LEFT(SHA2(CONCAT(" + scope + ", " + name + "), 256), 48))) IS NOT NULL"
}
