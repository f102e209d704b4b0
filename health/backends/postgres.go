package backends

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"qsuper/health"
	"qsuper/internal/kind"
)

// postgresConfig is `type: postgres`.
type postgresConfig struct {
	URL          kind.Secret   `yaml:"url,required"`  // postgres://user:password@host:5432/database
	TablePrefix  string        `yaml:"table_prefix"`  // in front of the tables of layouts
	PasswordFile kind.Path     `yaml:"password_file"` // file with the password, instead of one in the file
	TLS          kind.TLS      `yaml:"tls"`           // for a server with TLS
	Timeout      kind.Duration `yaml:"timeout"`
}

// postgresLayouts has no magento, which knows MySQL only.
var postgresLayouts = []string{"plain", "symfony", "laravel"}

func init() {
	health.Register(health.Kind{
		InFlightNow: true, Asked: []string{"query"},
		Type: "postgres", QueueKeys: sqlQueueKeys, Layouts: postgresLayouts, CheckQueue: checkSQLQueue,
	}, postgresConfig{Timeout: health.DefaultTimeout}, openPostgres)
}

// Validate says what is wrong with the URL, without showing it.
func (c *postgresConfig) Validate() error {
	if err := validTable(c.TablePrefix); err != nil {
		return fmt.Errorf("table_prefix %w", err)
	}
	_, _, err := c.parse()
	return err
}

var errPostgresURL = errors.New("url must be postgres://user:password@host:port/database; special characters are percent-encoded, a unix socket is postgres://user@/database?host=/run/postgresql")

// parse reads the URL and nothing else: neither the environment (PGHOST,
// PGPASSWORD, …) nor ~/.pgpass, so that a file means the same to everybody. Its
// errors do not show the URL, which may hold a password.
func (c *postgresConfig) parse() (*pgconn.Config, string, error) {
	u, err := url.Parse(c.URL.Reveal())
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, "", errPostgresURL
	}
	query := u.Query()
	switch mode := query.Get("sslmode"); {
	case mode != "" && c.TLS.Enabled():
		return nil, "", errors.New("tls and sslmode exclude each other: leave sslmode out of the url")
	case mode == "prefer" || mode == "allow":
		return nil, "", errors.New("sslmode prefer and allow fall back to plain text without a word: use tls, or sslmode=require, verify-full or disable")
	case mode == "":
		query.Set("sslmode", "disable")
	}
	query.Set("client_encoding", "UTF8")
	if !query.Has("application_name") {
		query.Set("application_name", "qsuper")
	}
	own := *u
	own.RawQuery = query.Encode()
	cfg, err := pgconn.ParseConfig(own.String())
	if err != nil {
		return nil, "", errPostgresURL
	}
	for name := range cfg.RuntimeParams {
		if !query.Has(name) {
			delete(cfg.RuntimeParams, name)
		}
	}
	if !query.Has("target_session_attrs") {
		cfg.ValidateConnect = nil
	}
	secret := query.Get("password")
	if u.User != nil {
		secret, _ = u.User.Password()
	}
	cfg.Password, cfg.ConnectTimeout = secret, 0
	return cfg, secret, nil
}

var postgresDialect = dialect{
	unix: "FLOOR(EXTRACT(EPOCH FROM now()))",
	utc:  "(now() AT TIME ZONE 'UTC')",
	mark: `"`,
	before: func(s int) string {
		return fmt.Sprintf("(now() AT TIME ZONE 'UTC' - INTERVAL '%d seconds')", s)
	},
	since: func(now, then string) string {
		return fmt.Sprintf("EXTRACT(EPOCH FROM (%s - %s))", now, then)
	},
	limit: func(int64) (string, string) { return "", "" }, // the session's doing, see PostgresSession
	verdict: func(err error) verdict {
		var e *pgconn.PgError
		if !errors.As(err, &e) {
			return lost
		}
		switch class := e.Code[:min(2, len(e.Code))]; {
		case e.Code == "42P01", e.Code == "3F000": // no such table, no such schema
			return noTable
		case e.Code == "57014", e.Code == "55P03": // statement_timeout or cancelled; lock_timeout
			return slow
		case slices.Contains([]string{"08", "28", "3D", "57", "58"}, class), e.Code == "53300", e.Code == "XX000":
			// The connection, the login, the database, shutting down, the system,
			// too many connections; what poolers say of themselves.
			return lost
		}
		return refused
	},
}

