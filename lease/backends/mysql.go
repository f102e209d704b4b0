package backends

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/go-sql-driver/mysql"

	health "qsuper/health/backends"
	"qsuper/lease"
)

// databaseConfig is `type: mysql` and `type: postgres`.
type databaseConfig struct {
	Connection string `yaml:"connection,required"`       // an entry of `connections` of the same type
	Table      string `yaml:"table"`                     // made when it is missing
	Mode       string `yaml:"mode" oneof:"rows session"` // session: each row goes with a lock of the connection, so that a host that dies is followed sooner
}

// Sessions says that a lease may end with a connection; see lease.Kind.
func (c *databaseConfig) Sessions() bool { return c.Mode == modeSession }

const (
	modeRows    = "rows"
	modeSession = "session"
)

// Validate says what is wrong with the names.
func (c *databaseConfig) Validate() error { return validTable(c.Table) }

func init() {
	lease.Register(lease.Kind{Type: "mysql", Forgets: true}, databaseConfig{Table: "qsuper_leases", Mode: modeRows}, openMySQL)
}

func openMySQL(c databaseConfig, p lease.Place) (lease.Store, error) {
	db, secrets, err := health.MySQL(p.Connection)
	if err != nil {
		return nil, err
	}
	table := "`" + strings.ReplaceAll(c.Table, ".", "`.`") + "`"
	if c.Sessions() {
		return hide(newSessions(newMySQLServer(db), &rows{ns: p.Namespace, dialect: &mysqlDialect, table: table}, p.TTL), secrets), nil
	}
	return hide(&rows{db: pool{db}, ns: p.Namespace, dialect: &mysqlDialect, table: table}, secrets), nil
}

// mysqlDialect does the arithmetic of times without the session's time zone, in
// which an hour comes twice a year. The columns that decide are assigned last, as
// MySQL evaluates from left to right with the new values.
var mysqlDialect = dialect{
	create: "CREATE TABLE IF NOT EXISTS %s (ns VARBINARY(128) NOT NULL, name VARBINARY(255) NOT NULL, owner VARBINARY(255) NOT NULL, " +
		"epoch BIGINT UNSIGNED NOT NULL, clean TINYINT NOT NULL, was_clean TINYINT NOT NULL, value MEDIUMBLOB NOT NULL, " +
		"since BIGINT NOT NULL, expires BIGINT NOT NULL, PRIMARY KEY (ns, name)) ENGINE=InnoDB",
	now: "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
	arg: func(int) string { return "?" },
	take: " ON DUPLICATE KEY UPDATE " +
		"was_clean = IF(expires <= FREE OR owner = VALUES(owner), clean, was_clean), " +
		"clean = IF(expires <= FREE OR owner = VALUES(owner), 0, clean), " +
		"value = IF(expires <= FREE OR owner = VALUES(owner), VALUES(value), value), " +
		"since = IF(expires <= FREE OR owner = VALUES(owner), NOW, since), " +
		"epoch = IF(expires <= FREE OR owner = VALUES(owner), GREATEST(epoch + 1, NOW), epoch), " +
		"owner = IF(expires <= FREE, VALUES(owner), owner), " +
		"expires = IF(owner = VALUES(owner), VALUES(expires), expires)",
	noTable: func(err error) bool { return mysqlCode(err, 1146) },
	again:   func(err error) bool { return mysqlCode(err, 1213, 1205) }, // deadlock, lock wait
}

// pool is a database/sql pool of one connection.
type pool struct{ sqlDatabase }

// sqlDatabase is a pool, or one connection of it.
type sqlDatabase interface {
	ExecContext(ctx context.Context, text string, values ...any) (sql.Result, error)
	QueryContext(ctx context.Context, text string, values ...any) (*sql.Rows, error)
	Close() error
}

// plain turns blobs into what the driver knows.
func plain(values []any) []any {
	out := make([]any, len(values))
	for i, v := range values {
		if b, ok := v.(blob); ok {
			v = []byte(b)
		}
		out[i] = v
	}
	return out
}

func (p pool) exec(ctx context.Context, text string, values []any) (int64, error) {
	res, err := p.ExecContext(ctx, text, plain(values)...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (p pool) query(ctx context.Context, text string, values []any, each func(scan func(...any) error) error) error {
	found, err := p.QueryContext(ctx, text, plain(values)...)
	if err != nil {
		return err
	}
	defer found.Close()
	for found.Next() {
		if err := each(found.Scan); err != nil {
			return err
		}
	}
	return found.Err()
}

func (p pool) close() error { return p.Close() }

func mysqlCode(err error, codes ...uint16) bool {
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Number == c {
			return true
		}
	}
	return false
}
