package main

import (
	"context"
	"errors"
	"os"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"qsuper/control"
)

func newTopCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "top",
		Example: "  qsuper top",
		Short:   "Live view of the fleet, to look into and to operate",
		Long: "The fleet on the whole screen, once a second: sorted and filtered, with a page about each\n" +
			"consumer (why it runs or does not, its instances, its output, its events) and with the\n" +
			"commands start, stop, restart, stop-workers, pause, resume and scale. \"?\" lists the keys.\n" +
			"NO_COLOR or --color never leaves out colours." + exitHelp(exitDone, exitNoDaemon),
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runTop(ctx, c, out, a.now)
			})
		},
	}
}

// runTop shows the live view until a person has had enough (exit 0).
func runTop(ctx context.Context, c *control.Client, out *screen, now clockFunc) error {
	switch {
	case out.json:
		return usage("see \"qsuper status --json\"", "top is for people, and prints no JSON")
	case !out.live:
		return usage("use \"qsuper status --watch\"", "top needs a terminal that can redraw its lines")
	case !term.IsTerminal(int(os.Stdin.Fd())):
		return usage("use \"qsuper status --watch\"", "top needs a keyboard: standard input is no terminal")
	}
	st, err := c.Status(ctx, control.StatusQuery{Slots: true, Usage: true})
	if err != nil {
		return err
	}
	p := tea.NewProgram(newTop(ctx, c, out, now, st), tea.WithContext(ctx), tea.WithoutSignalHandler())
	if _, err = p.Run(); errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil // told by a signal
	}
	return err
}
