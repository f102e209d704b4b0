package hosts

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// row is how long it took, in the worst case of a fault's slots.
type row struct {
	fault             string
	times             int
	shared, solo      time.Duration // until others ran them; zero: they stayed
	promise, promise2 time.Duration
}

// report is what came of one lock type.
type report struct {
	kind    string
	rows    []row
	rounds  int
	verdict verdict
}

func (r *report) judged(v verdict) { r.verdict = v }

// took notes a takeover; the worst of each fault is kept.
func (r *report) took(fault string, shared, solo time.Duration) {
	i := slices.IndexFunc(r.rows, func(x row) bool { return x.fault == fault })
	if i < 0 {
		r.rows = append(r.rows, row{fault: fault})
		i = len(r.rows) - 1
	}
	x := &r.rows[i]
	x.times++
	x.shared, x.solo = max(x.shared, shared), max(x.solo, solo)
}

// reports collects those of all types.
type reports struct {
	mu  sync.Mutex
	all []*report
}

func (r *reports) add(one *report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, one)
}

// show prints the matrix.
func (r *reports) show(t *testing.T) {
	slices.SortFunc(r.all, func(a, b *report) int { return strings.Compare(a.kind, b.kind) })
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nLOCK\tFAULT\tTIMES\tSHARED ELSEWHERE AFTER\tEXCLUSIVE ELSEWHERE AFTER\n")
	for _, one := range r.all {
		for _, x := range one.rows {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", one.kind, x.fault, x.times, seconds(x.shared), seconds(x.solo))
		}
	}
	fmt.Fprintf(w, "\nLOCK\tPROCESSES\tFAULTS\tTWO AT A TIME\tEXCLUSIVE AFTER A THAW\tLONGEST\tSHARED WHILE PARTED\tTOGETHER\n")
	for _, one := range r.all {
		v := one.verdict
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\t%d\t%s\n", one.kind, v.lives, one.rounds, len(v.wrong), len(v.thawed),
			v.longest.Round(time.Millisecond), len(v.parted), seconds(v.doubled))
	}
	_ = w.Flush()
	t.Log(b.String())
}

func seconds(d time.Duration) string {
	if d == 0 {
		return "stays"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
