package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"qsuper/control"
)

func newPlanCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "plan",
		Short: "What a reload would change",
		Long: "Compares the file with what is in force, and says what \"qsuper reload\" would do: which\n" +
			"consumers and jobs come and go, and whose running instances would be replaced. The daemon\n" +
			"reads the file, so that its environment counts. Nothing is changed." +
			exitHelp(exitDone, exitFailed, exitNoDaemon, exitConfig),
		Example:           "  qsuper plan && qsuper reload",
		Args:              args(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.remote(cmd, runPlan) },
	}
}

func runPlan(ctx context.Context, c *control.Client, out *screen) error {
	r, err := c.Plan(ctx)
	if err != nil {
		return err
	}
	return printReply(out, r, "a reload would refuse the file, with %s", printPlan)
}

func printPlan(out *screen, r control.ReloadReply) {
	line := func(word string, color style, name, note string) {
		out.printf("%s  %s%s\n", out.paint(color, fmt.Sprintf("%-6s", word)), oneLine(name), note)
	}
	for _, name := range r.Added {
		line("add", green, name, "")
	}
	for _, name := range r.Changed {
		note := ": what runs goes on"
		if slices.Contains(r.Replaced, name) {
			note = ": running instances finish and come back"
		}
		line("change", yellow, name, note)
	}
	for _, name := range r.Removed {
		line("remove", red, name, ": running instances finish")
	}
	for _, name := range r.Connections {
		line("change", yellow, "connection "+name, "")
	}
	for _, key := range r.Settings {
		line("change", yellow, key, "")
	}
	for _, name := range slices.Sorted(maps.Keys(r.Unscaled)) {
		line("change", yellow, name, unscaled(r.Unscaled[name]))
	}
	out.printf("%s\n", remaining(r))
}
