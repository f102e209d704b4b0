package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"qsuper/control"
)

var restartWords = wording{doing: "restarting", done: "restarted", noun: "restart", state: "renewed"}

type restartOptions struct {
	names          []string
	now            bool
	rolling        bool
	maxUnavailable string
	surge          string
	waitOptions
}

func (o *restartOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.rolling, "rolling", false, "first one, then a few at a time; it ends when new instances do not stay up")
	f.StringVar(&o.maxUnavailable, "max-unavailable", "", "with --rolling: how many may be away at once, a `number` or a share (default 25%)")
	f.StringVar(&o.surge, "surge", "", "with --rolling: start a `number` or a share of extra instances first, so that never fewer run")
	f.BoolVar(&o.now, "now", false, "kill without grace; messages under way are cut off")
	o.waitOptions.addFlags(f, true)
}

func newRestartCmd(a *app) *cobra.Command {
	var o restartOptions
	cmd := &cobra.Command{
		Use: "restart [NAME…]",
		Example: "  qsuper restart orders\n" +
			"  qsuper restart --rolling --max-unavailable 2 'mail*'",
		Short: "Restart what should be up, gracefully, at once or a few at a time",
		Long: "Restarts every instance that should be up; what was stopped on purpose stays down.\n" +
			"Without names: all consumers, but not the daemon.\n" +
			"--rolling replaces one first, and goes on when it has stayed up; when new instances crash it is\n" +
			"given up, and those not replaced yet go on. --surge is for consumers that may have more instances\n" +
			"for a moment: not for those with a shared or a foreign lock, or instances: 1." +
			exitHelp(exitDone, exitFailed, exitNoDaemon, exitKilled),
		Args:              args(0, -1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			if err := o.check(); err != nil {
				return err
			}
			switch {
			case o.maxUnavailable != "" && !o.rolling:
				return usage("add --rolling", "--max-unavailable means nothing without --rolling")
			case o.surge != "" && !o.rolling:
				return usage("add --rolling", "--surge means nothing without --rolling")
			case o.surge != "" && (o.maxUnavailable != "" || o.now):
				return usage("give --surge alone", "with --surge none is taken away before there is another")
			}
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runRestart(ctx, c, o, out)
			})
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func runRestart(ctx context.Context, c *control.Client, o restartOptions, out *screen) error {
	return runCommand(ctx, c, control.Command{
		Verb: control.VerbRestart, Names: o.names, Now: o.now, Wait: o.wait, Timeout: o.limit(),
		Rolling: o.rolling, MaxUnavailable: o.maxUnavailable, Surge: o.surge,
	}, restartWords, out)
}