// PostgresDialer opens sessions.
type PostgresDialer struct {
	config *pgconn.Config
	tls    kind.TLS
	*password
}

// Postgres opens sessions that may write to the server of a `type: postgres`
// connection, with its credentials and TLS. It does not dial.
func Postgres(s health.Spec) (*PostgresDialer, error) {
	c, ok := health.Settings[postgresConfig](s)
	if !ok {
		return nil, errors.New("the connection is not of type postgres")
	}
	return c.dialer()
}

// dialer reads the settings once; each Dial takes the password and the
// certificates of its moment.
func (c postgresConfig) dialer() (*PostgresDialer, error) {
	cfg, secret, err := c.parse()
	if err != nil {
		return nil, err
	}
	return &PostgresDialer{cfg, c.TLS, &password{text: secret, file: c.PasswordFile}}, nil
}

// dialling marks the context of a Dial. pgconn also dials, for 15 s, to cancel a
// statement that was given up on: that is left to statement_timeout.
type dialling struct{}

// Dial opens a session within ctx. heard, if not nil, gets its notifications.
func (d *PostgresDialer) Dial(ctx context.Context, heard func(channel, payload string)) (*PostgresSession, error) {
	cfg := d.config.Copy()
	var err error
	if cfg.Password, err = d.current(); err != nil {
		return nil, err
	}
	if err := d.secure(cfg); err != nil {
		return nil, err
	}
	s := &PostgresSession{}
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if ctx.Value(dialling{}) == nil {
			return nil, errClosed
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			s.socket = conn
		}
		return conn, err
	}
	if heard != nil {
		cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { heard(n.Channel, n.Payload) }
	}
	s.PgConn, err = pgconn.ConnectConfig(context.WithValue(ctx, dialling{}, true), cfg)
	if err == nil {
		return s, nil
	}
	if s.socket != nil {
		s.socket.Close()
	}
	if failed := (*pgconn.ConnectError)(nil); errors.As(err, &failed) {
		err = failed.Unwrap() // without the user and the database, which the reader has in the file
	}
	if refusal := (*pgconn.PgError)(nil); errors.As(err, &refusal) && strings.HasPrefix(refusal.Code, "28") {
		err = &health.Denied{Err: err}
	}
	return nil, err
}

// secure sets up TLS for every host of the URL where `tls` is given.
func (d *PostgresDialer) secure(cfg *pgconn.Config) (err error) {
	if !d.tls.Enabled() {
		return nil
	}
	if cfg.TLSConfig, err = d.tls.Config(); err != nil {
		return err
	}
	named := func(host string) *tls.Config {
		own := cfg.TLSConfig.Clone()
		if own.ServerName == "" {
			own.ServerName = host
		}
		return own
	}
	for _, f := range cfg.Fallbacks {
		f.TLSConfig = named(f.Host)
	}
	cfg.TLSConfig = named(cfg.Host)
	return nil
}

func openPostgres(c postgresConfig) (health.Conn, error) {
	dialer, err := c.dialer()
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(postgresConnector{dialer})
	db.SetMaxOpenConns(1)
	return &postgresConn{database{db, &postgresDialect, c.TablePrefix, newLifetime()}, dialer}, nil
}

type postgresConn struct {
	database
	dialer *PostgresDialer
}

func (c *postgresConn) Secrets() []string { return c.dialer.Secrets() }

func (c *postgresConn) Ping(ctx context.Context) error { return c.ping(ctx, "SELECT 1") }
