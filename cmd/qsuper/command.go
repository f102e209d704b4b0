package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"qsuper/control"
)

// waitOptions are the flags of commands that can wait until they have become true.
type waitOptions struct {
	wait    bool
	noWait  bool
	timeout time.Duration
}

// addFlags: waits says whether the command waits unless told otherwise.
func (o *waitOptions) addFlags(f *pflag.FlagSet, waits bool) {
	if waits {
		f.BoolVar(&o.noWait, "no-wait", false, "return as soon as the daemon has accepted it")
	} else {
		f.BoolVar(&o.wait, "wait", false, "return when it is done")
	}
	o.wait = waits
	f.DurationVar(&o.timeout, "timeout", 0, "wait no longer than this `duration`; what was asked for goes on")
}

// check completes the options after the flags have been read.
func (o *waitOptions) check() error {
	switch {
	case o.timeout < 0:
		return usage("give a duration such as 60s", "--timeout cannot be negative")
	case o.noWait && o.timeout > 0:
		return usage("give one of them", "--no-wait and --timeout exclude each other")
	case o.timeout > 0:
		o.wait = true
	case o.noWait:
		o.wait = false
	}
	return nil
}

func (o waitOptions) limit() string {
	if o.timeout == 0 {
		return ""
	}
	return o.timeout.String()
}

// wording is how a verb is reported.
type wording struct {
	doing string // stopping
	done  string // stopped
	noun  string // stop
	state string // what an instance is when it is done with: gone, renewed or running

	suffix string // after the names: " to 4"
}

// newVerbCmd completes a command that sends a verb with names and does not wait
// unless told to.
func newVerbCmd(a *app, verb string, w wording, cmd cobra.Command) *cobra.Command {
	var o waitOptions
	var fleet, app bool
	cmd.Long += exitHelp(exitDone, exitFailed, exitNoDaemon, exitKilled)
	cmd.Args, cmd.ValidArgsFunction = args(0, -1), a.completeNames
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		if err := o.check(); err != nil {
			return err
		}
		return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
			if fleet {
				return runFleet(ctx, c, control.Command{Verb: verb, Names: names, Wait: o.wait, Timeout: o.limit(), Fleet: true, App: app}, w, out)
			}
			return runCommand(ctx, c, control.Command{Verb: verb, Names: names, Wait: o.wait, Timeout: o.limit(), App: app}, w, out)
		})
	}
	o.addFlags(cmd.Flags(), false)
	if verb == control.VerbStopWorkers {
		cmd.Flags().BoolVar(&app, "app", false, "first run app_restart, the application's own command, for workers that others run")
	}
	if slices.Contains(fleetVerbs, verb) {
		cmd.Flags().BoolVar(&fleet, "fleet", false, "on every host that shares a lock store with this one; returns when each has answered")
	}
	return &cmd
}

// runCommand sends one command and reports what became of it.
func runCommand(ctx context.Context, c *control.Client, cmd control.Command, w wording, out *screen) error {
	reply, err := withProgress(ctx, c, cmd, w, out, 0, func() (control.CommandReply, error) { return c.Do(ctx, cmd) })
	if err != nil {
		return goesOn(err, cmd.Wait, w)
	}
	if out.json {
		if err := printJSON(out, reply); err != nil {
			return err
		}
	} else {
		printApps(out, reply.Apps)
		n := outcomes(out, reply, w)
		if reply.Warning != "" {
			fmt.Fprintf(out.stderr, "qsuper: warning: %s\n", oneLine(reply.Warning))
		}
		if !reply.TimedOut && len(reply.Failed) == 0 {
			out.printf("%s\n", summary(reply, n, cmd, w))
		}
	}
	return verdict(reply, cmd, w)
}

// goesOn tells somebody who no longer waits that the daemon still works on it.
func goesOn(err error, waited bool, w wording) error {
	if waited && errors.Is(err, context.Canceled) {
		return &exitError{code: exitFailed, err: fmt.Errorf("no longer waiting; the %s goes on", w.noun), hint: `watch it with "qsuper status --watch"`}
	}
	return err
}

// verdict turns a reply into an exit code.
func verdict(r control.CommandReply, cmd control.Command, w wording) error {
	if r.TimedOut {
		return &exitError{
			code: exitFailed,
			err:  fmt.Errorf("not done after %s; the %s goes on%s", humane(cmd.Limit()), w.noun, busy(r)),
			hint: hurry(cmd),
		}
	}
	if len(r.Failed) > 0 {
		return &exitError{
			code: exitFailed, err: fmt.Errorf("the rolling restart was given up: %s", oneLine(strings.Join(r.Failed, "; "))),
			hint: `repair it and restart again; "qsuper logs" has what they printed`,
		}
	}
	if err := appVerdict(r.Apps); err != nil {
		return err
	}
	if r.Killed > 0 {
		return exit(exitKilled)
	}
	return nil
}

// busy lists who keeps a wait from ending.
func busy(r control.CommandReply) string {
	const most = 10
	var names []string
	for _, o := range r.Outcomes {
		if o.Exit == nil && o.PID != 0 {
			names = append(names, instance(o))
		}
	}
	if len(names) == 0 {
		return ""
	}
	text := strings.Join(names[:min(len(names), most)], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return ": still busy " + text
}

func hurry(cmd control.Command) string {
	if cmd.Verb != control.VerbStop {
		return `watch it with "qsuper status --watch"`
	}
	return fmt.Sprintf(`to kill what is left: %s`, strings.TrimRight("qsuper stop --now "+strings.Join(cmd.Names, " "), " "))
}

// summary is the last line: stopped orders: 4 instances, 1 of them had to be killed.
func summary(r control.CommandReply, instances int, cmd control.Command, w wording) string {
	who := strings.Join(r.Consumers, ", ")
	if len(r.Consumers) > 5 {
		who = plural(len(r.Consumers), "consumer")
	}
	who = oneLine(who)
	if !cmd.Wait {
		return fmt.Sprintf("%s %s%s", w.doing, who, w.suffix)
	}
	text := fmt.Sprintf("%s %s%s:", w.done, who, w.suffix)
	up := 0
	for _, o := range r.Outcomes {
		if o.Phase == "running" {
			up++
		}
	}
	switch {
	case instances > 0 && w.state == "running" && up < instances:
		text += fmt.Sprintf(" %d of %s run", up, plural(instances, "instance")) // the lines above say why
	case instances > 0:
		text += " " + plural(instances, "instance")
	default:
		text += " nothing had to be done"
	}
	if r.Killed > 0 {
		text += fmt.Sprintf(", %d of them had to be killed", r.Killed)
	}
	return text
}
