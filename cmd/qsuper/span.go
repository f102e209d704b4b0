package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// span is a length of time of the calendar: a duration, or whole days (3d) or
// weeks (2w), whose hours the clock may change. It is a flag's value.
type span struct {
	days int
	time time.Duration
}

func (s *span) String() string {
	if s.days > 0 {
		return strconv.Itoa(s.days) + "d"
	}
	return s.time.String()
}

func (s *span) Type() string { return "duration" }

func (s *span) Set(text string) error {
	for unit, days := range map[string]int{"d": 1, "w": 7} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.Atoi(number)
			if err != nil || n <= 0 || n > math.MaxInt32/days {
				return errors.New("give a whole number of days or weeks, such as 3d or 2w")
			}
			*s = span{days: n * days}
			return nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("give a duration such as 72h, 3d or 2w")
	}
	*s = span{time: d}
	return nil
}

// after is the end of a span that begins at t.
func (s *span) after(t time.Time) time.Time { return t.AddDate(0, 0, s.days).Add(s.time) }
