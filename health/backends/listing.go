package backends

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"qsuper/health"
)

// sqlMaxTaken is how many messages in progress are listed at most.
const sqlMaxTaken = 5000

// InProgress implements health.Lister. Of what is in progress it leaves nothing out, also
// not what a framework would give to somebody else by now: whoever took it first may
// still hold it.
func (d *database) InProgress(ctx context.Context, q health.Queue) ([]health.Taken, error) {
	if q.SQL != "" {
		return nil, health.ErrUnlisted
	}
	ctx, cancel := d.life.during(ctx)
	defer cancel()
	p := d.dialect.taken(d.prefix, q)
	rows, err := d.db.QueryContext(ctx, d.bounded(ctx, p.sql, fmt.Sprintf(" LIMIT %d", sqlMaxTaken+2)), p.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []health.Taken
	there := q.Layout != "magento"
	for rows.Next() {
		var id sql.NullString
		var age sql.NullInt64
		if err := rows.Scan(&id, &age); err != nil {
			return nil, err
		}
		switch {
		case !id.Valid:
			there = true
		case age.Valid && age.Int64 >= 0:
			list = append(list, health.Taken{ID: id.String, Age: time.Duration(age.Int64) * time.Second})
		default:
			list = append(list, health.Taken{ID: id.String, Age: health.NotKnown})
		}
	}
	switch err := rows.Err(); {
	case err != nil:
		return nil, err
	case !there:
		return nil, errors.New("the queue table has no such name")
	case len(list) > sqlMaxTaken:
		return nil, fmt.Errorf("more than %d messages are in progress: give back those that nobody works on", sqlMaxTaken)
	}
	return list, nil
}

// taken is the SELECT of the messages in progress: id and age. Only Magento's age is of
// the server's own clock. There a row without id says that the queue exists; and the sum
// keeps the database from an index that has all finished messages of the queue.
func (d *dialect) taken(prefix string, q health.Queue) part {
	if q.Layout == "magento" {
		return part{args: []any{q.Name, q.Name}, sql: fmt.Sprintf("SELECT NULL AS id, NULL AS age FROM %[1]s WHERE name = ? UNION ALL "+
			"SELECT id, %[3]s FROM %[2]s WHERE status = 3 AND queue_id + 0 = (SELECT MIN(id) FROM %[1]s WHERE name = ?)",
			d.quote(prefix+"queue"), d.quote(prefix+"queue_message_status"), d.age("updated_at"))}
	}
	column, where := "queue", "taken_at IS NOT NULL AND done_at IS NULL"
	switch q.Layout {
	case "symfony":
		column, where = "queue_name", "delivered_at IS NOT NULL AND delivered_at < '9999-01-01 00:00:00'"
	case "laravel":
		where = "reserved_at IS NOT NULL"
	}
	return part{args: []any{q.Name}, sql: fmt.Sprintf("SELECT id, NULL AS age FROM %s WHERE %s = ? AND %s",
		d.quote(tableOf(prefix, q)), column, where)}
}
