package main

import (
	"context"

	"github.com/spf13/cobra"

	"qsuper/control"
)

var resumeWords = wording{doing: "resuming", done: "resumed", noun: "resume", state: "running"}

type resumeOptions struct {
	names []string
	waitOptions
}

func newResumeCmd(a *app) *cobra.Command {
	var o resumeOptions
	cmd := &cobra.Command{
		Use:   "resume [NAME…]",
		Short: "Go on after pause",
		Long:  "Goes on after pause. Without names: all consumers." + exitHelp(exitDone, exitFailed, exitNoDaemon, exitKilled),
		Args:  args(0, -1), ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			if err := o.check(); err != nil {
				return err
			}
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runResume(ctx, c, o, out)
			})
		},
	}
	o.addFlags(cmd.Flags(), false)
	return cmd
}

func runResume(ctx context.Context, c *control.Client, o resumeOptions, out *screen) error {
	return runCommand(ctx, c, control.Command{Verb: control.VerbResume, Names: o.names, Wait: o.wait, Timeout: o.limit()}, resumeWords, out)
}
