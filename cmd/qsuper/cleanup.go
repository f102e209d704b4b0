package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"qsuper/config"
	"qsuper/control"
	"qsuper/keeper"
	"qsuper/slot"
)

type cleanupOptions struct {
	config, stateDir string
	cutOff           bool
}

func newCleanupCmd(a *app) *cobra.Command {
	var o cleanupOptions
	cmd := &cobra.Command{
		Use:     "cleanup",
		Example: "  qsuper cleanup",
		Short:   "Stop what a daemon that died has left running",
		Long: "Stops what a daemon that died has left running, each with its grace, and no other process.\n" +
			"A daemon that is started would adopt it instead. Says how each instance ended." +
			exitHelp(exitDone, exitFailed, exitKilled, exitHeld, exitConfig),
		Args:              args(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.config = a.config
			return runCleanup(cmd.Context(), o, a.screen())
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.cutOff, "cut-off", false, "only if that daemon was stopping everything when it died (for ExecStopPost=)")
	f.StringVar(&o.stateDir, "state-dir", "", "state `directory` to clean up if the file cannot be read")
	return cmd
}

// runCleanup is a daemon that is told to stop everything from the beginning: it
// adopts what runs, keeps what is printed, and gives each its grace.
func runCleanup(ctx context.Context, o cleanupOptions, out *screen) error {
	if o.cutOff && o.stateDir != "" && !keeper.CutOff(o.stateDir) {
		return nil
	}
	opt, err := newKeeper(nil, runOptions{config: o.config})
	if err != nil && o.stateDir == "" {
		return err
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "qsuper: %v; stopping by the record of what runs alone\n", err)
		if opt, err = withoutFile(o); err != nil {
			return err
		}
	}
	if o.cutOff && !keeper.CutOff(opt.StateDir) {
		return nil
	}
	var reply control.CommandReply
	opt.Ending, opt.Trial = true, nil
	opt.Ended = func(e keeper.Exited) {
		if e.Step != keeper.StepNone || e.Leftovers > 0 { // else it was over when it was found
			reply.Outcomes = append(reply.Outcomes, cleaned(e))
		}
	}
	if err := runKeeper(ctx, opt); err != nil && exitCode(err) != exitKilled { // which the report says with names
		return err
	}
	return reportCleanup(reply, out)
}

// cleaned is how one run has ended.
func cleaned(e keeper.Exited) control.Outcome {
	i := strings.LastIndexByte(e.Slot, '/')
	n, _ := strconv.Atoi(e.Slot[i+1:]) // the keeper drops what is no slot
	return control.Outcome{
		Consumer: e.Slot[:max(i, 0)], Slot: n, Phase: slot.Halted.String(),
		Exit: &control.ExitStatus{Run: e.Run, Code: e.Code, Signal: slot.SignalName(e.Signal), Step: e.Step, At: e.At, Seconds: e.Ran.Seconds()},
	}
}

func reportCleanup(reply control.CommandReply, out *screen) error {
	slices.SortFunc(reply.Outcomes, func(a, b control.Outcome) int {
		return cmp.Or(cmp.Compare(a.Consumer, b.Consumer), cmp.Compare(a.Slot, b.Slot))
	})
	for _, o := range reply.Outcomes {
		if o.Exit.Step == keeper.StepKill {
			reply.Killed++
		}
	}
	if out.json {
		if err := printJSON(out, reply); err != nil {
			return err
		}
		return verdict(reply, control.Command{}, stopWords)
	}
	switch n := outcomes(out, reply, stopWords); {
	case reply.Killed > 0:
		out.printf("stopped %s, %d of them had to be killed\n", plural(n, "instance"), reply.Killed)
	case n > 0:
		out.printf("stopped %s\n", plural(n, "instance"))
	}
	return verdict(reply, control.Command{}, stopWords)
}

// withoutFile is a keeper that may have to do without its engine.
func withoutFile(o cleanupOptions) (keeper.Options, error) {
	dir, err := filepath.Abs(o.stateDir)
	if err != nil {
		return keeper.Options{}, err
	}
	return keeper.Options{
		EnginePath: "/proc/self/exe", EngineArgv: []string{"qsuper", "engine", "--config", o.config, "--state-dir", dir},
		StateDir: dir, Out: os.Stdout, Log: newLogger(os.Stderr, config.DaemonLog{Level: "info"}), NoCgroups: os.Getenv(cgroupsVariable) == "off",
	}, nil
}
