package backends

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	health "qsuper/health/backends"
	"qsuper/lease"
)

func init() {
	lease.Register(lease.Kind{Type: "postgres", Forgets: true}, databaseConfig{Table: "qsuper_leases", Mode: modeRows}, openPostgres)
}

func openPostgres(c databaseConfig, p lease.Place) (lease.Store, error) {
	dialer, err := health.Postgres(p.Connection)
	if err != nil {
		return nil, err
	}
	table := `"` + strings.ReplaceAll(c.Table, ".", `"."`) + `"`
	if c.Sessions() {
		return hide(newSessions(&postgresServer{dialer}, &rows{ns: p.Namespace, dialect: &postgresDialect, table: table}, p.TTL), dialer.Secrets), nil
	}
	return hide(&rows{db: &pgSession{dialer: dialer}, ns: p.Namespace, dialect: &postgresDialect, table: table}, dialer.Secrets), nil
}

// postgresDialect judges time by now(), the beginning of the statement: one that
// had to wait for another host sees the row as that has left it.
var postgresDialect = dialect{
	create: "CREATE TABLE IF NOT EXISTS %s (ns TEXT COLLATE \"C\" NOT NULL, name TEXT COLLATE \"C\" NOT NULL, owner TEXT NOT NULL, " +
		"epoch BIGINT NOT NULL, clean SMALLINT NOT NULL, was_clean SMALLINT NOT NULL, value BYTEA NOT NULL, " +
		"since BIGINT NOT NULL, expires BIGINT NOT NULL, PRIMARY KEY (ns, name))",
	now:   "(EXTRACT(EPOCH FROM now()) * 1000000)::bigint",
	alias: " AS t",
	arg:   func(n int) string { return "$" + strconv.Itoa(n) },
	take: " ON CONFLICT (ns, name) DO UPDATE SET was_clean = t.clean, clean = 0, value = excluded.value, since = excluded.since, " +
		"epoch = GREATEST(t.epoch + 1, excluded.epoch), owner = excluded.owner, expires = excluded.expires " +
		"WHERE t.expires <= FREE OR t.owner = excluded.owner",
	noTable: func(err error) bool { return postgresCode(err, "42P01", "3F000") },
	again: func(err error) bool { // conflicts of transactions, two who create the table
		return postgresCode(err, "40001", "40P01", "23505", "42P07")
	},
}

func postgresCode(err error, codes ...string) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}

// pgSession is one session, opened again when it is lost.
type pgSession struct {
	dialer *health.PostgresDialer

	mu     sync.Mutex
	open   *health.PostgresSession // nil: none
	closed bool
}

// session returns the open session, or a new one. An old one may have died while
// nobody used it, which is seen by the first statement.
func (s *pgSession) session(ctx context.Context) (*health.PostgresSession, error) {
	s.mu.Lock()
	open, closed := s.open, s.closed
	s.mu.Unlock()
	if closed {
		return nil, errors.New("the connection is closed")
	}
	if open != nil && open.IsValid() {
		return open, nil
	}
	open, err := s.dialer.Dial(ctx, nil)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = open.Close()
		return nil, errors.New("the connection is closed")
	}
	s.open = open
	return open, nil
}

// do runs one statement in the session that there is.
func (s *pgSession) do(ctx context.Context, text string, values []any) (*pgconn.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	session, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	return pgStatement(ctx, session, text, values)
}

// pgStatement runs one statement, which commits by itself and leaves nothing in the
// session but the locks that it is there to take.
func pgStatement(ctx context.Context, session *health.PostgresSession, text string, values []any) (*pgconn.Result, error) {
	defer session.Until(ctx)()
	params := make([][]byte, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case blob:
			params[i] = []byte(`\x` + hex.EncodeToString(v))
		case []byte:
			params[i] = v
		default:
			params[i] = fmt.Append(nil, v)
		}
	}
	result := session.ExecParams(ctx, text, params, nil, nil, nil).Read()
	return result, result.Err
}

func (s *pgSession) exec(ctx context.Context, text string, values []any) (int64, error) {
	return pgChanged(s.do(ctx, text, values))
}

func (s *pgSession) query(ctx context.Context, text string, values []any, each func(scan func(...any) error) error) error {
	return pgEach(s.do(ctx, text, values))(each)
}

// pgChanged is how many rows a statement has changed.
func pgChanged(r *pgconn.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.CommandTag.RowsAffected(), nil
}

// pgEach hands out the rows of a result.
func pgEach(r *pgconn.Result, err error) func(each func(scan func(...any) error) error) error {
	return func(each func(scan func(...any) error) error) error {
		if err != nil {
			return err
		}
		for _, row := range r.Rows {
			if err := each(func(into ...any) error { return scanText(row, into) }); err != nil {
				return err
			}
		}
		return nil
	}
}

// scanText reads a row of text.
func scanText(row [][]byte, into []any) (err error) {
	if len(row) != len(into) {
		return fmt.Errorf("%d columns instead of %d", len(row), len(into))
	}
	for i, v := range into {
		text := string(row[i])
		switch v := v.(type) {
		case *[]byte:
			*v = []byte(text)
		case *blob:
			*v, err = hex.DecodeString(strings.TrimPrefix(text, `\x`))
		case *uint64:
			*v, err = strconv.ParseUint(text, 10, 64)
		case *int64:
			*v, err = strconv.ParseInt(text, 10, 64)
		case *int:
			*v, err = strconv.Atoi(text)
		default:
			err = fmt.Errorf("a column cannot be read into %T", v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *pgSession) close() error {
	s.mu.Lock()
	open := s.open
	s.open, s.closed = nil, true
	s.mu.Unlock()
	if open == nil {
		return nil
	}
	return open.Close()
}
