package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"qsuper/control"
)

func newExplainCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "explain NAME[/SLOT]",
		Example: "  qsuper explain orders\n" +
			"  qsuper explain orders/2",
		Short: "Why a consumer runs or does not: each gate with its evidence",
		Long: "Prints what decides whether a consumer runs, in the order in which it is looked at,\n" +
			"with the evidence; then what holds each instance, and the last ten exits.",
		Args:              args(1, 1),
		ValidArgsFunction: a.completeOneName,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runExplain(ctx, c, names[0], out, a.now)
			})
		},
	}
}

func runExplain(ctx context.Context, c *control.Client, name string, out *screen, now clockFunc) error {
	ex, err := c.Explain(ctx, name)
	if err != nil {
		return err
	}
	if out.json {
		return printJSON(out, ex)
	}
	var page bytes.Buffer
	v := explainView{out.to(&page), now()}
	v.print(ex)
	_, err = page.WriteTo(out)
	return err
}

// explainView renders an Explain for a person.
type explainView struct {
	*screen
	now time.Time
}

func (v explainView) print(ex control.Explain) {
	name := oneLine(ex.Consumer)
	if ex.Slot != nil {
		name += fmt.Sprintf("/%d", *ex.Slot)
	}
	v.printf("%s: %s, %d of %s running\n", v.paint(bold, name), v.paint(stateColour(ex.State), oneLine(ex.State)), ex.Running, plural(ex.Wanted, "wanted instance"))
	if ex.Reason != "" {
		v.wrap(plain, "  ", "  ", oneLine(ex.Reason))
	}
	v.section("Gates, in the order they are looked at")
	v.gates(ex.Gates, 2)
	if len(ex.Slots) > 0 {
		v.section("Instances")
		v.slots(ex)
	}
	if len(ex.Exits) > 0 {
		v.section("Last exits, newest first")
		v.exits(ex)
	}
	if ex.State == "backoff" {
		v.printf("\nwhat it printed: qsuper logs %s\n", name)
	}
}

func (v explainView) section(title string) { v.printf("\n%s\n", v.paint(bold, title)) }

// gates prints one line a gate, its evidence beside it in a column of its own.
func (v explainView) gates(all []control.Gate, indent int) {
	longest := 0
	for _, g := range all {
		longest = max(longest, runewidth.StringWidth(oneLine(g.Name)))
	}
	for _, g := range all {
		mark, st := v.mark(g.State)
		name := runewidth.FillRight(oneLine(g.Name), longest)
		left := indent + 2 + longest + 2
		evidence := v.fold(oneLine(g.Evidence), left)
		if g.State == "skipped" {
			name, evidence = v.paint(dim, name), v.paint(dim, evidence)
		}
		v.printf("%s\n", strings.TrimRight(fmt.Sprintf("%*s%s %s  %s", indent, "", v.paint(st, mark), name, evidence), " "))
	}
}

// fold breaks text so that it stays right of column left.
func (v explainView) fold(text string, left int) string {
	unlimited := v.width-left < flexLeast // or too narrow to look better
	return strings.Join(lines(text, v.width-left, unlimited), "\n"+strings.Repeat(" ", left))
}

func (v explainView) mark(state string) (string, style) {
	switch state {
	case "open":
		return v.sign("✓", "+"), green
	case "closed":
		return v.sign("✗", "x"), red
	case "skipped":
		return v.sign("–", "-"), dim
	default:
		return "?", yellow
	}
}

func (v explainView) slots(ex control.Explain) {
	t := table{columns: []column{{title: "  SLOT"}, {title: "PHASE"}, {title: "WANT"}, {title: "REASON", flex: true}}}
	for _, s := range ex.Slots {
		r := t.add(
			cell{text: fmt.Sprintf("  %s/%d", oneLine(ex.Consumer), s.Slot)},
			cell{oneLine(s.Phase), phaseStyle(control.SlotStatus{Phase: s.Phase})},
			cell{text: oneLine(s.Want)}, cell{text: oneLine(s.Reason)},
		)
		for _, g := range s.Gates {
			if g.State == "open" || g.State == "skipped" {
				continue // what does not stand in the way is said above, once for all
			}
			mark, _ := v.mark(g.State)
			r.notes = append(r.notes, fmt.Sprintf("%s %s: %s", mark, oneLine(g.Name), oneLine(g.Evidence)))
		}
	}
	t.write(v.screen)
}

func (v explainView) exits(ex control.Explain) {
	t := table{columns: []column{
		{title: "  WHEN"}, {title: "AGO", right: true, drop: 1}, {title: "SLOT", right: true}, {title: "RUN", right: true, drop: 2},
		{title: "RAN", right: true}, {title: "CLASS"}, {title: "HOW", flex: true},
	}}
	for _, e := range ex.Exits {
		how := howEnded(e.ExitStatus)
		if s := stopStep(e.ExitStatus); s != "" {
			how += ", " + s
		}
		if detail := oneLine(e.Detail); detail != "" && !strings.Contains(how, detail) {
			how += ": " + detail
		}
		t.add(
			cell{text: "  " + clock(e.At)}, cell{text: ago(v.now, e.At)}, cell{text: fmt.Sprint(e.Slot)}, cell{text: fmt.Sprint(e.Run)},
			cell{text: humaneSeconds(e.Seconds)}, cell{oneLine(e.Class), classStyle(e.Class)}, cell{text: how},
		)
	}
	t.write(v.screen)
}

func classStyle(class string) style {
	switch class {
	case "clean", "empty", "recycled", "stopped":
		return plain
	case "unknown":
		return yellow
	default:
		return red
	}
}

func stateColour(state string) style {
	switch state {
	case "running":
		return green
	case "backoff", "stopping":
		return yellow
	case "held":
		return red
	default:
		return plain
	}
}
