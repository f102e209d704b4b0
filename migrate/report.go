package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Level says what became of something.
type Level string

// The levels, best first.
const (
	Exact   Level = "exact"   // qsuper does the same
	Note    Level = "note"    // nothing differs, but it is worth knowing
	Changed Level = "changed" // qsuper does it in another way
	Lost    Level = "lost"    // qsuper does not do it, or it was not converted
)

// Item is one thing of the source that is not simply the same.
type Item struct {
	Level Level  `json:"level"`
	File  string `json:"file,omitempty"`
	Line  int    `json:"line,omitempty"`
	Name  string `json:"name,omitempty"` // consumer or job in qsuper.yaml; "" = the whole file
	Key   string `json:"key,omitempty"`  // option of the source
	Text  string `json:"text"`
}

// String renders an item as compilers do: file:line: level: name: key: text.
func (i Item) String() string {
	parts := []string{}
	switch {
	case i.File != "" && i.Line > 0:
		parts = append(parts, fmt.Sprintf("%s:%d", i.File, i.Line))
	case i.File != "" && i.Key != "everywhere": // that is no place
		parts = append(parts, i.File)
	}
	parts = append(parts, string(i.Level))
	for _, p := range []string{i.Name, i.Key} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(append(parts, i.Text), ": ")
}

// Report is what became of a source.
type Report struct {
	Source    string   `json:"source"` // supervisor, crontab, magento, systemd
	Mode      Mode     `json:"mode,omitempty"`
	Files     []string `json:"files"`     // every file that was read
	Converted []string `json:"converted"` // consumers and jobs that were written
	Refused   []string `json:"refused"`   // what was not converted
	Instances int      `json:"instances"` // of the consumers, at most
	Items     []Item   `json:"items"`
}

// Add notes an item.
func (r *Report) Add(level Level, file string, line int, name, key, format string, args ...any) {
	r.Items = append(r.Items, Item{level, file, line, name, key, fmt.Sprintf(format, args...)})
}

// Refuse notes that something was not converted, and why.
func (r *Report) Refuse(file string, line int, name, key, format string, args ...any) {
	r.Refused = append(r.Refused, name)
	r.Add(Lost, file, line, name, key, "not converted: "+format, args...)
}

// Sort orders the items by place and drops repetitions. Items of the whole file
// that have no line stand at the end.
func (r *Report) Sort() {
	order := map[string]int{}
	for i, f := range r.Files {
		order[f] = i
	}
	late := func(i Item) int {
		if i.Line == 0 {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(r.Items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(late(a), late(b)), cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	r.Items = slices.Compact(r.Items)
}

// Of is what became of one consumer or job: its worst level. What holds for the
// whole file does not count.
func (r *Report) Of(name string) Level {
	worst := Exact
	rank := []Level{Exact, Note, Changed, Lost}
	for _, i := range r.Items {
		if i.Name == name && slices.Index(rank, i.Level) > slices.Index(rank, worst) {
			worst = i.Level
		}
	}
	if worst == Note {
		return Exact
	}
	return worst
}

// Count is how many items have a level.
func (r *Report) Count(level Level) int {
	n := 0
	for _, i := range r.Items {
		if i.Level == level {
			n++
		}
	}
	return n
}

// Code is the exit code of an import: 0 nothing is lost, 1 with losses, 2 nothing
// was converted.
func (r *Report) Code() int {
	switch {
	case len(r.Converted) == 0:
		return 2
	case len(r.Refused) > 0 || r.Count(Lost) > 0:
		return 1
	}
	return 0
}

// Summary is the last line of the report.
func (r *Report) Summary() string {
	levels := map[Level]int{}
	for _, name := range r.Converted {
		levels[r.Of(name)]++
	}
	text := fmt.Sprintf("%d converted: %d exact, %d changed, %d with losses", len(r.Converted), levels[Exact], levels[Changed], levels[Lost])
	if len(r.Refused) > 0 {
		text += fmt.Sprintf("; %d not converted", len(r.Refused))
	}
	return text
}
