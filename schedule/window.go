package schedule

import (
	"fmt"
	"strings"
	"time"
)

// Window is the time in which something may run: it is open in every minute (in
// every second, with 6 fields) that its cron expression names.
//
// It goes by the wall clock of its time zone. When the clock is put forward,
// the hour that does not exist is skipped; when it is put back, both passes of
// the repeated hour count.
type Window struct {
	cron    *Cron
	seconds bool // 6 fields
}

// ParseWindow reads a window; zone nil means the host's.
func ParseWindow(text string, zone *time.Location) (*Window, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "@") {
		return nil, fmt.Errorf("a window needs fields, such as \"* 6-22 * * mon-sat\", got %q", text)
	}
	c, err := ParseCron(text, zone)
	if err != nil {
		return nil, err
	}
	return &Window{cron: c, seconds: len(strings.Fields(text)) == 6}, nil
}

// Open reports whether now is inside the window.
func (w *Window) Open(now time.Time) bool {
	t := now.In(w.cron.spec.Location)
	return w.dayOpen(t) && has(w.cron.spec.Hour, t.Hour()) && has(w.cron.spec.Minute, t.Minute()) && (!w.seconds || has(w.cron.spec.Second, t.Second()))
}

// dayOpen reports whether the window is open at some time of t's day. t is in
// the window's time zone.
func (w *Window) dayOpen(t time.Time) bool {
	s := &w.cron.spec
	if !has(s.Month, int(t.Month())) {
		return false
	}
	day, weekday := has(s.Dom, t.Day()), has(s.Dow, int(t.Weekday()))
	if s.Dom>>63|s.Dow>>63 == 1 { // one of the two is a star: the other alone decides
		return day && weekday
	}
	return day || weekday
}

// The longest a window stays open or closed: the 29th of February over 2100.
const horizon = 9 * 366 * 24 * time.Hour

// NextChange returns the first moment after now at which the window opens or
// closes, in now's time zone; the zero time when it never does.
//
// It walks instead of asking the cron library, which knows only openings and is
// off by a day where a clock is put back by half an hour.
func (w *Window) NextChange(now time.Time) time.Time {
	open := w.Open(now)
	if open && w.always() {
		return time.Time{}
	}
	t := now.In(w.cron.spec.Location)
	for end := now.Add(horizon); t.Before(end); {
		t = w.step(t)
		if w.Open(t) != open {
			return t.In(now.Location())
		}
	}
	return time.Time{}
}

// step returns a later time; the window does not change in between.
func (w *Window) step(t time.Time) time.Time {
	s := &w.cron.spec
	wholeHours := full(s.Minute, 0, 59) && (!w.seconds || full(s.Second, 0, 59))
	step := 15 * time.Minute // every offset of a time zone, and every change of one, is a multiple
	switch day := w.dayOpen(t); {
	case !has(s.Month, int(t.Month())) && t.Day() < 27:
		return t.AddDate(0, 0, 27-t.Day())
	case (!day || wholeHours && full(s.Hour, 0, 23)) && t.Hour() < 20:
		return t.Add(time.Duration(21-t.Hour()) * time.Hour) // same day, clock changes included
	case !day || !has(s.Hour, t.Hour()) || wholeHours:
	case w.seconds && has(s.Minute, t.Minute()) && !full(s.Second, 0, 59):
		step = time.Second
	default:
		step = time.Minute
	}
	return t.Truncate(step).Add(step)
}

func has(bits uint64, value int) bool { return bits>>uint(value)&1 == 1 }

func (w *Window) always() bool {
	s := &w.cron.spec
	// Two lists of days are either-or, so one full list is enough.
	days := full(s.Dom, 1, 31) && full(s.Dow, 0, 6) || s.Dom>>63|s.Dow>>63 == 0 && (full(s.Dom, 1, 31) || full(s.Dow, 0, 6))
	return (!w.seconds || full(s.Second, 0, 59)) && full(s.Minute, 0, 59) && full(s.Hour, 0, 23) && full(s.Month, 1, 12) && days
}

func full(bits uint64, low, high uint) bool {
	for i := low; i <= high; i++ {
		if bits>>i&1 == 0 {
			return false
		}
	}
	return true
}

// String returns the expression and its time zone.
func (w *Window) String() string {
	if zone := w.cron.spec.Location; zone != time.Local {
		return w.cron.text + " " + zone.String()
	}
	return w.cron.text
}

// Equal reports whether two windows open and close at the same moments because
// they are written alike.
func (w *Window) Equal(o *Window) bool {
	if w == nil || o == nil {
		return w == o
	}
	return w.String() == o.String()
}

// MarshalText implements encoding.TextMarshaler.
func (w *Window) MarshalText() ([]byte, error) { return []byte(w.String()), nil }
