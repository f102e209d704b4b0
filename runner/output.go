package runner

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"qsuper/keeper"
	"qsuper/slot"
)

// Output says what becomes of what a slot prints.
type Output struct {
	Trouble string    // why it cannot be written now; "" = it is kept
	Since   time.Time // since when; zero when it is kept
	Lost    int64     // bytes lost since the keeper's start, as of the latest change

	before int64 // Lost when it was kept the last time
}

// output notes what the keeper says of a slot's log. Consumers go on whatever
// happens to their output, so this is the only place where it shows.
func (c *consumer) output(u *unit, m keeper.LogState, now time.Time) {
	old := u.output
	u.output.Trouble, u.output.Lost = m.Degraded, m.Dropped
	switch {
	case m.Degraded == "" && old.Trouble == "":
		u.output.before = m.Dropped
	case m.Degraded == "":
		u.output.Since, u.output.before = time.Time{}, m.Dropped
		text := fmt.Sprintf("output is written again after %s, %d bytes are missing", now.Sub(old.Since).Round(time.Second), m.Dropped-old.before)
		c.event(u, now, slog.LevelInfo, slot.Reason{Code: slot.LogKept, Text: text})
	case old.Trouble == "":
		u.output.Since = m.Since
		c.event(u, now, slog.LevelWarn, slot.Reason{Code: slot.LogTrouble, Text: "output cannot be written, the consumer goes on: " + m.Degraded})
	}
}

func (c *consumer) event(u *unit, now time.Time, level slog.Level, why slot.Reason) {
	c.r.journal.add(Event{At: now, Consumer: c.name, Slot: u.n, Run: u.state.Run, PID: u.state.PID, Reason: why})
	c.r.log.Log(context.Background(), level, "consumer trouble", "consumer", c.name, "slot", u.n, "code", why.Code, "reason", why.Text)
}

// limited notes which limits of the file do not hold for what was started last, and
// says so once.
func (c *consumer) limited(u *unit, missed string, now time.Time) {
	if missed == c.missed {
		return
	}
	if c.missed = missed; missed != "" {
		c.event(u, now, slog.LevelWarn, slot.Reason{Code: slot.LimitsMissed, Text: "limits do not hold, the consumer runs without them: " + missed})
	}
}

// troubled counts the slots whose output is not kept, and returns one of them:
// that which has been so for longest.
func (c *consumer) troubled() (n int, first *unit) {
	for _, u := range c.units {
		if u.output.Trouble == "" {
			continue
		}
		if n++; first == nil || u.output.Since.Before(first.output.Since) {
			first = u
		}
	}
	return n, first
}
