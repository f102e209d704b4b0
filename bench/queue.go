package main

import (
	"context"
	"database/sql"
	"fmt"

	_ "modernc.org/sqlite" // the driver, as "sqlite"
)

// The queue of the latency figure: SQLite with qsuper's layout "plain". Only
// this file knows the layout.
const (
	queueLayout = "plain"
	queueSchema = `CREATE TABLE messages (
		id           INTEGER PRIMARY KEY,
		queue        TEXT    NOT NULL,
		body         TEXT    NOT NULL,
		available_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER)),
		taken_at     INTEGER,
		taken_by     TEXT,
		done_at      INTEGER
	)`
	queuePublish = `INSERT INTO messages (queue, body) VALUES (?, '')`
	queuePurge   = `DELETE FROM messages WHERE queue = ?`
)

// queue is a message queue in a file, as a publisher sees it.
type queue struct{ db *sql.DB }

// createQueue makes the file with its table.
func createQueue(path string) (*queue, error) {
	// WAL: a reader and this writer do not wait for each other.
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_pragma=synchronous(OFF)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(queueSchema); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("create the queue %s: %w", path, err)
	}
	return &queue{db}, nil
}

func (q *queue) publish(ctx context.Context, name string) error {
	_, err := q.db.ExecContext(ctx, queuePublish, name)
	return err
}

func (q *queue) purge(ctx context.Context, name string) error {
	_, err := q.db.ExecContext(ctx, queuePurge, name)
	return err
}

func (q *queue) close() error { return q.db.Close() }
