package main

import (
	"context"

	"github.com/spf13/cobra"

	"qsuper/control"
)

var stopWorkersWords = wording{doing: "renewing workers of", done: "renewed", noun: "renewal", state: "renewed"}

type stopWorkersOptions struct {
	names []string
	waitOptions
}

func newStopWorkersCmd(a *app) *cobra.Command {
	var o stopWorkersOptions
	cmd := &cobra.Command{
		Use:   "stop-workers [NAME…]",
		Short: "Let every instance finish its message, exit and come back",
		Long:  "Every running instance finishes its message, exits, and comes back through the gates:\nnew code after a deploy. Without names: all consumers." + exitHelp(exitDone, exitFailed, exitNoDaemon, exitKilled),
		Args:  args(0, -1), ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			if err := o.check(); err != nil {
				return err
			}
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runStopWorkers(ctx, c, o, out)
			})
		},
	}
	o.addFlags(cmd.Flags(), false)
	return cmd
}

func runStopWorkers(ctx context.Context, c *control.Client, o stopWorkersOptions, out *screen) error {
	return runCommand(ctx, c, control.Command{Verb: control.VerbStopWorkers, Names: o.names, Wait: o.wait, Timeout: o.limit()}, stopWorkersWords, out)
}
