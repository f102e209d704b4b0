package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"qsuper/control"
)

var stopWords = wording{doing: "stopping", done: "stopped", noun: "stop", state: "gone"}

// goneEvery is how often a daemon that ends is asked whether it still answers.
const goneEvery = 10 * time.Millisecond

type stopOptions struct {
	names []string
	now   bool
	waitOptions
}

func (o *stopOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.now, "now", false, "kill without grace; messages under way are cut off")
	o.waitOptions.addFlags(f, true)
}

func newStopCmd(a *app) *cobra.Command {
	var o stopOptions
	cmd := &cobra.Command{
		Use: "stop [NAME…]",
		Example: "  qsuper stop orders\n" +
			"  qsuper stop orders/2 '@mail' --timeout 60s\n" +
			"  qsuper stop",
		Short: "Stop consumers gracefully; without names everything, then the daemon",
		Long: "Each instance is asked to finish its message and is killed only when its grace has passed.\n" +
			"Consumers that were stopped by name stay down, also over a restart of the daemon, until\n" +
			"they are started. Returns when it is true, and says how each instance ended. To stop the\n" +
			"daemon itself is for root and the daemon's own user; the socket's group may stop '*'." +
			exitHelp(exitDone, exitFailed, exitNoDaemon, exitKilled),
		Args:              args(0, -1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			if err := o.check(); err != nil {
				return err
			}
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runStop(ctx, c, o, out)
			})
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func runStop(ctx context.Context, c *control.Client, o stopOptions, out *screen) error {
	cmd := control.Command{Verb: control.VerbStop, Names: o.names, Now: o.now, Wait: o.wait, Timeout: o.limit()}
	if len(o.names) > 0 {
		return runCommand(ctx, c, cmd, stopWords, out)
	}
	return stopDaemon(ctx, c, cmd, out)
}

// stopDaemon stops everything and returns when the daemon's processes and its
// socket are gone, so that what comes next may start a new one.
func stopDaemon(ctx context.Context, c *control.Client, cmd control.Command, out *screen) error {
	st, err := c.Status(ctx, control.StatusQuery{})
	if err != nil {
		return err
	}
	keeper := watchProcess(st.Daemon.KeeperPID, st.Daemon.EnginePID)
	defer keeper.close()

	waiting := ctx
	if limit := cmd.Limit(); limit > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	lost, running := false, 0
	for _, consumer := range st.Consumers {
		running += consumer.Running
	}
	reply, err := withProgress(waiting, c, cmd, stopWords, out, running, func() (control.CommandReply, error) {
		reply, err := c.Shutdown(waiting, control.Shutdown{Now: cmd.Now, NoWait: !cmd.Wait})
		if _, lost = errors.AsType[*control.Lost](err); lost {
			err = nil // it ended before it had answered; whether it is gone is seen next
		}
		if err == nil && cmd.Wait {
			err = gone(waiting, c, keeper, st.Daemon)
		}
		return reply, err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return late(ctx, c, cmd, out)
	}
	if err != nil {
		return goesOn(err, cmd.Wait, stopWords)
	}
	return reportShutdown(reply, st, cmd, lost, out)
}

func reportShutdown(reply control.CommandReply, st control.Status, cmd control.Command, lost bool, out *screen) error {
	if out.json {
		if err := printJSON(out, reply); err != nil {
			return err
		}
		return verdict(reply, cmd, stopWords)
	}
	n := outcomes(out, reply, stopWords)
	name := "the daemon " + oneLine(st.Daemon.Name)
	switch {
	case !cmd.Wait:
		out.printf("stopping everything, then %s\n", name)
	case lost:
		out.printf("stopped %s; how each instance ended is in its log\n", name)
	case reply.Killed > 0:
		out.printf("stopped %s and %s, %d of them had to be killed\n", name, plural(n, "instance"), reply.Killed)
	default:
		out.printf("stopped %s and %s\n", name, plural(n, "instance"))
	}
	return verdict(reply, cmd, stopWords)
}

// late says who is still busy when the time given for stopping everything has
// passed.
func late(ctx context.Context, c *control.Client, cmd control.Command, out *screen) error {
	reply := control.CommandReply{TimedOut: true}
	st, err := c.Status(ctx, control.StatusQuery{Slots: true})
	if err != nil && !ended(err) {
		return err
	}
	for _, consumer := range st.Consumers {
		for _, s := range consumer.Slots {
			if s.PID != 0 {
				reply.Outcomes = append(reply.Outcomes, control.Outcome{Consumer: consumer.Name, Slot: s.Slot, Phase: s.Phase, PID: s.PID, Reason: s.Reason})
			}
		}
	}
	if out.json {
		if err := printJSON(out, reply); err != nil {
			return err
		}
	} else {
		outcomes(out, reply, stopWords)
	}
	return verdict(reply, cmd, stopWords)
}

// gone waits until the keeper has left and nobody answers.
func gone(ctx context.Context, c *control.Client, keeper *process, before control.DaemonStatus) error {
	if err := keeper.wait(ctx); err != nil {
		return err
	}
	for {
		st, err := c.Status(ctx, control.StatusQuery{})
		if _, none := errors.AsType[*control.NoDaemon](err); none {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && !st.Daemon.StartedAt.Equal(before.StartedAt) {
			return fmt.Errorf("everything was stopped, but another daemon answers at %s already: something has started it", c.Socket())
		}
		select { // it is about to end
		case <-ctx.Done():
		case <-time.After(goneEvery):
		}
	}
}
