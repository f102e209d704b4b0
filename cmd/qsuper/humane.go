package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// humane writes a duration with at most two units: 0.4s, 12s, 3m12s, 2d4h.
func humane(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "0s"
	case d < 9950*time.Millisecond:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + "s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return units(d/time.Minute, "m", d%time.Minute/time.Second, "s")
	case d < day:
		return units(d/time.Hour, "h", d%time.Hour/time.Minute, "m")
	default:
		return units(d/day, "d", d%day/time.Hour, "h")
	}
}

func units(a time.Duration, unitA string, b time.Duration, unitB string) string {
	if b == 0 || a >= 100 {
		return fmt.Sprintf("%d%s", a, unitA)
	}
	return fmt.Sprintf("%d%s%d%s", a, unitA, b, unitB)
}

func humaneSeconds(s float64) string { return humane(time.Duration(s * float64(time.Second))) }

// ago is how long before now t was, in whole seconds; "" when t is not known.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return humane(now.Sub(t).Truncate(time.Second))
}

// count shortens numbers of more than five digits: 99999, 123k, 4.6M.
func count(n int64) string {
	if n < 100_000 {
		return strconv.FormatInt(n, 10)
	}
	value, unit := float64(n), 0
	for value >= 999.5 && unit < 4 {
		value /= 1000
		unit++
	}
	format := "%.0f%c"
	if value < 9.95 {
		format = "%.1f%c"
	}
	return fmt.Sprintf(format, value, " kMGT"[unit])
}

// size writes bytes with a 1024-based unit: 512B, 64MiB, 1.5GiB.
func size(n int64) string {
	value, unit := float64(n), 0
	for value >= 1023.5 && unit < 4 {
		value /= 1024
		unit++
	}
	format := "%.0f%s"
	if unit > 0 && value < 9.95 {
		format = "%.1f%s"
	}
	return fmt.Sprintf(format, value, []string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// clock writes a local time with its zone.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
