package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"qsuper/control"
)

// lines is the whole screen: as many lines as it has, none wider than it is.
func (t *top) lines() []string {
	v := statusView{screen: t.out, now: t.now()}
	if t.lost != nil {
		v.now = t.seen // what is shown was true then
	}
	const below = 2
	head := t.head(v)
	room := max(1, v.height-len(head)-below)
	var body []string
	switch {
	case t.help:
		body = helpLines(v)
	case t.tab == tabFleet:
		body = t.fleetLines(v, room)
	default:
		tabs := t.tabLine(v)
		body = append([]string{tabs}, t.page(v, max(1, room-1))...)
	}
	body = body[:min(len(body), room)]
	for i := range body {
		if t.lost != nil && !t.help {
			body[i] = t.out.paint(dim, ansi.Strip(body[i]))
		}
	}
	for len(body) < room {
		body = append(body, "")
	}
	all := slices.Concat(head, body, t.foot(v))
	all = all[:min(len(all), max(1, v.height))]
	for i := range all {
		all[i] = ansi.Truncate(all[i], v.width, "")
	}
	return all
}

// head is what is true of the whole fleet.
func (t *top) head(v statusView) []string {
	var page bytes.Buffer
	h := v
	h.screen = v.to(&page)
	clock := t.seen.Local().Format("15:04:05")
	h.daemon(t.st)
	lines := strings.Split(strings.TrimSuffix(page.String(), "\n"), "\n")
	first := ansi.Truncate(lines[0], max(20, v.width-len(clock)-2), v.sign("…", "~"))
	if rest, ok := strings.CutPrefix(first, oneLine(t.st.Daemon.Name)); ok {
		first = v.paint(bold, oneLine(t.st.Daemon.Name)) + rest
	}
	lines[0] = first + strings.Repeat(" ", max(2, v.width-ansi.StringWidth(first)-len(clock))) + v.paint(dim, clock)
	page.Reset()
	h.connections(t.st.Connections)
	h.outputs(t.st.Consumers)
	alerts := strings.Split(strings.TrimSuffix(page.String(), "\n"), "\n")
	if page.Len() == 0 {
		alerts = nil
	}
	if most := max(1, v.height/6); len(alerts) > most {
		alerts = append(alerts[:most-1], v.paint(red, fmt.Sprintf("%s %d more like these: qsuper status", v.sign("…", "..."), len(alerts)-most+1)))
	}
	lines = append(append(lines, t.counts(v)), alerts...)
	if t.lost != nil {
		text := fmt.Sprintf("%s asking again for %s: %s; below is what was seen before", v.sign("✗", "x"), ago(t.now(), t.seen), oneLine(t.lost.Error()))
		lines = append(lines, v.paint("1;31", v.cut(text, v.width)))
	}
	return append(lines, "")
}

// counts says how many consumers and jobs are in each state.
func (t *top) counts(v statusView) string {
	type state struct {
		name  string
		style style
	}
	n := map[string]int{}
	for i := range t.fleet.all {
		if r := &t.fleet.all[i]; r.Healthy {
			n[r.State]++
		} else {
			n["trouble"]++
		}
	}
	var parts []string
	for _, s := range []state{{"trouble", red}, {"backoff", yellow}, {"stopping", yellow}, {"held", plain}, {"running", green}, {"waiting", plain}, {"stopped", dim}} {
		if n[s.name] > 0 {
			parts = append(parts, v.paint(s.style, fmt.Sprintf("%s %d %s", v.sign("●", "*"), n[s.name], s.name)))
		}
	}
	return strings.Join(parts, "  ")
}

func (t *top) fleetLines(v statusView, room int) []string {
	switch {
	case len(t.fleet.all) == 0:
		return []string{"  no consumers in " + oneLine(t.st.Daemon.Config.Path)}
	case len(t.fleet.rows) == 0:
		return []string{v.paint(dim, fmt.Sprintf("  nothing is found by %q; Esc shows everything", t.fleet.filter))}
	}
	lines := t.fleet.draw(v, room)
	const title, least = 2, 3 // lines of a title with a blank above it, and of events that are worth one
	if spare := room - len(lines) - title; spare >= least && len(t.latest.lines) > 0 {
		lines = append(lines, "", margined(v.paint(bold, "LATEST EVENTS")))
		for _, l := range t.latest.draw(v.width-margin, min(spare, len(t.latest.lines))) {
			lines = append(lines, margined(l))
		}
	}
	return lines
}

