package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"qsuper/control"
)

var scaleWords = wording{doing: "scaling", done: "scaled", noun: "scaling", state: "gone"}

type scaleOptions struct {
	targets []target
	waitOptions
}

// target is one NAME=N.
type target struct {
	name  string
	count int
}

func newScaleCmd(a *app) *cobra.Command {
	var o scaleOptions
	cmd := &cobra.Command{
		Use:     "scale NAME=N…",
		Example: "  qsuper scale orders=8 mails=2",
		Short:   "Change the number of instances until the next reload",
		Long: "Changes the number of instances until the next reload. Those above it finish their\n" +
			"message and exit; all others are not touched." +
			exitHelp(exitDone, exitFailed, exitNoDaemon, exitKilled),
		Args:              args(1, -1),
		ValidArgsFunction: a.completeScale,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.targets, err = parseTargets(args); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runScale(ctx, c, o, out)
			})
		},
	}
	o.addFlags(cmd.Flags(), false)
	return cmd
}

// parseTargets reads all of them before the first is carried out.
func parseTargets(args []string) ([]target, error) {
	var all []target
	for i, arg := range args {
		name, number, found := strings.Cut(arg, "=")
		n, err := strconv.Atoi(number)
		if !found || name == "" || err != nil || n < 0 {
			return nil, usage("write it as "+spelled(args[i:]), "cannot read %q", arg)
		}
		all = append(all, target{name, n})
	}
	return all, nil
}

// spelled is what was probably meant.
func spelled(args []string) string {
	name, _, _ := strings.Cut(args[0], "=")
	if name == "" {
		name = "orders"
	}
	if len(args) > 1 {
		if n, err := strconv.Atoi(args[1]); err == nil && n >= 0 {
			return name + "=" + args[1]
		}
	}
	return name + "=4"
}

func runScale(ctx context.Context, c *control.Client, o scaleOptions, out *screen) error {
	var worst error
	for _, t := range o.targets {
		cmd := control.Command{Verb: control.VerbScale, Names: []string{t.name}, Count: t.count, Wait: o.wait, Timeout: o.limit()}
		w := scaleWords
		w.suffix = " to " + strconv.Itoa(t.count)
		if err := runCommand(ctx, c, cmd, w, out); exitCode(err) == exitKilled {
			worst = err
		} else if err != nil {
			return err
		}
	}
	return worst
}
