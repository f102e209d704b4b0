package main

import (
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"

	"qsuper/control"
)

// outcomes prints one line for each instance that ended or started, and returns
// how many there are.
func outcomes(out *screen, r control.CommandReply, w wording) int {
	var told []control.Outcome
	longest := 0
	for _, o := range r.Outcomes {
		// A stop has nothing to tell of a slot in which nothing ran.
		if w.state != "gone" || o.Exit != nil || o.PID != 0 {
			told = append(told, o)
			longest = max(longest, runewidth.StringWidth(instance(o)))
		}
	}
	for _, o := range told {
		text, st := outcome(o, w)
		out.printf("%s  %s\n", runewidth.FillRight(instance(o), longest), out.paint(st, text))
	}
	return len(told)
}

func instance(o control.Outcome) string {
	return fmt.Sprintf("%s/%d", oneLine(o.Consumer), o.Slot)
}

// outcome says how the former instance ended and, unless it was to be gone,
// what stands in its place.
func outcome(o control.Outcome, w wording) (string, style) {
	var parts []string
	st := plain
	if o.Exit != nil {
		text, how := ending(*o.Exit)
		parts, st = append(parts, text), how
	}
	switch {
	case o.Phase == "draining" || o.Phase == "killing":
		parts, st = append(parts, fmt.Sprintf("%s, pid %d", oneLine(o.Phase), o.PID)), yellow
	case o.PID != 0:
		parts = append(parts, fmt.Sprintf("runs with pid %d", o.PID))
	case w.state == "gone" && o.Exit != nil:
	case o.Reason != "":
		parts = append(parts, oneLine(o.Reason))
	default:
		parts = append(parts, oneLine(o.Phase))
	}
	return strings.Join(parts, "; "), st
}

// ending says how one stop ended: exit 0 after 1.2s, killed after 30s of grace.
func ending(e control.ExitStatus) (string, style) {
	took := ""
	if e.StopSeconds > 0 {
		took = " after " + humaneSeconds(e.StopSeconds)
	}
	text, st := howEnded(e)+took, plain
	switch {
	case e.Step == "idle":
		text, st = "ended between two messages"+took, plain
	case e.Step == "kill" && took != "":
		text, st = "killed"+took+" of grace", red
	case e.Step == "kill":
		text, st = "killed", red
	case e.Signal != "":
		text = "ended by " + text
	case e.Code < 0:
		text, st = "gone"+took+", its exit code is not known", yellow
	case e.Code > 0:
		st = yellow
	}
	if detail := oneLine(e.Detail); detail != "" && !strings.Contains(text, detail) {
		text += " (" + detail + ")"
	}
	return text, st
}

// stopStep is ending's word for the exits of explain.
func stopStep(e control.ExitStatus) string {
	switch e.Step {
	case "kill":
		return "killed after " + humaneSeconds(e.StopSeconds)
	case "idle":
		return "ended between two messages after " + humaneSeconds(e.StopSeconds)
	case "signal":
		return "stopped in " + humaneSeconds(e.StopSeconds)
	}
	return ""
}
