package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"qsuper/control"
)

var startWords = wording{doing: "starting", done: "started", noun: "start", state: "running"}

// startTimeout ends the wait for consumers that crash again and again.
const startTimeout = 30 * time.Second

// startOptions is what is needed to start a daemon in the background.
type startOptions struct {
	config string // --config as it was given; "" = look for the file
}

func newStartCmd(a *app) *cobra.Command {
	var wait waitOptions
	cmd := &cobra.Command{
		Use: "start [NAME…]",
		Example: "  qsuper start\n" +
			"  qsuper start orders mails",
		Short: "Start the daemon in the background; with names, want those consumers up",
		Long: "Without names: starts the daemon in the background and returns when it answers; one that\n" +
			"runs already is left alone. Where systemd has a qsuper.service for the file, root has it\n" +
			"started by systemd. With names: ends a stop of these consumers and returns when they run\n" +
			"as far as their gates allow, after 30 s at most unless --timeout says otherwise." +
			exitHelp(exitDone, exitFailed, exitNoDaemon, exitHeld, exitConfig),
		Args:              args(0, -1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := wait.check(); err != nil {
				return err
			}
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				if len(names) > 0 {
					return runStart(ctx, c, names, wait, out)
				}
				start := func() error { return a.startDaemon(ctx, startOptions{config: a.config}) }
				return runStartDaemon(ctx, c, start, out)
			})
		},
	}
	wait.addFlags(cmd.Flags(), true)
	return cmd
}

func runStart(ctx context.Context, c *control.Client, names []string, wait waitOptions, out *screen) error {
	if wait.wait && wait.timeout == 0 {
		wait.timeout = startTimeout
	}
	cmd := control.Command{Verb: control.VerbStart, Names: names, Wait: wait.wait, Timeout: wait.limit()}
	return runCommand(ctx, c, cmd, startWords, out)
}

func runStartDaemon(ctx context.Context, c *control.Client, start func() error, out *screen) error {
	st, err := c.Status(ctx, control.StatusQuery{})
	if err == nil && !bereft(st.Daemon.KeeperPID, st.Daemon.EnginePID) {
		return started(out, st, "runs already")
	}
	if _, none := errors.AsType[*control.NoDaemon](err); err != nil && !none {
		return err
	}
	if err := start(); err != nil {
		return err
	}
	if st, err = c.Status(ctx, control.StatusQuery{}); err != nil {
		return err
	}
	return started(out, st, "started")
}

func started(out *screen, st control.Status, how string) error {
	if out.json {
		return printJSON(out, st.Daemon)
	}
	d := st.Daemon
	out.printf("the daemon %s %s: pid %d, %s of %s\n", oneLine(d.Name), how, d.KeeperPID, plural(len(st.Consumers), "consumer"), oneLine(d.Config.Path))
	if how != "started" {
		out.printf("to start consumers that were stopped: qsuper start NAME…\n")
	}
	return nil
}
