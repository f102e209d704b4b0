package backends

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"qsuper/health"
)

// The table that `layout: plain` reads: one row a message. Times are seconds
// since 1970, so that no time zone comes into it. A message is
//
//	delayed    until available_at
//	ready      from then on, while taken_at is NULL
//	in flight  while taken_at is set and done_at is not
//	done       once done_at is set, or the row deleted; it is not counted
//
// A consumer takes one by setting taken_at and taken_by where taken_at IS NULL.
// Giving back what a dead consumer had taken is the consumers' business: the
// layout knows no time after which a message is free again.
const (
	PlainSQLite = `CREATE TABLE messages (
  id           INTEGER PRIMARY KEY,
  queue        TEXT    NOT NULL,
  body         TEXT    NOT NULL,
  available_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER)),
  taken_at     INTEGER,
  taken_by     TEXT,
  done_at      INTEGER
);
CREATE INDEX messages_open ON messages (queue, taken_at, available_at) WHERE done_at IS NULL;
`
	PlainMySQL = `CREATE TABLE messages (
  id           BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
  queue        VARCHAR(190) NOT NULL,
  body         LONGTEXT     NOT NULL,
  available_at BIGINT       NOT NULL,
  taken_at     BIGINT       NULL,
  taken_by     VARCHAR(190) NULL,
  done_at      BIGINT       NULL,
  KEY messages_open (queue, done_at, taken_at, available_at)
)
`
)

// What the frameworks themselves take as the time after which an unfinished
// message is free again, in seconds.
const (
	symfonyRedeliver = 3600 // redeliver_timeout, default of the Doctrine transport
	laravelRetry     = 90   // retry_after, as shipped in config/queue.php
)

var (
	sqlLayouts   = []string{"plain", "magento", "symfony", "laravel"}
	sqlQueueKeys = []string{"name", "layout", "table", "query"}
)

// dialect is what differs between databases.
type dialect struct {
	unix   string                            // now, in seconds since 1970
	utc    string                            // now as a date and time in UTC, as text or DATETIME
	before func(seconds int) string          // utc, so many seconds ago
	since  func(now, then string) string     // seconds between two dates
	stamp  string                            // now in the zone that TIMESTAMP columns are shown in
	limit  func(ms int64) (set, hint string) // makes the server itself end a statement

	verdict func(error) verdict
}

// part is one SELECT of the common statement. Its rows are
//
//	queue, id, ready, in flight, delayed, oldest
//
// where queue is an index into the queues asked for. id is used by Magento only:
// there a row with a queue gives the queue's id, and one without it the numbers
// of an id.
type part struct {
	sql    string
	args   []any
	queues []int
}

// checkSQLQueue is the CheckQueue of all SQL databases.
func checkSQLQueue(q health.Queue) error {
	if q.SQL != "" {
		if q.Table != "" {
			return errors.New("query and table exclude each other: name the table in the query")
		}
		return nil
	}
	if q.Layout == "magento" && q.Table != "" {
		return errors.New("layout magento has several tables: set table_prefix on the connection instead of table")
	}
	if err := validTable(q.Table); err != nil {
		return fmt.Errorf("table: %w", err)
	}
	return named(q)
}

// validTable accepts name and schema.name, so that no name can end a statement.
func validTable(name string) error {
	const allowed = ".ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_$"
	parts := strings.Split(name, ".")
	if name != "" && (len(parts) > 2 || slices.Contains(parts, "") || strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(allowed, r) })) {
		return fmt.Errorf("%.40q must be made of A-Z a-z 0-9 _ $, with schema. in front at most", name)
	}
	return nil
}

// quote quotes a valid name. Backticks are understood by SQLite too, and by
// MySQL whatever its SQL mode.
func quote(table string) string { return "`" + strings.ReplaceAll(table, ".", "`.`") + "`" }

