package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// demoWork is how long the demo's consumer takes for a message.
const demoWork = 30 * time.Millisecond

// newDemoConsumerCmd is a consumer as people write them: it takes messages one
// by one, ends after so many, and finishes the one it has when asked to stop.
func newDemoConsumerCmd(a *app) *cobra.Command {
	var db, queue string
	var most int
	cmd := &cobra.Command{
		Use:    "demo-consumer",
		Short:  "The consumer that \"qsuper demo\" runs",
		Hidden: true,
		Args:   args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return runDemoConsumer(ctx, a.stdout, db, queue, most)
		},
	}
	cmd.Flags().StringVar(&db, "db", "", "SQLite `file` of the queue")
	cmd.Flags().StringVar(&queue, "queue", "", "`name` of the queue")
	cmd.Flags().IntVar(&most, "max-messages", 0, "end after so many")
	return cmd
}

func runDemoConsumer(ctx context.Context, out io.Writer, path, queue string, most int) error {
	db, err := openQueue(path)
	if err != nil {
		return err
	}
	defer db.Close()
	idle := time.NewTicker(50 * time.Millisecond)
	defer idle.Stop()
	for n := 0; (most == 0 || n < most) && ctx.Err() == nil; {
		id, body, err := take(db, queue)
		if errors.Is(err, sql.ErrNoRows) {
			select {
			case <-idle.C:
			case <-ctx.Done():
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("take a message: %w", err)
		}
		time.Sleep(demoWork) // the work; a stop waits until it is done
		if err := done(db, id); err != nil {
			return fmt.Errorf("finish message %d: %w", id, err)
		}
		n++
		fmt.Fprintf(out, "%s handled\n", body)
	}
	return nil
}

func take(db *sql.DB, queue string) (id int64, body string, err error) {
	err = db.QueryRow(`UPDATE messages SET taken_at = unixepoch(), taken_by = ? WHERE id =
		(SELECT id FROM messages WHERE queue = ? AND taken_at IS NULL AND done_at IS NULL AND available_at <= unixepoch() ORDER BY id LIMIT 1)
		RETURNING id, body`, os.Getenv("QSUPER_SLOT"), queue).Scan(&id, &body)
	return id, body, err
}

// done journals the message and takes it off the queue in one transaction.
func done(db *sql.DB, id int64) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`INSERT INTO handled VALUES (?, ?, ?)`, id, os.Getenv("QSUPER_RUN_ID"), os.Getenv("QSUPER_SLOT")); err != nil {
		return err
	}
	if _, err := tx.Exec(`UPDATE messages SET done_at = unixepoch() WHERE id = ?`, id); err != nil {
		return err
	}
	return tx.Commit()
}
