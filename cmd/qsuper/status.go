package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"qsuper/control"
)

type statusOptions struct {
	names   []string
	verbose bool
	watch   bool
	fleet   bool          // all hosts that share a lock store
	columns bool          // supervisorctl's
	every   time.Duration // of watch
}

func (o *statusOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVarP(&o.verbose, "verbose", "v", false, "one row for each instance, and reasons in full")
	f.BoolVar(&o.columns, "supervisor", false, "supervisorctl's three columns, for scripts; 3 when an instance was stopped, has ended or crashes again and again")
	f.BoolVar(&o.fleet, "fleet", false, "all hosts that share a lock store with this one: who is there, where instances run, and why not elsewhere; with --json what \"qsuper locks --json\" prints")
	f.BoolVarP(&o.watch, "watch", "w", false, "keep it on the screen; without a terminal, print it whenever it changes")
}

func newStatusCmd(a *app) *cobra.Command {
	o := statusOptions{every: watchEvery}
	cmd := &cobra.Command{
		Use: "status [NAME…]",
		Example: "  qsuper status\n" +
			"  qsuper status --watch orders\n" +
			"  qsuper status --json",
		Short:             "What runs, how much waits, and why something does not run",
		Long:              "What runs, how much waits, and why something does not run." + exitHelp(exitDone, exitUnhealthy, exitNoDaemon),
		Args:              args(0, -1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			if o.columns && (o.watch || o.verbose || o.fleet || a.json) {
				return usage("give it alone", "--supervisor does not go with --watch, --verbose, --fleet or --json")
			}
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				if o.watch {
					return runWatch(ctx, c, o, out, a.now)
				}
				return runStatus(ctx, c, o, out, a.now)
			})
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func runStatus(ctx context.Context, c *control.Client, o statusOptions, out *screen, now clockFunc) error {
	st, err := c.Status(ctx, o.query(out))
	if err != nil {
		return err
	}
	if o.columns {
		return supervised(out, st, now())
	}
	if err := o.print(out, st, now); err != nil {
		return err
	}
	if o.fleet {
		return fleetHealthy(st)
	}
	return healthy(st)
}

// query asks for instances only when they are shown: a summary stays cheap
// with a thousand of them.
func (o statusOptions) query(out *screen) control.StatusQuery {
	all := o.verbose || out.json
	return control.StatusQuery{Names: o.names, Slots: all || o.columns, Usage: all}
}

func (o statusOptions) print(out *screen, st control.Status, now clockFunc) error {
	v := statusView{screen: out, now: now(), verbose: o.verbose}
	switch {
	case o.fleet && len(st.Locks) == 0:
		return errAlone(st)
	case o.fleet && out.json:
		return printJSON(out, st.Locks)
	case out.json:
		return printJSON(out, st)
	case o.fleet:
		return v.fleet(st)
	}
	return v.print(st)
}

// healthy is exit 3 when something that should be up is not.
func healthy(st control.Status) error {
	if slices.ContainsFunc(st.Consumers, func(c control.ConsumerStatus) bool { return !c.Healthy }) ||
		slices.ContainsFunc(st.Jobs, func(j control.JobStatus) bool { return !j.Healthy }) {
		return exit(exitUnhealthy)
	}
	return nil
}
