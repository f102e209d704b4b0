package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Timetable says when a job fires: a cron expression in a time zone, or a fixed
// interval. Where a clock is changed it does what cronie does:
//
// An expression without a star in its seconds, minutes and hours means moments
// of the day. One that a change skips comes right after it, one that is repeated
// counts the first time only. Changes of more than maxChange (a country that
// skips a day) are none of that: what they skip does not come, what they repeat
// counts again.
//
// Any other expression, and an interval, follow the time that passes: what is
// skipped does not come, and both passes of a repeated hour count.
type Timetable struct {
	cron  *Cron
	every time.Duration // instead of cron
	zone  *time.Location
}

// maxChange is the longest change of a clock in which a moment of the day is
// caught up with.
const maxChange = 3 * time.Hour

// Fire is one moment at which a job is due.
type Fire struct {
	At   time.Time // in the timetable's zone; zero: never
	Note string    // what a clock change had to do with it; "" = nothing
}

// ParseTimetable reads a schedule: 5 fields, 6 with seconds in front, @hourly and
// its like, or "@every 90s" in whole seconds, which counts from 1970-01-01T00:00Z,
// so that a restart moves nothing. zone nil means the host's.
func ParseTimetable(text string, zone *time.Location) (*Timetable, error) {
	if zone == nil {
		zone = time.Local
	}
	rest, every := strings.CutPrefix(strings.TrimSpace(text), "@every")
	if !every {
		c, err := ParseCron(text, zone)
		if err != nil {
			return nil, err
		}
		return &Timetable{cron: c, zone: zone}, nil
	}
	d, err := time.ParseDuration(strings.TrimSpace(rest))
	switch {
	case err != nil || rest != "" && rest[0] != ' ' && rest[0] != '\t':
		return nil, errors.New("@every needs one duration, such as @every 30s")
	case d < time.Second || d%time.Second != 0:
		return nil, fmt.Errorf("@every %s is not a whole number of seconds", d)
	}
	return &Timetable{every: d, zone: zone}, nil
}

// Next returns the first fire after t; there is none within the next 12 years
// when its At is zero.
func (t *Timetable) Next(after time.Time) Fire {
	if t.cron != nil {
		return t.cron.fire(after)
	}
	past := after.Sub(time.Unix(0, 0)) % t.every // saturates 292 years from 1970 on
	if past < 0 {
		past += t.every
	}
	return Fire{At: after.Add(t.every - past).In(t.zone)}
}

// Zone is the time zone that the expression is meant in.
func (t *Timetable) Zone() *time.Location { return t.zone }

// String returns the schedule as it was written.
func (t *Timetable) String() string {
	if t.cron == nil {
		return "@every " + t.every.String()
	}
	return t.cron.String()
}

// Equal reports whether two timetables are written alike.
func (t *Timetable) Equal(o *Timetable) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t.String() == o.String() && t.zone.String() == o.zone.String()
}

// MarshalText implements encoding.TextMarshaler.
func (t *Timetable) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// fire is Timetable.Next for an expression. It goes from one change of the clock
// to the next: between two of them the zone is one of a fixed offset, for which
// the cron library is right.
func (c *Cron) fire(after time.Time) Fire {
	zone := c.spec.Location
	last := after.AddDate(12, 0, 0)
	for t, floor := after.In(zone), after; floor.Before(last); {
		start, end := t.ZoneBounds()
		if repeated := change(start, zone); !c.wild && repeated < 0 && repeated >= -maxChange {
			if seen := start.Add(-repeated - 1); floor.Before(seen) {
				floor = seen
			}
		}
		at := c.within(floor, offset(t))
		if !at.IsZero() && (end.IsZero() || at.Before(end)) {
			return Fire{At: at.In(zone), Note: c.repeats(at, end, zone)}
		}
		if end.IsZero() {
			break
		}
		if note := c.skipped(end, floor, zone); note != "" {
			return Fire{At: end.In(zone), Note: note}
		}
		t, floor = end.In(zone), end.Add(-1)
	}
	return Fire{}
}

// within is the first match after t in a zone of a fixed offset, in seconds.
func (c *Cron) within(t time.Time, offset int) time.Time {
	spec := c.spec
	spec.Location = time.UTC
	shift := time.Duration(offset) * time.Second
	for range 3 { // robfig/cron gives up after five years; the 29th of February skips 2100
		if next := spec.Next(t.UTC().Add(shift)); !next.IsZero() {
			return next.Add(-shift)
		}
		t = t.AddDate(4, 0, 0)
	}
	return time.Time{}
}

// skipped says which moment of the day the change of the clock at end leaves
// out; "" = none that had still to come at floor.
func (c *Cron) skipped(end, floor time.Time, zone *time.Location) string {
	gap := change(end, zone)
	if c.wild || gap <= 0 || gap > maxChange || !floor.Before(end) {
		return ""
	}
	before := offset(end.Add(-1).In(zone))
	missed := c.within(end.Add(-1), before)
	if missed.IsZero() || !missed.Before(end.Add(gap)) {
		return ""
	}
	return clock(missed.UTC().Add(time.Duration(before)*time.Second)) + " does not exist on this day: the clock is put forward"
}

// repeats says that a moment comes twice and this is the first.
func (c *Cron) repeats(at, end time.Time, zone *time.Location) string {
	if c.wild || end.IsZero() {
		return ""
	}
	if back := -change(end, zone); back > 0 && back <= maxChange && !at.Before(end.Add(-back)) {
		return clock(at.In(zone)) + " comes twice on this day: the first counts"
	}
	return ""
}

// change is by how much the clocks of a zone are put forward at a moment;
// negative: back.
func change(at time.Time, zone *time.Location) time.Duration {
	if at.IsZero() {
		return 0
	}
	return time.Duration(offset(at.In(zone))-offset(at.Add(-1).In(zone))) * time.Second
}

func offset(t time.Time) int {
	_, seconds := t.Zone()
	return seconds
}

func clock(t time.Time) string {
	if t.Second() == 0 {
		return t.Format("15:04")
	}
	return t.Format("15:04:05")
}
