package backends

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"qsuper/health"
)

// sqlMaxParts is how many SELECTs go into one statement; SQLite allows 500.
const sqlMaxParts = 200

// database measures queues over database/sql. All queues of a layout go into
// one statement; a query of the user's own is sent alone, because nothing is
// known about its columns, its errors and how long it takes.
type database struct {
	db      *sql.DB
	dialect *dialect
	prefix  string // of the tables of layouts
	life    lifetime
}

// verdict says what an error of a statement means.
type verdict int

const (
	lost    verdict = iota // the connection does not work
	refused                // the database answered that this statement cannot be
	noTable                // it answered that a table does not exist
	slow                   // it gave up on a lock or at the time limit
)

func (d *database) Close() error {
	d.life.end()
	return d.db.Close()
}

// ping runs a statement that touches no table, or none of the user's.
func (d *database) ping(ctx context.Context, statement string) error {
	ctx, cancel := d.life.during(ctx)
	defer cancel()
	var n int64
	return d.db.QueryRowContext(ctx, statement).Scan(&n)
}

// Measure gives each statement an equal share of the time that is left, so that
// a slow one does not use up that of the others.
func (d *database) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	ctx, cancel := d.life.during(ctx)
	defer cancel()
	readings := make([]health.Reading, len(queues))
	var tasks []func(context.Context) error
	for parts := d.dialect.parts(d.prefix, queues); len(parts) > 0; {
		n := min(len(parts), sqlMaxParts)
		some := parts[:n]
		parts = parts[n:]
		tasks = append(tasks, func(ctx context.Context) error { return d.layouts(ctx, some, readings) })
	}
	own := map[string]int{}
	for i, q := range queues {
		if _, seen := own[q.SQL]; q.SQL == "" || seen {
			continue
		}
		own[q.SQL] = i
		tasks = append(tasks, func(ctx context.Context) (err error) {
			readings[i], err = d.query(ctx, q.SQL)
			return err
		})
	}
	if err := inTurn(ctx, tasks); err != nil {
		return nil, err
	}
	for i, q := range queues {
		if first, ok := own[q.SQL]; ok {
			readings[i] = readings[first]
		}
	}
	return readings, nil
}

// inTurn runs tasks one after another, each with its share of the time that is
// left. It fails when the connection is lost, and when no task was answered.
func inTurn(ctx context.Context, tasks []func(context.Context) error) error {
	answered := false
	var late error
	for i, task := range tasks {
		share, cancel := context.WithCancel(ctx)
		if deadline, ok := ctx.Deadline(); ok {
			cancel()
			share, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(tasks)-i))
		}
		err := task(share)
		cancel()
		switch {
		case err == nil:
			answered = true
		case errors.Is(err, errLate) && ctx.Err() == nil:
			late = err
		default:
			return err
		}
	}
	if answered {
		return nil
	}
	return late
}

// errLate is the error of a task that was not answered in its share of time.
var errLate = fmt.Errorf("the query did not end in time: %w", context.DeadlineExceeded)

// layouts runs parts as one statement. When the database refuses it, halves are
// tried, so that one wrong table costs the others nothing but time.
func (d *database) layouts(ctx context.Context, parts []part, readings []health.Reading) error {
	var text []string
	var args []any
	for _, p := range parts {
		text = append(text, p.sql)
		args = append(args, p.args...)
	}
	err := d.scan(ctx, strings.Join(text, " UNION ALL "), args, parts, readings)
	if err == nil {
		return nil
	}
	if v := d.dialect.verdict(err); len(parts) > 1 && (v == refused || v == noTable) {
		half := len(parts) / 2
		if err := d.layouts(ctx, parts[:half], readings); err != nil {
			return err
		}
		return d.layouts(ctx, parts[half:], readings)
	}
	r, err := d.settle(ctx, err)
	for _, p := range parts {
		for _, i := range p.queues {
			readings[i] = r
		}
	}
	return err
}

