// Package schedule says when: cron expressions, intervals and windows. It is
// pure: every answer depends on the time it is asked for, never on a clock.
package schedule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Cron is a parsed cron expression: 5 fields (minute hour day month weekday), 6
// with seconds in front, or @hourly, @daily, @midnight, @weekly, @monthly,
// @yearly, @annually. It is evaluated in the time zone it was parsed with.
type Cron struct {
	text string
	spec cron.SpecSchedule
	wild bool // a star in seconds, minutes or hours: it follows the time that passes
}

// The bits of a field of cron.SpecSchedule that stand for values; bit 63 only
// remembers that a star was written.
const valueBits = 1<<63 - 1

var (
	fiveFields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	sixFields  = cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
)

// ParseCron reads a cron expression for a time zone; nil means the host's. An
// expression that never fires, such as the 31st of February, is an error.
func ParseCron(text string, zone *time.Location) (*Cron, error) {
	if zone == nil {
		zone = time.Local
	}
	if len(text) > 1000 {
		return nil, errors.New("cron expression is longer than 1000 characters")
	}
	fields := strings.Fields(text)
	switch {
	case len(fields) == 0:
		return nil, errors.New("cron expression is empty")
	case strings.Contains(fields[0], "TZ="): // robfig/cron panics on TZ= without a blank behind it
		return nil, errors.New("a time zone does not belong into a cron expression; use the key timezone")
	case strings.HasPrefix(fields[0], "@"):
		if len(fields) > 1 {
			return nil, fmt.Errorf("unknown schedule %q; use @hourly, @daily, @weekly, @monthly or @yearly", text)
		}
	case len(fields) != 5 && len(fields) != 6:
		return nil, fmt.Errorf("cron expression %q has %d fields; expected 5 (minute hour day month weekday), or 6 with seconds in front", text, len(fields))
	}
	c := &Cron{text: strings.Join(fields, " ")}
	if err := c.parse(fields); err != nil {
		return nil, fmt.Errorf("cron expression %q is not valid: %w", text, err)
	}
	c.spec.Location = zone
	if c.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("cron expression %q never fires", text)
	}
	return c, nil
}

func (c *Cron) parse(fields []string) error {
	parser := fiveFields
	if len(fields) == 6 {
		parser = sixFields
	}
	for _, f := range fields {
		if strings.Contains(f, "*-") || strings.Contains(f, "?-") {
			return fmt.Errorf("%q is not a range", f) // robfig/cron reads it as *
		}
	}
	last := len(fields) - 1
	if last > 0 {
		days, err := weekdays(fields[last])
		if err != nil {
			return err
		}
		fields = append(fields[:last:last], days)
	}
	s, err := parser.Parse(strings.Join(fields, " "))
	if err != nil {
		return err
	}
	spec, ok := s.(*cron.SpecSchedule)
	if !ok {
		return errors.New("it has no fields")
	}
	for _, bits := range []uint64{spec.Second, spec.Minute, spec.Hour, spec.Dom, spec.Month, spec.Dow} {
		if bits&valueBits == 0 { // a lone comma; searching for it would take seconds
			return errors.New("a field is empty")
		}
	}
	c.spec = *spec
	c.wild = fields[0] == "@hourly"
	if last > 0 {
		c.wild = strings.ContainsAny(strings.Join(fields[:last-2], ""), "*?")
	}
	return nil
}

// weekdays makes 7 and a range up to sun mean Sunday, as crontab(5) has it and
// robfig/cron does not.
func weekdays(field string) (string, error) {
	out := strings.Split(strings.ToLower(field), ",")
	for i, part := range out {
		span, step, stepped := strings.Cut(part, "/")
		from, to, isRange := strings.Cut(span, "-")
		switch {
		case span == "7" && !stepped:
			out[i] = "0"
		case isRange && (to == "7" || to == "sun" && from != "sun" && from != "0"):
			start, every := strings.Index("sun mon tue wed thu fri sat", from), 1
			if start%4 == 0 && len(from) == 3 {
				start /= 4
			} else if n, err := strconv.Atoi(from); err == nil && n >= 0 && n <= 7 {
				start = n
			} else {
				return "", fmt.Errorf("%q is not a weekday", from)
			}
			if stepped {
				n, err := strconv.Atoi(step)
				if err != nil || n < 1 {
					return "", fmt.Errorf("step %q is not a positive number", step)
				}
				every = min(n, 7)
			}
			var days []string
			for d := start; d <= 7; d += every {
				days = append(days, strconv.Itoa(d%7))
			}
			out[i] = strings.Join(days, ",")
		}
	}
	return strings.Join(out, ","), nil
}

// Next returns the first moment after t at which the expression fires, in t's
// own time zone; the zero time when there is none within the next 12 years.
// Changes of the clock are dealt with as Timetable says.
func (c *Cron) Next(t time.Time) time.Time {
	next := c.fire(t).At
	if next.IsZero() {
		return next
	}
	return next.In(t.Location())
}

// String returns the expression as it was written.
func (c *Cron) String() string { return c.text }
