package main

import (
	"bytes"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// grid is a live table of which only the rows on the screen are drawn. The cursor
// stays on its row, wherever sorting and filtering put that.
type grid[T any] struct {
	columns []gridColumn[T]
	name    func(*T) string       // tells rows apart
	finds   func(*T, string) bool // whether a filter, in lower case, means a row

	all     []T // as the daemon lists them
	rows    []T // filtered and sorted
	order   int // index of the column sorted by; -1: as the daemon lists them
	reverse bool
	filter  string
	marks   map[string]bool // names of marked rows
	cursor  int             // in rows
	first   int             // row on top of the screen
	room    int             // rows that fit on the screen, as of the last draw
	at      string          // name of the row under the cursor
	least   []int           // widths of the columns so far: the table stands still while it is scrolled
}

type gridColumn[T any] struct {
	column
	cell func(statusView, *T) cell
	rank func(a, b *T) int // nil: it cannot be sorted by
}

func newGrid[T any](name func(*T) string, finds func(*T, string) bool, columns ...gridColumn[T]) *grid[T] {
	return &grid[T]{columns: columns, name: name, finds: finds, order: -1, marks: map[string]bool{}, least: make([]int, len(columns))}
}

// set takes what the daemon lists now.
func (g *grid[T]) set(all []T) {
	g.all = all
	there := map[string]bool{}
	for i := range all {
		there[g.name(&all[i])] = true
	}
	for name := range g.marks {
		if !there[name] {
			delete(g.marks, name)
		}
	}
	g.arrange()
}

// arrange filters and sorts anew. Rows that are equal stay in the daemon's order.
func (g *grid[T]) arrange() {
	g.rows = g.rows[:0]
	want := strings.ToLower(g.filter)
	for i := range g.all {
		if want == "" || g.finds(&g.all[i], want) {
			g.rows = append(g.rows, g.all[i])
		}
	}
	if g.order >= 0 {
		rank := g.columns[g.order].rank
		slices.SortStableFunc(g.rows, func(a, b T) int {
			if g.reverse {
				a, b = b, a
			}
			return rank(&a, &b)
		})
	} else if g.reverse {
		slices.Reverse(g.rows)
	}
	if i := slices.IndexFunc(g.rows, func(v T) bool { return g.name(&v) == g.at }); i >= 0 {
		g.cursor = i
	}
	g.move(0)
}

// move takes the cursor n rows down.
func (g *grid[T]) move(n int) {
	g.cursor = max(0, min(g.cursor+n, len(g.rows)-1))
	if g.at = ""; len(g.rows) > 0 {
		g.at = g.name(&g.rows[g.cursor])
	}
}

// sortBy goes n columns on among those that can be sorted by; the daemon's order
// is one of them.
func (g *grid[T]) sortBy(n int) {
	orders := []int{-1}
	for i, c := range g.columns {
		if c.rank != nil {
			orders = append(orders, i)
		}
	}
	i := slices.Index(orders, g.order) + n
	g.order, g.reverse = orders[(i+len(orders))%len(orders)], false
	g.arrange()
}

// current is the row under the cursor; nil: there are none.
func (g *grid[T]) current() *T {
	if len(g.rows) == 0 {
		return nil
	}
	return &g.rows[g.cursor]
}

// meant are the names of the marked rows, or of the one under the cursor.
func (g *grid[T]) meant() []string {
	var names []string
	for i := range g.all {
		if name := g.name(&g.all[i]); g.marks[name] {
			names = append(names, name)
		}
	}
	if len(names) == 0 && g.at != "" {
		names = append(names, g.at)
	}
	return names
}

// mark marks the row under the cursor, or no more, and goes on to the next.
func (g *grid[T]) mark() {
	if g.at == "" {
		return
	}
	if g.marks[g.at] {
		delete(g.marks, g.at)
	} else {
		g.marks[g.at] = true
	}
	g.move(1)
}

// margin is where cursor and marks stand.
const margin = 2

// draw returns the title and as many rows as fit into height lines.
func (g *grid[T]) draw(v statusView, height int) []string {
	g.room = max(1, height-1)
	g.first = max(0, min(g.first, len(g.rows)-g.room))
	g.first = min(max(g.first, g.cursor-g.room+1), g.cursor)
	shown := g.rows[g.first:min(g.first+g.room, len(g.rows))]
	var page bytes.Buffer
	width := v.width
	v.screen = v.to(&page)
	v.width = max(1, width-margin)
	t := g.table(v, shown)
	widths := t.fit(v.width)
	g.title(v, &t, widths)
	for i := range shown {
		g.row(v, &t, widths, i)
	}
	return strings.Split(strings.TrimSuffix(page.String(), "\n"), "\n")
}

// table has the rows on the screen, with columns that do not become narrower.
func (g *grid[T]) table(v statusView, shown []T) table {
	t := table{columns: make([]column, len(g.columns))}
	for i := range shown {
		r := t.add(make([]cell, len(g.columns))...)
		for k := range g.columns {
			r.cells[k] = g.columns[k].cell(v, &shown[i])
			if w := runewidth.StringWidth(r.cells[k].text); w > 0 && !g.columns[k].flex {
				g.least[k] = max(g.least[k], w, runewidth.StringWidth(g.columns[k].title))
			}
		}
	}
	for k, c := range g.columns {
		t.columns[k] = c.column
		t.columns[k].least = g.least[k]
		if k == g.order {
			t.columns[k].title += g.arrow(v)
			t.columns[k].drop = 0
			t.columns[k].least = max(g.least[k], runewidth.StringWidth(t.columns[k].title))
		}
	}
	return t
}

// arrow says which way it is sorted: columns of numbers have the greatest on top.
func (g *grid[T]) arrow(v statusView) string {
	if g.columns[g.order].right != g.reverse {
		return v.sign("▼", "v")
	}
	return v.sign("▲", "^")
}

func (g *grid[T]) title(v statusView, t *table, widths []int) {
	cells := make([]cell, len(t.columns))
	for k, c := range t.columns {
		cells[k] = cell{c.title, bold}
		if k == g.order {
			cells[k].style = chosen
		}
	}
	v.printf("%*s", margin, "")
	t.writeRow(v.screen, widths, cells)
}

// row draws the one under the cursor reversed, without the colours of its cells.
func (g *grid[T]) row(v statusView, t *table, widths []int, i int) {
	name := g.name(&g.rows[g.first+i])
	mark := " "
	if g.marks[name] {
		mark = v.sign("●", "*")
	}
	if g.first+i != g.cursor {
		v.printf(" %s", v.paint(yellow, mark))
		t.writeRow(v.screen, widths, t.rows[i].cells)
		return
	}
	var line bytes.Buffer
	s := v.to(&line)
	s.colour = false
	t.writeRow(s, widths, t.rows[i].cells)
	text := v.sign("▸", ">") + mark + strings.TrimRight(line.String(), "\n")
	v.printf("%s%s%s\n", reversed, runewidth.FillRight(v.cut(text, v.width+margin), v.width+margin), reset)
}

// Attributes that are no colours: NO_COLOR leaves them.
const (
	reversed = "\x1b[7m"
	reset    = "\x1b[0m"
)

// chosen marks the column that is sorted by.
const chosen style = "1;36"
