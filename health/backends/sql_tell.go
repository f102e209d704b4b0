package backends

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"qsuper/health"
)

// Tell implements health.Teller. Like queries for depths, each is sent alone, and can
// be nothing but a SELECT.
func (d *database) Tell(ctx context.Context, questions []health.Question) ([]health.Answer, error) {
	ctx, cancel := d.life.during(ctx)
	defer cancel()
	answers := make([]health.Answer, len(questions))
	var tasks []func(context.Context) error
	for i, q := range questions {
		tasks = append(tasks, func(ctx context.Context) (err error) {
			answers[i], err = d.row(ctx, q.SQL)
			return err
		})
	}
	if err := inTurn(ctx, tasks); err != nil {
		return nil, err
	}
	return answers, nil
}

// row asks for the one row of a query.
func (d *database) row(ctx context.Context, text string) (health.Answer, error) {
	text = strings.TrimRight(text, "; \t\r\n")
	a, err := d.only(ctx, d.bounded(ctx, text, " LIMIT 2"))
	if err == nil {
		return a, nil
	}
	unsure := health.Answer{State: health.Unknown, Err: err.Error()}
	_, own := errors.AsType[answerError](err)
	switch {
	case own || d.dialect.verdict(err) != lost:
		return unsure, nil
	case ctx.Err() != nil:
		unsure.Err = errLate.Error()
		return unsure, errLate
	}
	return unsure, err
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
	return d.Tell(ctx, questions)
}
