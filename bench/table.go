package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// results holds what was measured: figure key -> peer -> series.
type results struct {
	values   map[string]map[string]*series
	failures []string
}

func newResults() *results { return &results{values: map[string]map[string]*series{}} }

func (r *results) of(key, peer string) *series {
	if r.values[key] == nil {
		r.values[key] = map[string]*series{}
	}
	if r.values[key][peer] == nil {
		r.values[key][peer] = &series{}
	}
	return r.values[key][peer]
}

// row is one line of the table, and of the JSON.
type row struct {
	Figure  string  `json:"figure"`
	Title   string  `json:"title"`
	Peer    string  `json:"peer"`
	Median  float64 `json:"median"` // of the rounds
	Low     float64 `json:"low"`    // of the rounds
	High    float64 `json:"high"`
	Count   int     `json:"count"` // measurements behind the median
	Unit    string  `json:"unit"`
	Ratio   float64 `json:"ratio,omitempty"` // to the best floor; absent: no floor, or it is zero
	Goal    string  `json:"goal,omitempty"`
	Verdict string  `json:"verdict,omitempty"` // pass or miss
	format  string
}

// rows renders the measurements in the order of figures and peers. Goals are
// qsuper's.
func (r *results) rows(figures []figure, peers []string) []row {
	var out []row
	for _, f := range figures {
		floor := r.floor(f)
		for _, peer := range peers {
			s := r.values[f.key][peer]
			if s == nil || len(s.rounds) == 0 {
				continue
			}
			line := row{Figure: f.key, Title: f.title, Peer: peer, Unit: f.unit, Count: s.count,
				Median: s.headline() * f.scale, Low: slices.Min(s.rounds) * f.scale, High: slices.Max(s.rounds) * f.scale,
				format: fmt.Sprintf("%%.%df", f.decimals)}
			if floor > 0 {
				line.Ratio = line.Median / floor
			}
			if peer == "qsuper" {
				line.Goal = f.goalText()
				if ok, known := f.reached(line.Median, line.Ratio); known {
					line.Verdict = map[bool]string{true: "pass", false: "MISS"}[ok]
				}
			}
			out = append(out, line)
		}
	}
	return out
}

// floor is the best of the floors in the figure's unit; 0 = none, or nothing to
// compare with.
func (r *results) floor(f figure) float64 {
	best := math.NaN()
	for peer, s := range r.values[f.key] {
		if v := s.headline() * f.scale; strings.HasPrefix(peer, "floor") && !(f.more && v <= best) && !(!f.more && v >= best) {
			best = v
		}
	}
	if math.IsNaN(best) {
		return 0
	}
	return best
}

// printTable writes the rows for people: a figure's title once, numbers to the right.
func printTable(w io.Writer, rows []row) {
	cells := [][]string{{"figure", "peer", "median", "spread", "of", "unit", "× floor", "goal", ""}}
	last := ""
	for _, r := range rows {
		title := r.Title
		if r.Figure == last {
			title = ""
		}
		last = r.Figure
		cells = append(cells, []string{title, r.Peer, fmt.Sprintf(r.format, r.Median),
			fmt.Sprintf(r.format+" – "+r.format, r.Low, r.High), fmt.Sprint(r.Count), r.Unit, ratioText(r.Ratio), r.Goal, r.Verdict})
	}
	left := []bool{true, true, false, false, false, true, false, true, true}
	widths := make([]int, len(left))
	for _, line := range cells {
		for i, c := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for n, line := range cells {
		if n > 0 && line[0] != "" && !strings.HasPrefix(line[0], " ") {
			fmt.Fprintln(w)
		}
		var b strings.Builder
		for i, c := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if left[i] {
				b.WriteString(c + pad + "  ")
			} else {
				b.WriteString(pad + c + "  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// ratioText has two decimals, or as many as a small ratio needs.
func ratioText(r float64) string {
	switch {
	case r == 0:
		return "-"
	case r < 0.1:
		return fmt.Sprintf("%.2g", r)
	}
	return fmt.Sprintf("%.2f", r)
}

// machine is where and when the numbers were taken; without it they mean little.
type machine struct {
	Kernel     string `json:"kernel"`
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	LoadBefore string `json:"load_before"`
	LoadAfter  string `json:"load_after"`
	Children   int    `json:"children"`
	Rounds     int    `json:"rounds"`
	Seconds    int    `json:"seconds"` // the whole run
}

func writeJSON(path string, m machine, rows []row, failures []string) error {
	b, err := json.MarshalIndent(struct {
		Machine  machine  `json:"machine"`
		Rows     []row    `json:"rows"`
		Failures []string `json:"failures"`
	}{m, rows, failures}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

var processStart = time.Now()

// progress tells a waiting person what is going on, after how many seconds.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(processStart).Seconds(), fmt.Sprintf(format, args...))
}
