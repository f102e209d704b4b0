package backends

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"qsuper/health"
)

// postgresGoodbye is how long a session may take to say that it ends.
const postgresGoodbye = 300 * time.Millisecond

// PostgresSession is one session. Under database/sql it answers queries, each in
// a read-only transaction of its own and under a time limit of the server's, all
// in one round trip and without prepared statements, so that a pooler in between
// does no harm.
type PostgresSession struct {
	*pgconn.PgConn
	socket net.Conn // what it talks through; pgconn itself may wait for it for 15 s
	used   bool     // it has answered before
}

// Until has the session's socket closed when ctx ends, until stop is called.
func (s *PostgresSession) Until(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { s.socket.Close() })
}

// Close says goodbye, but does not wait long for it to be heard.
func (s *PostgresSession) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), postgresGoodbye)
	defer cancel()
	err := s.PgConn.Close(ctx)
	s.socket.Close()
	return err
}

// IsValid implements driver.Validator.
func (s *PostgresSession) IsValid() bool { return !s.IsClosed() }

var errUnused = errors.New("not used here")

// Prepare implements driver.Conn.
func (s *PostgresSession) Prepare(string) (driver.Stmt, error) { return nil, errUnused }

// Begin implements driver.Conn.
func (s *PostgresSession) Begin() (driver.Tx, error) { return nil, errUnused }

// QueryContext implements driver.QueryerContext for one SELECT. Its arguments
// are text and stand for question marks; without arguments these stay what they are.
func (s *PostgresSession) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	stop := s.Until(ctx)
	defer stop()
	var values [][]byte
	for i, a := range args {
		text, ok := a.Value.(string)
		if !ok {
			return nil, errUnused
		}
		values = append(values, []byte(text))
		query = strings.Replace(query, "?", fmt.Sprintf("$%d", i+1), 1)
	}
	rows, err := s.ask(ctx, query, values)
	switch {
	case err == nil:
		s.used = true
		return rows, nil
	case s.used && s.IsClosed() && ctx.Err() == nil && postgresDialect.verdict(err) == lost:
		return nil, driver.ErrBadConn // it died while nobody used it: another one is tried
	}
	return nil, err
}

func (s *PostgresSession) ask(ctx context.Context, query string, values [][]byte) (*postgresRows, error) {
	p := s.StartPipeline(ctx)
	send := func(text string, values [][]byte) { p.SendQueryParams(text, values, nil, nil, nil) }
	send("BEGIN READ ONLY", nil)
	if deadline, ok := ctx.Deadline(); ok {
		// A statement that is merely no longer waited for would go on.
		send(fmt.Sprintf("SET LOCAL statement_timeout = %d", max(time.Until(deadline).Milliseconds()*9/10, 1)), nil)
	}
	send(query, values)
	p.SendPipelineSync()
	send("COMMIT", nil) // which ends a transaction that failed as well
	err := p.Sync()
	var rows *postgresRows
	for err == nil {
		var results any
		results, err = p.GetResults()
		if results == nil {
			break
		}
		r, ok := results.(*pgconn.ResultReader)
		if !ok {
			continue
		}
		var names []string
		for _, f := range r.FieldDescriptions() {
			names = append(names, f.Name)
		}
		result := r.Read()
		if err = result.Err; err == nil && names != nil {
			rows = &postgresRows{names: names, rows: result.Rows}
		}
	}
	if closed := p.Close(); err == nil {
		err = closed
	}
	if err == nil && rows == nil {
		err = errors.New("the server gave no answer to a query")
	}
	return rows, err
}

// postgresRows are rows as text.
type postgresRows struct {
	names []string
	rows  [][][]byte
}

func (r *postgresRows) Columns() []string { return r.names }

func (r *postgresRows) Close() error { return nil }

func (r *postgresRows) Next(dest []driver.Value) error {
	if len(r.rows) == 0 {
		return io.EOF
	}
	for i, v := range r.rows[0] {
		dest[i] = nil
		if v != nil {
			dest[i] = string(v)
		}
	}
	r.rows = r.rows[1:]
	return nil
}

// postgresConnector makes sessions for database/sql.
type postgresConnector struct{ dialer *PostgresDialer }

func (c postgresConnector) Connect(ctx context.Context) (driver.Conn, error) {
	s, err := c.dialer.Dial(ctx, nil)
	if err != nil {
		return nil, err // not a nil session in an interface
	}
	return s, nil
}

func (c postgresConnector) Driver() driver.Driver { return nil }

// Watch listens on the channel that each table's name is: Symfony's Doctrine
// transport notifies it of every new message, with the queue's name, and a
// trigger can do so for any table. A queue with a query of its own has none.
func (c *postgresConn) Watch(ctx context.Context, queues []health.Queue, wake func()) error {
	ctx, cancel := c.life.during(ctx)
	defer cancel()
	names := map[string]map[string]bool{} // channel -> queues
	var listen strings.Builder
	for _, q := range queues {
		if q.SQL != "" {
			continue
		}
		channel := tableOf(c.prefix, q)
		if names[channel] == nil {
			names[channel] = map[string]bool{"": true}
			fmt.Fprintf(&listen, `LISTEN "%s";`, channel)
		}
		names[channel][q.Name] = true
	}
	if listen.Len() == 0 {
		return nil
	}
	s, err := c.dialer.Dial(ctx, func(channel, payload string) {
		if names[channel][payload] {
			wake()
		}
	})
	if err != nil {
		return err
	}
	defer s.Close()
	defer s.Until(ctx)()
	if _, err := s.Exec(ctx, listen.String()).ReadAll(); err != nil {
		return err
	}
	wake()
	for {
		if err := s.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
