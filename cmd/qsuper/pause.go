package main

import (
	"context"

	"github.com/spf13/cobra"

	"qsuper/control"
)

var pauseWords = wording{doing: "pausing", done: "paused", noun: "pause", state: "gone"}

type pauseOptions struct {
	names []string
	waitOptions
}

func newPauseCmd(a *app) *cobra.Command {
	var o pauseOptions
	cmd := &cobra.Command{
		Use:   "pause [NAME…]",
		Short: "Finish what runs, start nothing more",
		Long:  "What runs finishes its message and exits; nothing is started until resume.\nWithout names: all consumers." + exitHelp(exitDone, exitFailed, exitNoDaemon, exitKilled),
		Args:  args(0, -1), ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			if err := o.check(); err != nil {
				return err
			}
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runPause(ctx, c, o, out)
			})
		},
	}
	o.addFlags(cmd.Flags(), false)
	return cmd
}

func runPause(ctx context.Context, c *control.Client, o pauseOptions, out *screen) error {
	return runCommand(ctx, c, control.Command{Verb: control.VerbPause, Names: o.names, Wait: o.wait, Timeout: o.limit()}, pauseWords, out)
}
