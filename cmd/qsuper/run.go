package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"qsuper/config"
	"qsuper/keeper"
	"qsuper/pidfile"
)

func newRunCmd(a *app) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground (systemd, containers)",
		Long: "Run the daemon in the foreground. TERM or Ctrl-C stops every consumer gracefully, a second\n" +
			"one without grace; HUP reloads the file; USR1 reopens log files." + exitHelp(exitDone, exitFailed, exitHeld, exitConfig),
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.config = a.config
			return runRun(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.once, "once", false, "one pass of the gates, then stay only while something runs (for a crontab line)")
	return cmd
}

// gcPercent trades some processor time under load for memory all the time: both
// processes are idle most of their life.
const gcPercent = 50

type runOptions struct {
	config string
	once   bool
}

// runRun checks the file, takes the state directory and becomes the keeper.
func runRun(ctx context.Context, o runOptions) error {
	path, err := config.Find(o.config)
	if err != nil {
		return &exitError{code: exitConfig, err: err}
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	cfg, err := loadChecked(path)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintln(os.Stderr, "qsuper: warning:", w)
	}
	dir := cfg.Daemon.StateDir
	engine := []string{"qsuper", "engine", "--config", path, "--state-dir", dir}
	if o.once {
		engine = append(engine, "--once")
	}
	log := newLogger(os.Stderr, cfg.Daemon.Log)
	cfg = nil
	debug.SetGCPercent(gcPercent)
	debug.FreeOSMemory() // the keeper stays small: the file is the engine's business
	code, err := keeper.Run(ctx, keeper.Options{EnginePath: "/proc/self/exe", EngineArgv: engine, StateDir: dir, Log: log, Out: os.Stdout})
	if held, ok := errors.AsType[*pidfile.Held](err); ok {
		return &exitError{code: exitHeld, err: held, hint: "\"qsuper status\" shows what it runs"}
	}
	if err != nil {
		return err
	}
	if code != 0 {
		return exit(code)
	}
	return nil
}
