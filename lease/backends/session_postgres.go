package backends

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	health "qsuper/health/backends"
)

// postgresServer keeps locks of sessions by pg_advisory_lock, whose names are
// numbers, known within one database.
type postgresServer struct{ dialer *health.PostgresDialer }

// postgresConn is one session, and no other.
type postgresConn struct{ *health.PostgresSession }

func (c postgresConn) exec(ctx context.Context, text string, values []any) (int64, error) {
	return pgChanged(pgStatement(ctx, c.PostgresSession, text, values))
}

func (c postgresConn) query(ctx context.Context, text string, values []any, each func(scan func(...any) error) error) error {
	return pgEach(pgStatement(ctx, c.PostgresSession, text, values))(each)
}

func (c postgresConn) close() error { return c.Close() }

func (p *postgresServer) dial(ctx context.Context) (database, error) {
	s, err := p.dialer.Dial(ctx, nil)
	if err != nil {
		return nil, err
	}
	return postgresConn{s}, nil
}

func (p *postgresServer) close() error { return nil }

// setup has the server end the session after ttl, also while it waits for its answers
// to be taken, or for somebody else's transaction.
func (p *postgresServer) setup(ttl time.Duration) ([]string, string, int64) {
	var list []string
	for _, setting := range []struct {
		name string
		d    time.Duration
	}{
		{"idle_session_timeout", ttl}, {"tcp_user_timeout", ttl}, {"client_connection_check_interval", time.Second},
		{"statement_timeout", ttl / 6}, {"lock_timeout", ttl / 6},
	} {
		list = append(list, fmt.Sprintf("SET %s = %d", setting.name, setting.d.Milliseconds()))
	}
	return list, "SELECT setting::bigint FROM pg_settings WHERE name = 'idle_session_timeout'", ttl.Milliseconds()
}

// sessionsEnd is the first release whose sessions end when nothing is heard of them.
const sessionsEnd = 140000

func (p *postgresServer) fit(ctx context.Context, db database) error {
	version, err := number(ctx, db, "SELECT current_setting('server_version_num')::bigint")
	if err == nil && version < sessionsEnd {
		err = errors.New("sessions of PostgreSQL before 14 do not end when nothing is heard of them, and keep their locks: write mode: rows")
	}
	return err
}

func (p *postgresServer) id() string    { return "SELECT pg_backend_pid()" }
func (p *postgresServer) scope() string { return "SELECT COALESCE(current_schema(), '')" }

// values makes a table v with the column n of names.
func values(names []string) string {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = "('" + name + "'::bigint)"
	}
	return "(VALUES " + strings.Join(parts, ", ") + ") AS v(n)"
}

// advisory are the locks of sessions of this database, by number.
const advisory = "SELECT (classid::bigint << 32) | objid::bigint AS n, pid FROM pg_locks " +
	"WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"

func (p *postgresServer) lock(names []string) string {
	return "SELECT n::text, pg_try_advisory_lock(n)::int FROM " + values(names)
}

func (p *postgresServer) unlock(names []string) string {
	return "SELECT n::text, pg_advisory_unlock(n)::int FROM " + values(names)
}

func (p *postgresServer) holders(names []string) string {
	return "SELECT n::text, pid, pg_backend_pid() FROM " + values(names) + " JOIN (" + advisory + ") AS l USING (n)"
}

func (p *postgresServer) kill(id int64) string {
	return fmt.Sprintf("SELECT pg_terminate_backend(%d)", id)
}

// name is a number of 64 bits.
func (p *postgresServer) name(sum [sha256.Size]byte) string {
	return strconv.FormatInt(int64(binary.BigEndian.Uint64(sum[:8])), 10)
}

func (p *postgresServer) held(scope, name string) string {
	return "('x' || left(encode(sha256(convert_to(" + scope + " || " + name + ", 'UTF8')), 'hex'), 16))::bit(64)::bigint IN (SELECT n FROM (" + advisory + ") AS l)"
}