// settle turns the error of a statement into a reading, and into an error only
// if the database did not answer.
func (d *database) settle(ctx context.Context, err error) (health.Reading, error) {
	v := d.dialect.verdict(err)
	switch {
	case v == noTable:
		return missing("%v", err), nil
	case v != lost:
		return unknown("%v", err), nil
	case ctx.Err() != nil:
		return unknown("%v", errLate), errLate
	}
	return unknown("%v", err), err
}

// row is one row of the common statement.
type row struct {
	queue, id, ready, flight, delayed sql.NullInt64
	oldest                            sql.NullFloat64
}

func (r *row) reading() health.Reading {
	out := counted(r.ready.Int64)
	if r.flight.Valid {
		out.InFlight = r.flight.Int64
	}
	if r.delayed.Valid {
		out.Delayed = r.delayed.Int64
	}
	out.Oldest = 0 // nothing waits, so nothing is old
	if r.oldest.Valid {
		out.Oldest = seconds(r.oldest.Float64)
	}
	return out
}

func (d *database) scan(ctx context.Context, statement string, args []any, parts []part, readings []health.Reading) error {
	rows, err := d.db.QueryContext(ctx, d.bounded(ctx, statement, ""), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	counts := map[int64]row{} // Magento: by id of the queue
	ids := map[int64]int64{}  // Magento: queue asked for -> id
	found := map[int]health.Reading{}
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.queue, &r.id, &r.ready, &r.flight, &r.delayed, &r.oldest); err != nil {
			return err
		}
		switch {
		case !r.queue.Valid:
			counts[r.id.Int64] = r
		case r.id.Valid:
			ids[r.queue.Int64] = r.id.Int64
		default:
			found[int(r.queue.Int64)] = r.reading()
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for queue, id := range ids {
		r := counts[id] // none of its messages waits: zeros
		r.ready.Valid, r.flight.Valid = true, true
		found[int(queue)] = r.reading()
	}
	for _, p := range parts {
		for _, i := range p.queues {
			r, ok := found[i]
			if !ok {
				r = missing("the queue table has no such name")
			}
			readings[i] = r
		}
	}
	return nil
}

// query runs a user's own query. As a derived table it can be nothing but a
// SELECT, and no more than two of its rows are sent.
func (d *database) query(ctx context.Context, text string) (health.Reading, error) {
	text = strings.TrimRight(text, "; \t\r\n")
	answers, err := d.answers(ctx, d.bounded(ctx, text, " LIMIT 2"))
	var wrong answerError
	switch {
	case errors.As(err, &wrong):
		return unknown("%v", err), nil
	case err != nil && d.dialect.verdict(err) == noTable:
		// The query may be wrong as well as the queue missing.
		return unknown("%v", err), nil
	case err != nil:
		return d.settle(ctx, err)
	}
	r, err := readingOf(answers)
	if err != nil {
		return unknown("the query's answer is wrong: %v", err), nil
	}
	return r, nil
}

// answerError is about what a query returned.
type answerError string

func (e answerError) Error() string { return string(e) }

// answers reads the one row of a query, by column. A single column is ready,
// whatever its name.
func (d *database) answers(ctx context.Context, statement string) (map[string]string, error) {
	rows, err := d.db.QueryContext(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return nil, err
		}
		return nil, answerError("the query returned no row; COUNT(*) without GROUP BY always returns one")
	}
	values := make([]sql.NullString, len(names))
	into := make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	if rows.Next() {
		return nil, answerError("the query returned more than one row")
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	answers := map[string]string{}
	for i, name := range names {
		if len(names) == 1 {
			name = "ready"
		}
		answers[strings.ToLower(name)] = values[i].String
	}
	return answers, nil
}

// bounded makes a statement that the server itself ends a little before ctx
// does: one that is merely no longer waited for would go on there.
func (d *database) bounded(ctx context.Context, statement, tail string) string {
	var set, hint string
	if deadline, ok := ctx.Deadline(); ok {
		set, hint = d.dialect.limit(max(time.Until(deadline).Milliseconds()*9/10, 1))
	}
	return fmt.Sprintf("%sSELECT %s* FROM (\n%s\n) AS q%s", set, hint, statement, tail)
}
