package schedule

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite generated files")

// TestTableInDocs writes what happens when clocks change into docs/jobs.md. What
// is right is in TestClockChanges.
func TestTableInDocs(t *testing.T) {
	var b strings.Builder
	b.WriteString("| zone | what its clocks do | date | moment of the day | `*/15` in the hours around | `0 * * * *` |\n|---|---|---|---|---|---|\n")
	for _, c := range []struct{ zone, what, date, fixed, from, until string }{
		{"Europe/Berlin", "02:00 → 03:00", "2026-03-29", "30 2", "01:30", "04:00"},
		{"Europe/Berlin", "03:00 → 02:00", "2026-10-25", "30 2", "01:45", "03:15"},
		{"America/New_York", "02:00 → 03:00", "2026-03-08", "30 2", "01:30", "04:00"},
		{"America/New_York", "02:00 → 01:00", "2026-11-01", "30 1", "00:45", "02:15"},
		{"Australia/Lord_Howe", "02:00 → 02:30", "2026-10-04", "15 2", "01:30", "03:15"},
		{"Australia/Lord_Howe", "02:00 → 01:30", "2026-04-05", "45 1", "01:15", "02:15"},
		{"America/Sao_Paulo", "00:00 → 01:00", "2018-11-04", "0 0", "01:00", "02:15"},
		{"Asia/Beirut", "00:00 → 01:00", "2026-03-29", "30 0", "01:00", "02:15"},
		{"Africa/Casablanca", "03:00 → 02:00", "2026-02-15", "30 2", "01:45", "03:15"},
		{"Asia/Kolkata", "nothing", "2026-03-29", "30 2", "01:45", "03:15"},
		{"UTC", "nothing", "2026-03-29", "30 2", "01:45", "03:15"},
	} {
		day := func(expression, from, until string) string {
			list := fires(t, expression, c.zone, c.date+" "+from+":00", c.date+" "+until+":00")
			for i, f := range list { // 02:30+0200* becomes 02:30\*, with the offset where it is needed to tell
				list[i] = strings.ReplaceAll(f, "*", "\\*")
			}
			return strings.Join(list, " ")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | `%s * * *`: %s | %s | %s |\n", c.zone, c.what, c.date, c.fixed,
			day(c.fixed+" * * *", "00:00", "23:59"), day("*/15 * * * *", c.from, c.until), day("0 * * * *", c.from, c.until))
	}
	const path, begin, end = "../docs/jobs.md", "<!-- clock changes -->\n", "<!-- end -->"
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the table", path)
	}
	want := head + begin + b.String() + end + tail
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(raw) {
		t.Errorf("the table in %s is not what the code does; go test ./schedule -update writes it anew", path)
	}
}