func margined(line string) string { return strings.Repeat(" ", margin) + line }

// tabLine names the subject and its pages.
func (t *top) tabLine(v statusView) string {
	line := v.paint(bold, oneLine(t.subject))
	for _, r := range t.fleet.all {
		if r.Name == t.consumer() {
			line += " " + v.paint(stateStyle(r.State, r.Healthy), oneLine(r.State))
		}
	}
	for i, name := range []string{"Why", "Instances", "Output", "Events"} {
		text := fmt.Sprintf(" %d %s ", i+1, name)
		if tab(i+1) == t.tab {
			text = reversed + text + reset
		} else {
			text = v.paint(dim, text)
		}
		line += "  " + text
	}
	return line
}

// page is what stands below the line of tabs.
func (t *top) page(v statusView, room int) []string {
	if t.tab == tabSlots {
		if len(t.slots.rows) == 0 {
			return []string{v.paint(dim, "  no instances"+filtered(t.slots.filter))}
		}
		return t.slots.draw(v, room)
	}
	if len(t.text.lines) == 0 {
		text := "nothing yet"
		if t.tab == tabWhy {
			text = "asking"
		}
		return []string{v.paint(dim, "  "+text)}
	}
	return t.text.draw(v.width, room)
}

func filtered(filter string) string {
	if filter == "" {
		return ""
	}
	return fmt.Sprintf(" are found by %q; Esc shows all", filter)
}

// quietSlots is how many instances with nothing to tell make the page about why
// too long: they have a page of their own.
const quietSlots = 8

// showWhy writes the page about why: what `explain` prints.
func (t *top) showWhy() {
	if t.tab != tabWhy || t.ex == nil && t.exErr == nil {
		return
	}
	var page bytes.Buffer
	v := explainView{t.out.to(&page), t.now()}
	if t.exErr != nil {
		v.wrap(red, "", "", oneLine(t.exErr.Error()))
	} else {
		ex := *t.ex
		if len(ex.Slots) > quietSlots {
			ex.Slots = slices.DeleteFunc(slices.Clone(ex.Slots), func(s control.SlotExplain) bool { return s.Phase == "running" })
		}
		if more := len(ex.Slots) - quietSlots; more > 0 {
			ex.Slots = ex.Slots[:quietSlots]
			ex.Slots[quietSlots-1].Reason = fmt.Sprintf("(%d more like this one are on the page of instances)", more+1)
		}
		v.print(ex)
	}
	t.text.lines = strings.Split(strings.TrimRight(page.String(), "\n"), "\n")
}

// foot is the line of questions and outcomes, and the one of keys.
func (t *top) foot(v statusView) []string {
	line := ""
	switch {
	case t.prompt != nil && t.prompt.input:
		line = v.paint(bold, v.cut(t.prompt.text, v.width-len(t.prompt.typed)-1)+t.prompt.typed) + reversed + " " + reset
	case t.prompt != nil:
		const keys = " [y/n] "
		line = v.paint("1;33", v.cut(t.prompt.text, v.width-len(keys))+keys)
	case t.notice != "" && (t.doing > 0 || t.now().Sub(t.noticeAt) < noticeFor):
		line = v.paint(t.tone, v.cut(t.notice, v.width))
	case t.tab == tabFleet:
		line = v.paint(dim, t.place(v))
	case t.text.live && t.text.away:
		line = v.paint(dim, "not following; End follows again")
	}
	return []string{line, t.hints(v)}
}

// place says what part of the table is on the screen.
func (t *top) place(v statusView) string {
	g := t.fleet
	if len(g.rows) <= g.room && g.filter == "" && len(g.marks) == 0 {
		return ""
	}
	parts := []string{fmt.Sprintf("%d of %d", min(g.cursor+1, len(g.rows)), len(g.rows))}
	if g.filter != "" {
		parts = append(parts, fmt.Sprintf("found by %q among %d", g.filter, len(g.all)))
	}
	if len(g.marks) > 0 {
		parts = append(parts, fmt.Sprintf("%d marked", len(g.marks)))
	}
	return strings.Join(parts, " "+v.dot()+" ")
}
