package main

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// hint is a key and what it does.
type hint struct{ key, does string }

// hints is the last line: the keys of this page, as many as fit.
func (t *top) hints(v statusView) string {
	var list []hint
	switch {
	case t.help:
		list = []hint{{"any key", "back"}}
	case t.prompt != nil && t.prompt.filter:
		list = []hint{{"Enter", "keep the filter"}, {"Esc", "drop it"}, {"@mail", "a group"}, {"wait", "names and states"}}
	case t.prompt != nil && t.prompt.input:
		list = []hint{{"Enter", "do it"}, {"Esc", "leave it"}}
	case t.prompt != nil:
		list = []hint{{"y", "do it"}, {"any other key", "leave it"}}
	case t.tab == tabFleet:
		list = []hint{{"?", "help"}, {"q", "quit"}, {"Enter", "why"}, {"l", "output"}, {"i", "instances"}, {"/", "filter"}, {"< >", "sort"}, {"s", "start"}, {"x", "stop"}, {"r", "restart"}, {"p", "pause"}, {"u", "resume"}, {"n", "scale"}, {"w", "stop-workers"}, {"Space", "mark"}, {"e", "events"}}
	case t.tab == tabSlots:
		list = []hint{{"?", "help"}, {"Esc", "back"}, {"Enter", "output"}, {"Tab", "next page"}, {"/", "filter"}, {"< >", "sort"}, {"s", "start"}, {"x", "stop"}, {"r", "restart"}, {"w", "stop-workers"}, {"q", "quit"}}
	default:
		list = []hint{{"?", "help"}, {"Esc", "back"}, {"Tab", "next page"}, {"PgUp PgDn", "scroll"}, {"End", "follow"}, {"s", "start"}, {"x", "stop"}, {"r", "restart"}, {"q", "quit"}}
	}
	line := ""
	for _, h := range list {
		part := v.paint(bold, h.key) + " " + v.paint(dim, h.does)
		if line != "" {
			part = "  " + part
		}
		if ansi.StringWidth(line+part) > v.width {
			break
		}
		line += part
	}
	return line
}

// helpLines are all keys, in two columns where they fit.
func helpLines(v statusView) []string {
	left := []hint{
		{"Up Down k j", "a row or line"}, {"PgUp PgDn", "a page"}, {"Home End", "first, last"},
		{"Enter", "open; then Tab or 1-4"}, {"Esc", "back"},
		{"1 d", "why it runs or does not"}, {"2 i", "instances"}, {"3 l", "output, followed"}, {"4 e", "events, followed"},
		{"/", "filter: name, state, @group"}, {"< >", "sort by another column"}, {"o", "the other way round"},
		{"Space", "mark for an action"}, {"Left Right", "the rest of long lines"}, {"q Ctrl-C", "quit"},
	}
	var right []hint
	for _, a := range topActions {
		right = append(right, hint{a.key, a.label})
	}
	right = append(right, hint{}, hint{"", "each asks first; what was"}, hint{"", "told goes on after q"}, hint{},
		hint{"", "they are for marked rows,"}, hint{"", "or the one under the cursor:"}, hint{"", "consumers, instances or jobs"},
		hint{"s", "on a job runs it now"})
	const keys, column = 13, 43
	write := func(h hint, keys int) string {
		return "  " + v.paint(bold, h.key) + strings.Repeat(" ", max(1, keys-len(h.key))) + h.does
	}
	var lines []string
	if v.width < column+36 {
		for _, h := range append(left, right...) {
			lines = append(lines, write(h, keys))
		}
		return lines
	}
	for i := range max(len(left), len(right)) {
		line := ""
		if i < len(left) {
			line = write(left[i], keys)
		}
		if i < len(right) {
			line += strings.Repeat(" ", max(0, column-ansi.StringWidth(line))) + write(right[i], 3)
		}
		lines = append(lines, line)
	}
	return lines
}