// parts builds the SELECTs for all queues that have no query of their own.
func (d *dialect) parts(prefix string, queues []health.Queue) []part {
	var parts []part
	var magento part
	for i, q := range queues {
		switch {
		case q.SQL != "":
		case q.Layout == "magento":
			d.addMagento(&magento, prefix, i, q)
		default:
			parts = append(parts, d.table(prefix, i, q))
		}
	}
	if len(magento.queues) > 0 {
		parts = append(parts, magento)
	}
	return parts
}

// addMagento looks queues up by name and counts all of them in one pass over an
// index on status, because finished messages, kept for a week, are most of the
// table. Status 2 is new, 5 to be retried, 3 in progress.
func (d *dialect) addMagento(p *part, prefix string, i int, q health.Queue) {
	if len(p.queues) == 0 {
		p.sql = `SELECT NULL AS queue, queue_id AS id, COUNT(CASE WHEN status IN (2, 5) THEN 1 END) AS ready, COUNT(CASE WHEN status = 3 THEN 1 END) AS in_flight, NULL AS later, ` +
			d.since(d.stamp, `MIN(CASE WHEN status IN (2, 5) THEN updated_at END)`) +
			` AS oldest FROM ` + quote(prefix+"queue_message_status") + ` WHERE status IN (2, 3, 5) GROUP BY queue_id`
	}
	p.sql += fmt.Sprintf(" UNION ALL SELECT %d, id, NULL, NULL, NULL, NULL FROM %s WHERE name = ?", i, quote(prefix+"queue"))
	p.args = append(p.args, q.Name)
	p.queues = append(p.queues, i)
}

// table is the SELECT of a layout with one table. Queues are matched by the
// database, each in a SELECT of its own, so that its collation decides and not
// ours.
func (d *dialect) table(prefix string, i int, q health.Queue) part {
	var name, column, ready, flight, delayed, oldest, where string
	switch q.Layout {
	case "symfony":
		// Older releases mark what is done with a date in 9999.
		name, column = "messenger_messages", "queue_name"
		ready = `available_at <= ` + d.utc + ` AND (delivered_at IS NULL OR delivered_at < ` + d.before(symfonyRedeliver) + `)`
		flight = `delivered_at >= ` + d.before(symfonyRedeliver) + ` AND delivered_at < '9999-01-01 00:00:00'`
		delayed = `delivered_at IS NULL AND available_at > ` + d.utc
		oldest = d.since(d.utc, `MIN(CASE WHEN `+ready+` THEN available_at END)`)
	case "laravel":
		name, column = "jobs", "queue"
		retry := d.unix + ` - ` + strconv.Itoa(laravelRetry)
		ready = `(reserved_at IS NULL AND available_at <= ` + d.unix + `) OR reserved_at <= ` + retry
		flight = `reserved_at > ` + retry
		delayed = `reserved_at IS NULL AND available_at > ` + d.unix
		oldest = d.unix + ` - MIN(CASE WHEN ` + ready + ` THEN available_at END)`
	default:
		name, column = "messages", "queue"
		ready = `taken_at IS NULL AND available_at <= ` + d.unix
		flight = `taken_at IS NOT NULL`
		delayed = `taken_at IS NULL AND available_at > ` + d.unix
		oldest = d.unix + ` - MIN(CASE WHEN ` + ready + ` THEN available_at END)`
		where = ` AND done_at IS NULL`
	}
	name = prefix + name
	if q.Table != "" {
		name = q.Table
	}
	sql := fmt.Sprintf("SELECT %d AS queue, NULL AS id, COUNT(CASE WHEN %s THEN 1 END) AS ready, COUNT(CASE WHEN %s THEN 1 END) AS in_flight, COUNT(CASE WHEN %s THEN 1 END) AS later, %s AS oldest FROM %s WHERE %s = ?%s",
		i, ready, flight, delayed, oldest, quote(name), column, where)
	return part{sql: sql, args: []any{q.Name}, queues: []int{i}}
}
