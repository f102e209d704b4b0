package backends

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"strings"

	"qsuper/health"
)

// Tell implements health.Teller. Like queries for depths, each query is sent alone, and
// can be nothing but a SELECT. Locks are asked for together.
func (d *database) Tell(ctx context.Context, questions []health.Question) ([]health.Answer, error) {
	ctx, cancel := d.life.during(ctx)
	defer cancel()
	answers := make([]health.Answer, len(questions))
	var tasks []func(context.Context) error
	var locks []int
	for i, q := range questions {
		if q.Lock != "" {
			locks = append(locks, i)
			continue
		}
		tasks = append(tasks, func(ctx context.Context) (err error) {
			answers[i], err = d.row(ctx, q.SQL)
			return err
		})
	}
	for some := range slices.Chunk(locks, sqlMaxParts) {
		tasks = append(tasks, func(ctx context.Context) error { return d.locks(ctx, questions, some, answers) })
	}
	if err := inTurn(ctx, tasks); err != nil {
		return nil, err
	}
	return answers, nil
}

// locks asks who has some locks. When the database refuses the statement, halves are
// tried: a name may be too long for it.
func (d *database) locks(ctx context.Context, questions []health.Question, some []int, answers []health.Answer) error {
	var parts []string
	var args []any
	for _, i := range some {
		parts = append(parts, "SELECT "+strconv.Itoa(i)+" AS n, IS_USED_LOCK(?) AS id")
		args = append(args, questions[i].Lock)
	}
	err := d.holders(ctx, strings.Join(parts, " UNION ALL "), args, answers)
	switch {
	case err == nil:
		return nil
	case len(some) > 1 && d.dialect.verdict(err) == refused:
		half := len(some) / 2
		if err := d.locks(ctx, questions, some[:half], answers); err != nil {
			return err
		}
		return d.locks(ctx, questions, some[half:], answers)
	}
	unsure, err := d.unsure(ctx, err)
	for _, i := range some {
		answers[i] = unsure
	}
	return err
}

// holders reads the number and the session that has the lock, or NULL, of each row.
func (d *database) holders(ctx context.Context, statement string, args []any, answers []health.Answer) error {
	rows, err := d.db.QueryContext(ctx, d.bounded(ctx, statement, ""), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var i int
		var id sql.NullInt64
		if err := rows.Scan(&i, &id); err != nil {
			return err
		}
		answers[i] = health.Answer{State: health.Missing}
		if id.Valid {
			answers[i] = health.Answer{State: health.OK, Text: "session " + strconv.FormatInt(id.Int64, 10)}
		}
	}
	return rows.Err()
}

// row asks for the one row of a query.
func (d *database) row(ctx context.Context, text string) (health.Answer, error) {
	text = strings.TrimRight(text, "; \t\r\n")
	a, err := d.only(ctx, d.bounded(ctx, text, " LIMIT 2"))
	if err == nil {
		return a, nil
	}
	return d.unsure(ctx, err)
}

// unsure is the answer to a question that has come to an error, which is returned only
// if the database did not answer.
func (d *database) unsure(ctx context.Context, err error) (health.Answer, error) {
	a := health.Answer{State: health.Unknown, Err: err.Error()}
	_, own := errors.AsType[answerError](err)
	switch {
	case own || d.dialect.verdict(err) != lost:
		return a, nil
	case ctx.Err() != nil:
		a.Err = errLate.Error()
		return a, errLate
	}
	return a, err
}

// only reads a row whole: each column with its length, so that no two rows look alike.
func (d *database) only(ctx context.Context, statement string) (health.Answer, error) {
	rows, err := d.db.QueryContext(ctx, statement)
	if err != nil {
		return health.Answer{}, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return health.Answer{}, err
	}
	a := health.Answer{State: health.Missing}
	if !rows.Next() {
		return a, rows.Err()
	}
	values := make([]sql.NullString, len(names))
	into := make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return a, err
	}
	var b strings.Builder
	for _, v := range values {
		if !v.Valid {
			b.WriteString("-,")
			continue
		}
		a.State = health.OK
		b.WriteString(strconv.Itoa(len(v.String)) + ":" + v.String + ",")
	}
	if rows.Next() {
		return a, answerError("the query returned more than one row")
	}
	if a.State == health.OK {
		a.Text = b.String()
	}
	return a, rows.Err()
}

// Tell implements health.Teller.
func (c *sqliteFile) Tell(ctx context.Context, questions []health.Question) ([]health.Answer, error) {
	d, err := c.current()
	if err != nil {
		return nil, err
	}
	answers, err := d.Tell(ctx, questions)
	for i := range answers {
		answers[i].Err = words(answers[i].Err)
	}
	return answers, worded(err)
}
