package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"qsuper/config"
	"qsuper/keeper"
)

type cleanupOptions struct {
	config, stateDir string
	cutOff           bool
}

func newCleanupCmd(a *app) *cobra.Command {
	var o cleanupOptions
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Stop what a daemon that died has left running",
		Long: "Stops what a daemon that died has left running, each with its grace, and no other process.\n" +
			"A daemon that is started would adopt it instead." + exitHelp(exitDone, exitFailed, exitHeld, exitConfig),
		Args:              args(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.config = a.config
			return runCleanup(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.cutOff, "cut-off", false, "only if that daemon was stopping everything when it died (for ExecStopPost=)")
	f.StringVar(&o.stateDir, "state-dir", "", "state `directory` to clean up if the file cannot be read")
	return cmd
}

// runCleanup is a daemon that is told to stop everything from the beginning: it
// adopts what runs, keeps what is printed, and gives each its grace.
func runCleanup(ctx context.Context, o cleanupOptions) error {
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
	opt.Ending, opt.Trial = true, nil
	return runKeeper(ctx, opt)
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
