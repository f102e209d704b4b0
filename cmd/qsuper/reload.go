package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"qsuper/control"
)

func newReloadCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "reload",
		Example: "  qsuper check && qsuper reload",
		Short:   "Read the file again and apply only what changed",
		Long: "Reads the file again and applies only what changed; instances of other consumers are not\n" +
			"touched. A file with a problem changes nothing. What \"qsuper scale\" has said ends here." +
			exitHelp(exitDone, exitFailed, exitNoDaemon, exitConfig),
		Args:              args(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.remote(cmd, runReload) },
	}
}

func runReload(ctx context.Context, c *control.Client, out *screen) error {
	r, err := c.Reload(ctx)
	if err != nil {
		return err
	}
	return printReply(out, r, "the file is refused with %s; nothing has changed", printReload)
}

// printReply shows what became, or would become, of the file: what is wrong with it, the
// number of which goes into refused, or else what changes.
func printReply(out *screen, r control.ReloadReply, refused string, changes func(*screen, control.ReloadReply)) error {
	if out.json {
		if err := printJSON(out, r); err != nil {
			return err
		}
	} else {
		for _, w := range r.Warnings {
			out.printf("%s %s\n", out.paint(yellow, "warning:"), oneLine(w))
		}
		for _, p := range r.Problems {
			fmt.Fprintln(out.stderr, escape(p, ""))
		}
		if len(r.Problems) == 0 {
			changes(out, r)
		} else {
			fmt.Fprintf(out.stderr, "qsuper: "+refused+"\n", plural(len(r.Problems), "problem"))
		}
	}
	if len(r.Problems) > 0 {
		return exit(exitConfig)
	}
	return nil
}

func printReload(out *screen, r control.ReloadReply) {
	for _, part := range []struct {
		word  string
		style style
		names []string
	}{{"added", green, r.Added}, {"changed", yellow, r.Changed}, {"removed", red, r.Removed},
		{"changed", yellow, r.Connections}, {"changed", yellow, r.Settings}} {
		for _, name := range part.names {
			out.printf("%s  %s\n", out.paint(part.style, fmt.Sprintf("%-7s", part.word)), oneLine(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Unscaled)) {
		out.printf("%s  %s%s\n", out.paint(yellow, "changed"), oneLine(name), unscaled(r.Unscaled[name]))
	}
	out.printf("%s\n", remaining(r))
}

// unscaled says of a consumer what becomes of the number that `scale` had given.
func unscaled(n int) string {
	return fmt.Sprintf(": no longer scaled to %d by hand, the file's number holds again", n)
}

// remaining says what stays as it was.
func remaining(r control.ReloadReply) string {
	if len(r.Added)+len(r.Changed)+len(r.Removed)+len(r.Connections)+len(r.Settings)+len(r.Unscaled) == 0 {
		return "nothing to do, " + unchanged(r)
	}
	return unchanged(r)
}

// unchanged counts what stays as it was.
func unchanged(r control.ReloadReply) string {
	if r.Unchanged == 1 {
		return "1 consumer or job unchanged"
	}
	return fmt.Sprintf("%d consumers and jobs unchanged", r.Unchanged)
}
