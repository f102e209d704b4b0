package healthtest

import (
	"os"
	"strings"
	"testing"

	"qsuper/health"
)

// Page is where users read what each type knows, seen from health/backends.
const Page = "../../docs/backends.md"

// page compares what the suite has shown of a type with what its row promises.
func (s *Suite) page(t *testing.T) {
	text, err := os.ReadFile(Page)
	if err != nil {
		t.Fatal(err)
	}
	row := Row(string(text), s.Row)
	if row == nil {
		t.Fatalf("%s has no row for %s", Page, s.Row)
	}
	conn, err := s.Spec(t, s.Addr, s.Password).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, wakes := conn.(health.Waker)
	knows := map[string]bool{"wakes": wakes}
	if q := s.Queues; q != nil {
		knows["ready"] = true
		knows["in flight"], knows["delayed"] = q.Take != nil || q.InFlightZero, q.Delay != nil
		knows["oldest"], knows["missing"] = q.Age != nil, q.Missing != nil
	}
	for column, known := range knows {
		cell, there := row[column]
		switch says := cell != "-" && !strings.HasPrefix(cell, "- "); {
		case !there && column != "wakes": // layouts do not differ in that
			t.Errorf("%s: the table has no column %q", s.Row, column)
		case there && cell != "per layout" && says != known:
			t.Errorf("%s: %s says %q under %q, but the suite shows: known %v", s.Row, Page, cell, column, known)
		}
	}
}

// Row is the row of a type in the page's first table, or, for "type/layout", that of
// a layout in the first one of the section that has the type in its heading: cells by
// column. nil: there is none.
func Row(page, name string) map[string]string {
	typ, layout, inSection := strings.Cut(name, "/")
	want, here := "`"+typ+"`", !inSection
	if inSection {
		want = "`" + layout + "`"
	}
	var columns []string
	for line := range strings.Lines(page) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			here = inSection && strings.Contains(" "+strings.TrimSpace(strings.ReplaceAll(heading, ",", " "))+" ", " "+typ+" ")
		}
		if !here || !strings.HasPrefix(line, "|") {
			columns = nil
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if columns == nil {
			columns = cells
		}
		if cells[0] != want || len(cells) != len(columns) {
			continue
		}
		row := map[string]string{}
		for i, c := range columns {
			row[c] = cells[i]
		}
		return row
	}
	return nil
}
