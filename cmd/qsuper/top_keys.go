package main

import (
	tea "charm.land/bubbletea/v2"
)

// key carries out what a key means.
func (t *top) key(m tea.KeyPressMsg) tea.Cmd {
	name := m.String()
	switch {
	case name == "ctrl+c":
		return tea.Quit
	case name == "ctrl+z":
		return tea.Suspend
	case t.prompt != nil:
		return t.answer(name, m.Text)
	case t.help:
		t.help = false
		return nil
	}
	if t.notice != "" && t.doing == 0 {
		t.notice = ""
	}
	switch name {
	case "q":
		return tea.Quit
	case "?", "f1", "h":
		t.help = true
		return nil
	case "esc", "backspace":
		return t.back()
	case "ctrl+l":
		return tea.ClearScreen
	}
	if t.walk(name) {
		return nil
	}
	for _, a := range topActions {
		if a.key == name {
			t.ask(a)
			return nil
		}
	}
	return t.turn(name)
}

// turn goes to another page.
func (t *top) turn(name string) tea.Cmd {
	subject := t.subject
	switch t.tab {
	case tabFleet:
		r := t.fleet.current()
		if r == nil {
			return nil
		}
		subject = r.Name
	case tabSlots:
		if at := t.slots.at; at != "" && (name == "enter" || name == "l" || name == "e") {
			subject = at
		}
	}
	switch name {
	case "enter", "right":
		switch t.tab {
		case tabFleet:
			return t.open(tabWhy, subject)
		case tabSlots:
			return t.open(tabLogs, subject)
		}
	case "1", "d":
		return t.open(tabWhy, subject)
	case "2", "i":
		return t.open(tabSlots, consumerOf(subject))
	case "3", "l":
		return t.open(tabLogs, subject)
	case "4", "e":
		return t.open(tabEvents, subject)
	case "tab":
		if t.tab != tabFleet {
			return t.turn(string("2341"[t.tab-1]))
		}
	case "shift+tab":
		if t.tab != tabFleet {
			return t.turn(string("4123"[t.tab-1]))
		}
	}
	return nil
}

// back leaves what was opened last: a filter, marks, an instance, a consumer.
func (t *top) back() tea.Cmd {
	switch {
	case t.tab == tabFleet && len(t.fleet.marks) > 0:
		clear(t.fleet.marks)
	case t.tab == tabFleet && t.fleet.filter != "":
		t.fleet.filter = ""
		t.fleet.arrange()
	case t.tab == tabSlots && len(t.slots.marks) > 0:
		clear(t.slots.marks)
	case t.tab == tabSlots && t.slots.filter != "":
		t.slots.filter = ""
		t.slots.arrange()
	case t.subject != t.consumer():
		return t.open(tabSlots, t.consumer())
	case t.tab != tabFleet:
		return t.open(tabFleet, t.subject)
	}
	return nil
}

// pager is what can be walked through.
type pager interface{ move(n int) }

// walk moves through a table or a text, sorts and marks; false: the key is for
// something else.
func (t *top) walk(name string) bool {
	var p pager = &t.text
	page := t.text.room
	switch t.tab {
	case tabFleet:
		p, page = t.fleet, t.fleet.room
		if listKey(t, t.fleet, name) {
			return true
		}
	case tabSlots:
		p, page = t.slots, t.slots.room
		if listKey(t, t.slots, name) {
			return true
		}
	default:
		switch name {
		case "right":
			t.text.left += 20
			return true
		case "left":
			t.text.left = max(0, t.text.left-20)
			return true
		}
	}
	const far = 1 << 30
	switch name {
	case "up", "k":
		p.move(-1)
	case "down", "j":
		p.move(1)
	case "pgup", "ctrl+b":
		p.move(-max(1, page-1))
	case "pgdown", "ctrl+f":
		p.move(max(1, page-1))
	case "home", "g":
		p.move(-far)
	case "end", "G":
		p.move(far)
	default:
		return false
	}
	return true
}

// listKey are the keys of tables.
func listKey[T any](t *top, g *grid[T], name string) bool {
	switch name {
	case ">", ".":
		g.sortBy(1)
	case "<", ",":
		g.sortBy(-1)
	case "o":
		g.reverse = !g.reverse
		g.arrange()
	case "space":
		g.mark()
	case "/":
		t.prompt = &prompt{text: "/", input: true, filter: true, typed: g.filter, former: g.filter}
	default:
		return false
	}
	return true
}

// answer takes a key for the question on the last line.
func (t *top) answer(name, text string) tea.Cmd {
	p := t.prompt
	if !p.input {
		t.prompt = nil
		if name == "y" || name == "Y" {
			return p.yes("")
		}
		t.say(dim, "nothing was done")
		return nil
	}
	switch name {
	case "enter":
		t.prompt = nil
		if p.yes != nil && p.typed != "" {
			return p.yes(p.typed)
		}
		return nil
	case "esc":
		t.prompt = nil
		p.typed = p.former
	case "backspace":
		if runes := []rune(p.typed); len(runes) > 0 {
			p.typed = string(runes[:len(runes)-1])
		}
	case "ctrl+u":
		p.typed = ""
	default:
		p.insert(text)
	}
	t.filter(p)
	return nil
}

// filter applies what has been typed so far.
func (t *top) filter(p *prompt) {
	switch {
	case !p.filter:
	case t.tab == tabFleet:
		t.fleet.filter = p.typed
		t.fleet.arrange()
	case t.tab == tabSlots:
		t.slots.filter = p.typed
		t.slots.arrange()
	}
}
