package main

import (
	"context"

	"qsuper/config"
	"qsuper/control"
)

// Alerts says how every alert stands.
func (d *daemon) Alerts() []control.AlertStatus { return d.alerts.List() }

// TestAlert sends a test by every way of an alert.
func (d *daemon) TestAlert(ctx context.Context, name string) ([]control.AlertWay, error) {
	return d.alerts.Test(ctx, name)
}

// Watched is the latest reading of a queue that no consumer reads.
func (d *daemon) Watched(q *config.Queue) control.QueueStatus {
	return *queueStatus(q, d.runner.Depth(q))
}
