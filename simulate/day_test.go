package simulate

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"qsuper/plan"
)

var (
	update = flag.Bool("update", false, "write the table in docs/scaling.md anew")
	seed   = flag.Uint64("seed", 1, "of the day; only that of seed 1 is in docs/scaling.md")
)

const document = "../docs/scaling.md"

// own is qsuper with at most 20 instances, none when nothing waits.
func own(edit func(*plan.Program)) *Own {
	p := plan.Program{Name: "mails", Max: 20, OnMessages: true, Queue: "mails on broker", Cooldown: 30 * time.Second, IdleTimeout: time.Minute}
	edit(&p)
	return &Own{Program: p, Interval: time.Second}
}

func maxWait(d time.Duration) *Own { return own(func(p *plan.Program) { p.MaxWait = d }) }

func perInstance(n int) *Own { return own(func(p *plan.Program) { p.PerInstance = n }) }

func horizon() Rule { return &Horizon{Min: 1, Max: 20, Shift: 1, Cooldown: 3 * time.Second} }

func keda(per int) Rule {
	return &KEDA{Max: 20, PerPod: per, Polling: 30 * time.Second, Sync: 15 * time.Second, Stabilization: 5 * time.Minute, Cooldown: 5 * time.Minute}
}

// row is a rule with how its day went.
type row struct {
	name string
	Result
}

// day has all rules govern the same day. A message takes a second, a start two.
func day(room int) map[string]row {
	w := Work{Mean: time.Second, Startup: 2 * time.Second, Life: 10 * time.Minute, Aged: true, Room: room}
	rows := map[string]row{}
	for name, rule := range map[string]Rule{
		"1 `max_wait: 60s`": maxWait(time.Minute), "2 `max_wait: 10m`": maxWait(10 * time.Minute), "3 `per_instance: 60`": perInstance(60),
		"4 Horizon, `balance: auto`": horizon(), "5 KEDA, 60 a pod": keda(60), "6 KEDA, 5 a pod": keda(5),
	} {
		rows[name[:1]] = row{name[2:], Run(Typical(*seed), w, *seed, time.Minute, rule)}
	}
	return rows
}

// table is what a day has come to, as Markdown.
func table(rows map[string]row) string {
	var b strings.Builder
	b.WriteString("| | mean wait | 95 % within | longest | over 60 s | instance hours | starts | most at once |\n|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for n := range len(rows) {
		r := rows[fmt.Sprint(n+1)]
		fmt.Fprintf(&b, "| %s | %.0f s | %.0f s | %.0f s | %.1f %% | %.0f | %d | %d |\n", r.name, r.Mean.Seconds(), r.P95.Seconds(), r.Max.Seconds(),
			100*r.Late, r.InstanceTime.Hours(), r.Starts, r.Most)
	}
	return b.String()
}

// TestDay plays a day of bursts, with an import at night and an outage, beside the
// published rules of others, and compares the tables with those in the document.
func TestDay(t *testing.T) {
	free, bound := day(0), day(4)
	t.Logf("seed %d, each as quick as alone:\n%s", *seed, table(free))
	t.Logf("seed %d, four at a time:\n%s", *seed, table(bound))
	for _, rows := range []map[string]row{free, bound} {
		for _, r := range rows {
			if r.Left > 0 {
				t.Errorf("%s: %d messages are left", r.name, r.Left)
			}
		}
	}
	ours := free["1"]
	for _, n := range []string{"4", "5"} {
		if o := free[n]; ours.Late > o.Late || ours.P95 > o.P95 {
			t.Errorf("%s: %.1f %% late, 95 %% within %v; %s: %.1f %%, %v", ours.name, 100*ours.Late, ours.P95, o.name, 100*o.Late, o.P95)
		}
	}
	if o := free["6"]; ours.InstanceTime > o.InstanceTime*4/5 {
		t.Errorf("%s takes %v of instances, %s %v", ours.name, ours.InstanceTime, o.name, o.InstanceTime)
	}
	if slow := free["2"]; slow.Max > 10*time.Minute || slow.InstanceTime > free["5"].InstanceTime*4/5 || slow.InstanceTime > free["4"].InstanceTime*4/5 {
		t.Errorf("%s: longest %v, %v of instances", slow.name, slow.Max, slow.InstanceTime)
	}
	ours = bound["1"]
	for n, share := range map[string]float64{"4": 0.95, "5": 1.1, "6": 0.7} {
		if o := bound[n]; ours.InstanceTime.Seconds() > share*o.InstanceTime.Seconds() || ours.Mean > o.Mean*13/10 {
			t.Errorf("where adding does not help, %s takes %v for a mean of %v, %s %v for %v", ours.name, ours.InstanceTime, ours.Mean, o.name, o.InstanceTime, o.Mean)
		}
	}
	if *seed == 1 {
		written(t, "free", table(free))
		written(t, "bound", table(bound))
	}
}

// written compares a part of the document, between two comments, with what it
// should be.
func written(t *testing.T, part, want string) {
	t.Helper()
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+part+" -->\n", "<!-- /"+part+" -->"
	head, rest, ok := strings.Cut(string(raw), begin)
	is, tail, ok2 := strings.Cut(rest, end)
	switch {
	case !ok || !ok2:
		t.Fatalf("%s has no part %s", document, part)
	case *update:
		if err := os.WriteFile(document, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	case is != want:
		t.Errorf("%s says\n%sbut it is\n%s(go test ./simulate -run TestDay -update)", document, is, want)
	}
}
