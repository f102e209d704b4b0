package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// MinInterval is the shortest interval; a shorter one would only burn CPU.
const MinInterval = 10 * time.Millisecond

// Interval is a duration or a cron expression. The zero value fires every second.
type Interval struct {
	every time.Duration
	cron  *Cron
}

// Every returns the interval of a fixed duration, at least MinInterval.
func Every(d time.Duration) Interval { return Interval{every: max(d, MinInterval)} }

// ParseInterval reads a duration with a unit ("500ms", "1m"), "@every 1m", or a
// cron expression in the time zone of the host.
func ParseInterval(text string) (Interval, error) {
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "@every"); ok {
		text = strings.TrimSpace(rest)
		if text == "" || text[0] == '@' || strings.ContainsAny(text, " \t\n") {
			return Interval{}, errors.New("@every needs one duration, such as @every 30s")
		}
	}
	if strings.HasPrefix(text, "@") || strings.ContainsAny(text, " \t\n") {
		c, err := ParseCron(text, time.Local)
		return Interval{cron: c}, err
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return Interval{}, fmt.Errorf("expected a duration with a unit, such as 1s, or a cron expression, got %q", text)
	case d < MinInterval:
		return Interval{}, fmt.Errorf("interval %s is too short; at least %s", text, MinInterval)
	}
	return Interval{every: d}, nil
}

// Next returns the first moment after now.
func (i Interval) Next(now time.Time) time.Time {
	switch {
	case i.cron != nil:
		return i.cron.Next(now)
	case i.every == 0:
		return now.Add(time.Second)
	}
	return now.Add(i.every)
}

// Duration returns the fixed duration, or 0 for a cron expression.
func (i Interval) Duration() time.Duration { return i.every }

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *Interval) UnmarshalText(text []byte) (err error) {
	*i, err = ParseInterval(string(text))
	return err
}

// String returns the duration or the expression.
func (i Interval) String() string {
	if i.cron != nil {
		return i.cron.String()
	}
	return i.every.String()
}

// Equal reports whether two intervals are written alike.
func (i Interval) Equal(o Interval) bool { return i.String() == o.String() }

// MarshalText implements encoding.TextMarshaler.
func (i Interval) MarshalText() ([]byte, error) { return []byte(i.String()), nil }
