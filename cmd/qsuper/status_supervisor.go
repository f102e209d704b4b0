package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"qsuper/control"
)

// supervised prints a status in the three columns of supervisorctl, one line an
// instance, for scripts that read those: name, state, description. It ends with
// 3 where supervisorctl does, and for a consumer that crashes again and again:
// that is BACKOFF here for ever, where Supervisor gives up and says FATAL.
func supervised(out *screen, st control.Status, now time.Time) error {
	type row struct{ name, state, text string }
	var rows []row
	width, down := 30, false
	consumers := slices.Clone(st.Consumers) // supervisorctl goes by name
	slices.SortFunc(consumers, func(a, b control.ConsumerStatus) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range consumers {
		down = down || !c.Healthy
		for _, s := range c.Slots {
			r := row{name: c.Name}
			if len(c.Slots) > 1 {
				r.name = fmt.Sprintf("%s/%d", c.Name, s.Slot)
			}
			var counts bool
			r.state, r.text, counts = supervisorState(s, now)
			down = down || counts
			width = max(width, len(r.name))
			rows = append(rows, r)
		}
	}
	for _, r := range rows {
		out.printf("%s\n", strings.TrimRight(fmt.Sprintf("%-*s%-10s%s", width+3, oneLine(r.name), r.state, oneLine(r.text)), " "))
	}
	if down {
		return exit(exitUnhealthy)
	}
	return nil
}

// supervisorState is a slot in Supervisor's words. down says that supervisorctl
// would end with 3 for it; an instance that waits for its turn or for messages is
// where it should be, which Supervisor has no word for.
func supervisorState(s control.SlotStatus, now time.Time) (state, text string, down bool) {
	switch s.Phase {
	case "running":
		return "RUNNING", fmt.Sprintf("pid %d, uptime %s", s.PID, uptime(now.Sub(s.Since))), false
	case "checking", "spawning":
		return "STARTING", "", false
	case "draining", "killing":
		return "STOPPING", "", false
	case "waiting", "halted":
	default:
		return "UNKNOWN", s.Phase, true
	}
	switch s.Code {
	case "backoff", "paced", "host", "breaker":
		return "BACKOFF", first(s.Reason, "it is started again later"), false
	case "permanent":
		return "FATAL", first(s.Reason, "exited with a code that means: do not start me again"), true
	case "ended":
		return "EXITED", endedAt(s), true
	case "stopped":
		return "STOPPED", endedAt(s), true
	}
	return "STOPPED", first(s.Reason, s.Code), false
}

// endedAt is when an instance ended, as supervisorctl writes it.
func endedAt(s control.SlotStatus) string {
	if s.LastExit == nil || s.LastExit.At.IsZero() {
		return "Not started"
	}
	return s.LastExit.At.Local().Format("Jan 02 03:04 PM")
}

// uptime is a duration as Python writes it: 0:01:02, or 1 day, 0:00:05.
func uptime(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	text := fmt.Sprintf("%d:%02d:%02d", s%86400/3600, s%3600/60, s%60)
	switch days := s / 86400; days {
	case 0:
		return text
	case 1:
		return "1 day, " + text
	default:
		return fmt.Sprintf("%d days, %s", days, text)
	}
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
