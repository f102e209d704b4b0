package backends

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"

	"github.com/go-sql-driver/mysql"

	"qsuper/health"
	"qsuper/internal/kind"
)

// mysqlConfig is `type: mysql`: MySQL and MariaDB.
type mysqlConfig struct {
	DSN          kind.Secret   `yaml:"dsn,required"`  // user:password@tcp(host:3306)/database
	TablePrefix  string        `yaml:"table_prefix"`  // in front of the tables of layouts
	PasswordFile kind.Path     `yaml:"password_file"` // file with the password, instead of one in the file
	TLS          kind.TLS      `yaml:"tls"`           // for a server with TLS
	Timeout      kind.Duration `yaml:"timeout"`
}

func init() {
	health.Register(health.Kind{
		InFlightNow: true, Asked: []string{"query", "lock"},
		Type: "mysql", QueueKeys: sqlQueueKeys, Layouts: sqlLayouts, CheckQueue: checkSQLQueue,
	}, mysqlConfig{Timeout: health.DefaultTimeout}, openMySQL)
}

// Validate says what is wrong with the DSN, without showing it.
func (c *mysqlConfig) Validate() error {
	if err := validTable(c.TablePrefix); err != nil {
		return fmt.Errorf("table_prefix %w", err)
	}
	_, err := parseDSN(c.DSN.Reveal())
	return err
}

// parseDSN keeps the text out of its errors: it may hold a password.
func parseDSN(text string) (*mysql.Config, error) {
	c, err := mysql.ParseDSN(text)
	if err != nil || text == "" {
		return nil, errors.New("dsn must be user:password@tcp(host:port)/database or user:password@unix(/path/to.sock)/database")
	}
	if c.AllowFallbackToPlaintext {
		return nil, errors.New("dsn: tls=preferred and allowFallbackToPlaintext fall back to plain text without a word: use a tls section, or tls=true")
	}
	return c, nil
}

var mysqlDialect = dialect{
	mark:  "`", // understood whatever the SQL mode
	unix:  "UNIX_TIMESTAMP()",
	utc:   "UTC_TIMESTAMP()",
	stamp: "NOW()",
	before: func(s int) string {
		return fmt.Sprintf("(UTC_TIMESTAMP() - INTERVAL %d SECOND)", s)
	},
	since: func(now, then string) string {
		return fmt.Sprintf("TIMESTAMPDIFF(SECOND, %s, %s)", then, now)
	},
	age: func(column string) string { // a TIMESTAMP as it is kept, whatever the zone
		return fmt.Sprintf("UNIX_TIMESTAMP() - UNIX_TIMESTAMP(%s)", column)
	},
	// The first is a comment to MySQL, the second to MariaDB.
	limit: func(ms int64) (string, string) {
		return fmt.Sprintf("/*M!100101 SET STATEMENT max_statement_time = %d.%03d FOR */ ", ms/1000, ms%1000),
			fmt.Sprintf("/*+ MAX_EXECUTION_TIME(%d) */ ", ms)
	},
	verdict: func(err error) verdict {
		var e *mysql.MySQLError
		switch {
		case !errors.As(err, &e):
			return lost
		case e.Number == 1146: // no such table
			return noTable
		case e.Number == 1969, e.Number == 3024, e.Number == 1317, e.Number == 1205: // time limits; killed; lock wait
			return slow
		case e.Number == 1044, e.Number == 1045, e.Number == 1049, e.Number == 1040, e.Number == 1203, e.Number == 1129, e.Number == 1130, e.Number == 1053, e.Number == 1927:
			// Refusals of the connection: access, database, too many, blocked
			// host, shutting down, killed.
			return lost
		}
		return refused
	},
}

type mysqlConn struct {
	database
	password *password
}

func openMySQL(c mysqlConfig) (health.Conn, error) {
	connector, secret, err := c.connector()
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(readOnly{connector})
	db.SetMaxOpenConns(1)
	return &mysqlConn{database{db, &mysqlDialect, c.TablePrefix, newLifetime()}, secret}, nil
}

// MySQL opens one connection that may write to the server of a `type: mysql`
// connection, with its credentials and TLS. It does not dial. secrets are those
// that must not be shown.
func MySQL(s health.Spec) (db *sql.DB, secrets func() []string, err error) {
	c, ok := health.Settings[mysqlConfig](s)
	if !ok {
		return nil, nil, errors.New("the connection is not of type mysql")
	}
	connector, secret, err := c.connector()
	if err != nil {
		return nil, nil, err
	}
	db = sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, secret.Secrets, nil
}

// connector dials as the section says.
func (c mysqlConfig) connector() (driver.Connector, *password, error) {
	cfg, err := parseDSN(c.DSN.Reveal())
	if err != nil {
		return nil, nil, err
	}
	secret := &password{text: cfg.Passwd, file: c.PasswordFile}
	cfg.InterpolateParams = true // one round trip instead of prepare, execute and close
	cfg.MultiStatements = false
	cfg.AllowAllFiles = false
	cfg.Logger = &mysql.NopLogger{}
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = c.Timeout, c.Timeout, c.Timeout
	err = cfg.Apply(mysql.BeforeConnect(func(_ context.Context, cfg *mysql.Config) (err error) {
		if cfg.Passwd, err = secret.current(); err != nil || !c.TLS.Enabled() {
			return err
		}
		if cfg.TLS, err = c.TLS.Config(); err == nil && cfg.TLS.ServerName == "" {
			cfg.TLS.ServerName, _, _ = net.SplitHostPort(cfg.Addr)
		}
		return err
	}))
	if err != nil {
		return nil, nil, err
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, nil, errors.New("dsn is not valid: choose another collation, or none")
	}
	return connector, secret, nil
}

func (c *mysqlConn) Secrets() []string { return c.password.Secrets() }

func (c *mysqlConn) Ping(ctx context.Context) error { return c.ping(ctx, "SELECT 1") }

// readOnly makes sessions in which nothing can be written.
type readOnly struct{ driver.Connector }

func (r readOnly) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := r.Connector.Connect(ctx)
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok && (e.Number == 1045 || e.Number == 1698) { // access denied
		err = &health.Denied{Err: err}
	}
	if err != nil {
		return nil, err
	}
	_, err = conn.(driver.ExecerContext).ExecContext(ctx, "SET SESSION TRANSACTION READ ONLY", nil)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
