package main

import "fmt"

// figure is one row group of the table.
type figure struct {
	key      string // as measured
	group    string // as chosen by -figures
	title    string
	unit     string
	scale    float64 // from the measured value to the unit
	decimals int
	more     bool // more is better
	goal     *goal
}

// goal is what qsuper must reach. Exactly one limit counts, and which side of
// it is good follows from the figure.
type goal struct {
	limit   float64 // in the figure's unit, or a multiple of the floor
	ofFloor bool
}

// groups are the values of -figures, in the order of the table.
var groups = []string{"start", "replace", "restarts", "memory", "idle", "status", "stop", "logs", "latency"}

// Measured values are seconds, bytes, bytes per second, counts.
const (
	milli = 1e3
	mega  = 1e-6
	mebi  = 1.0 / (1 << 20)
)

// catalog lists all figures for n children.
func catalog(n int) []figure {
	of := func(title string) string { return fmt.Sprintf("%s, %d", title, n) }
	limit := func(v float64) *goal { return &goal{limit: v} }
	floors := func(v float64) *goal { return &goal{limit: v, ofFloor: true} }
	list := []figure{
		{key: "start", group: "start", title: of("start all"), unit: "ms", scale: milli, goal: floors(2)},
		{key: "replace-p50", group: "replace", title: of("replace one, p50"), unit: "ms", scale: milli, decimals: 2, goal: floors(1.6)},
		{key: "replace-p99", group: "replace", title: of("replace one, p99"), unit: "ms", scale: milli, decimals: 2, goal: floors(1.6)},
		{key: "restarts", group: "restarts", title: fmt.Sprintf("restarts, %d slots", recycleSlots), unit: "/s", scale: 1, more: true, goal: limit(3000)},
		{key: "pss", group: "memory", title: of("PSS"), unit: "MiB", scale: mebi, decimals: 1, goal: limit(24)},
		{key: "threads", group: "memory", title: of("threads"), scale: 1, goal: limit(64)},
		{key: "idle", group: "idle", title: of("idle CPU in 30 s"), unit: "ms", scale: milli, decimals: 1, goal: limit(30)},
		{key: "idle-probe", group: "idle", title: "  with a probe a second", unit: "ms", scale: milli, decimals: 1, goal: limit(300)},
		{key: "status", group: "status", title: of("status"), unit: "ms", scale: milli, decimals: 1, goal: limit(8)},
		{key: "status-json", group: "status", title: "  --json --verbose", unit: "ms", scale: milli, decimals: 1},
		{key: "stop", group: "stop", title: of("stop all"), unit: "ms", scale: milli, goal: floors(2)},
	}
	for _, k := range []struct {
		key, title string
		goal       float64
	}{{"lines", "100-byte lines", 540}, {"blocks", "64 KiB blocks", 1200}} {
		list = append(list,
			figure{key: "log-" + k.key, group: "logs", title: fmt.Sprintf("log %s, %d children", k.title, captureWriters),
				unit: "MB/s", scale: mega, more: true, goal: limit(k.goal)},
			figure{key: "log-" + k.key + "-cpu", group: "logs", title: "  own CPU per GB", unit: "s", scale: 1, decimals: 2, goal: limit(1)})
	}
	for _, d := range latencyIntervals {
		list = append(list, figure{key: "latency-" + d.String(), group: "latency", title: "message to start, interval " + d.String(),
			unit: "ms", scale: milli, goal: limit(50)}) // the file tells of a message: the interval does not matter
	}
	return list
}

// text says what the goal is.
func (f figure) goalText() string {
	if f.goal == nil {
		return ""
	}
	sign := "≤"
	if f.more {
		sign = "≥"
	}
	if f.goal.ofFloor {
		return fmt.Sprintf("%s %g × floor", sign, f.goal.limit)
	}
	return fmt.Sprintf("%s %g %s", sign, f.goal.limit, f.unit)
}

// reached says whether the goal is met by a value in the figure's unit that is
// ratio times the floor (0 = no floor was measured). known is false when that
// cannot be said.
func (f figure) reached(value, ratio float64) (ok, known bool) {
	if f.goal == nil || f.goal.ofFloor && ratio == 0 {
		return false, false
	}
	if f.goal.ofFloor {
		value = ratio
	}
	if f.more {
		return value >= f.goal.limit, true
	}
	return value <= f.goal.limit, true
}
