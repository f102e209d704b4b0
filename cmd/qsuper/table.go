package main

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// column is one column of a table.
type column struct {
	title string
	right bool // numbers
	drop  int  // on a narrow screen the column with the highest number goes first; 0 = it stays
	flex  bool // takes the room that is left, and is cut there
	least int  // columns it takes even where its texts are shorter, so that a live table stands still
}

type cell struct {
	text  string
	style style
}

// row is a line of cells; notes stand below it, wrapped and indented.
type row struct {
	cells []cell
	notes []string
}

// table is the one writer of tables. A column without any text is left out.
type table struct {
	columns []column
	rows    []row
}

func (t *table) add(cells ...cell) *row {
	t.rows = append(t.rows, row{cells: cells})
	return &t.rows[len(t.rows)-1]
}

const (
	gap       = 2
	flexLeast = 30 // what a flexible column is given before others are dropped for it
	flexWorst = 6  // below this it says nothing any more
	nameLeast = 12 // what the first column is cut to at worst
)

func (t *table) write(s *screen) {
	widths := t.fit(s.width)
	cells := make([]cell, len(t.columns))
	for i, c := range t.columns {
		cells[i] = cell{c.title, bold}
	}
	t.writeRow(s, widths, cells)
	for _, r := range t.rows {
		t.writeRow(s, widths, r.cells)
		for _, n := range r.notes {
			s.wrap(plain, "    ", "    ", n)
		}
	}
}

// fit returns the width of each column; 0 = left out.
func (t *table) fit(screen int) []int {
	widths := make([]int, len(t.columns))
	flex := -1
	for i, c := range t.columns {
		for _, r := range t.rows {
			if w := runewidth.StringWidth(r.cells[i].text); w > 0 {
				widths[i] = max(widths[i], w, runewidth.StringWidth(c.title))
			}
		}
		widths[i] = max(widths[i], c.least)
		if c.flex {
			flex = i
		}
	}
	if screen == 0 {
		return widths
	}
	wanted := 0
	if flex >= 0 {
		wanted = min(widths[flex], flexLeast)
	}
	for t.spare(widths, flex, screen) < wanted {
		worst := -1
		for i, c := range t.columns {
			if c.drop > 0 && widths[i] > 0 && (worst < 0 || c.drop > t.columns[worst].drop) {
				worst = i
			}
		}
		if worst < 0 {
			break
		}
		widths[worst] = 0
	}
	if missing := wanted - t.spare(widths, flex, screen); missing > 0 {
		widths[0] = max(min(widths[0], nameLeast), widths[0]-missing)
	}
	if flex >= 0 {
		if widths[flex] = min(widths[flex], t.spare(widths, flex, screen)); widths[flex] < flexWorst {
			widths[flex] = 0
		}
	}
	return widths
}

// spare is the room that the other columns leave for the flexible one.
func (t *table) spare(widths []int, flex, screen int) int {
	for i, w := range widths {
		if w > 0 && i != flex {
			screen -= w + gap
		}
	}
	if flex < 0 {
		screen += gap
	}
	return screen
}

func (t *table) writeRow(s *screen, widths []int, cells []cell) {
	var b strings.Builder
	room := 0 // blanks owed before the next text
	for i, c := range cells {
		if widths[i] == 0 {
			continue
		}
		text := s.cut(c.text, widths[i])
		pad := widths[i] - runewidth.StringWidth(text)
		if t.columns[i].right {
			room, pad = room+pad, 0
		}
		if text != "" {
			b.WriteString(strings.Repeat(" ", room))
			b.WriteString(s.paint(c.style, text))
			room = 0
		}
		room += pad + gap
	}
	s.printf("%s\n", b.String())
}

// wrap prints text in as many lines as it needs; margin stands before the
// first, further before the others.
func (s *screen) wrap(st style, margin, further, text string) {
	for i, line := range lines(text, s.width-max(len(margin), len(further)), s.width == 0) {
		if i > 0 {
			margin = further
		}
		s.printf("%s\n", s.paint(st, margin+line))
	}
}

// lines breaks text between words so that each line has at most width columns,
// unless a single word is longer.
func lines(text string, width int, unlimited bool) []string {
	var all []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case unlimited || runewidth.StringWidth(line)+1+runewidth.StringWidth(word) <= width:
			line += " " + word
		default:
			all = append(all, line)
			line = word
		}
	}
	return append(all, line)
}
