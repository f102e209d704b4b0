package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"qsuper/config"
	"qsuper/control"
	"qsuper/keeper"
	"qsuper/pidfile"
	"qsuper/runner"
)

func newRunCmd(a *app) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use: "run",
		Example: "  qsuper run -c qsuper.yaml\n" +
			"  * * * * * qsuper run --once -c /srv/shop/qsuper.yaml",
		Short: "Run the daemon in the foreground (systemd, containers)",
		Long: "Run the daemon in the foreground. TERM or Ctrl-C stops every consumer gracefully, a second\n" +
			"one without grace; after either it ends with 5 if something had to be killed. HUP reloads the\n" +
			"file; USR1 reopens log files.\n\n" +
			"With --once, a crontab line takes the place of the daemon: it looks at every gate, runs the jobs\n" +
			"that have come due since the last call, and stays while something runs. A call that finds an\n" +
			"earlier one still there has that look again, and ends at once." + exitHelp(exitDone, exitFailed, exitKilled, exitHeld, exitConfig),
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.config, o.socket = a.config, a.findSocket
			return runRun(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.once, "once", false, "one pass of the gates, then stay only while something runs (for a crontab line)")
	return cmd
}

// cgroupsVariable set to off has processes held together as where there are no
// cgroups, for a host on which they make trouble.
const cgroupsVariable = "QSUPER_CGROUPS"

type runOptions struct {
	config string
	once   bool
	socket func() (string, error)
}

// runRun checks the file, takes the state directory and becomes the keeper.
func runRun(ctx context.Context, o runOptions) error {
	opt, err := newKeeper(keeper.TakeOver(), o)
	if err != nil {
		return err
	}
	err = runKeeper(ctx, opt)
	if _, held := errors.AsType[*pidfile.Held](err); held && o.once {
		return another(ctx, opt, o)
	}
	return err
}

// runKeeper is the keeper in this process.
func runKeeper(ctx context.Context, opt keeper.Options) error {
	code, err := keeper.Run(ctx, opt)
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

// passTime is how long a call of run --once tries to reach the one before it, which
// may be about to begin or to end.
const passTime = 30 * time.Second

// another has the daemon of an earlier `run --once` make another pass, or becomes
// the daemon when that ends meanwhile. The error is *pidfile.Held when a daemon
// is there that does not do that.
func another(ctx context.Context, opt keeper.Options, o runOptions) error {
	socket, err := o.socket()
	if err != nil {
		return err
	}
	for begun := time.Now(); ; {
		asking, cancel := context.WithTimeout(ctx, passTime)
		_, err := control.New(socket).Do(asking, control.Command{Verb: control.VerbPass})
		cancel()
		if err == nil {
			return nil
		}
		runErr := runKeeper(ctx, opt)
		if _, held := errors.AsType[*pidfile.Held](runErr); !held || time.Since(begun) > passTime || refusesPass(err) {
			return runErr
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// refusesPass says whether the daemon is no `run --once`, or older than that word.
func refusesPass(err error) bool {
	r, ok := errors.AsType[*control.Rejected](err)
	return ok && (r.Message == runner.ErrNoPass.Error() || r.Status == http.StatusBadRequest)
}

// newKeeper says what the keeper is to be. One that takes over from another binary
// is what that was: it must not end because of a file that is wrong by now.
func newKeeper(heir *keeper.Heir, o runOptions) (keeper.Options, error) {
	opt := keeper.Options{EnginePath: "/proc/self/exe", Out: os.Stdout, Trial: []string{"qsuper", trialWord}, Heir: heir, Store: keeper.FindStore(), KilledCode: exitKilled}
	c := carried{Once: o.once}
	if heir != nil && json.Unmarshal(heir.Carry(), &c) == nil && heir.StateDir() != "" {
		opt.StateDir, opt.Binary = heir.StateDir(), heir.Home()
	} else {
		cfg, err := loadDaemon(o.config)
		if err != nil {
			return opt, err
		}
		if err := reachable(cfg.Daemon); err != nil {
			return opt, err
		}
		c.Config, c.Log, opt.StateDir = cfg.Path, cfg.Daemon.Log, cfg.Daemon.StateDir
		opt.Binary = ownBinary(os.Args[0])
	}
	opt.Log = newLogger(os.Stderr, quieter(c.Log, c.Once))
	opt.NoCgroups = os.Getenv(cgroupsVariable) == "off"
	opt.EngineArgv = []string{"qsuper", "engine", "--config", c.Config, "--state-dir", opt.StateDir}
	if c.Once {
		opt.EngineArgv = append(opt.EngineArgv, "--once")
	}
	var err error
	opt.Carry, err = json.Marshal(c)
	return opt, err
}

// quieter is the log of run --once: what cron finds on stderr it mails, every minute.
func quieter(log config.DaemonLog, once bool) config.DaemonLog {
	if once && log.Level == "info" {
		log.Level = "warn"
	}
	return log
}

// reachable refuses a daemon that nobody could talk to. At the socket of another
// one it would run everything a second time, for slots are locked in the state
// directory. An engine that answers for a keeper that is dead will be gone soon.
func reachable(d config.Daemon) error {
	if err := control.Free(d.Socket.Path); err != nil {
		return err
	}
	if err := writable(filepath.Dir(d.Socket.Path)); err != nil {
		return fmt.Errorf("daemon.socket.path: %w", err) // it would run, and nobody could talk to it
	}
	if _, err := os.Lstat(d.Socket.Path); errors.Is(err, fs.ErrNotExist) {
		return nil // nobody answers, and to look for an engine means to look at every process
	}
	if pidfile.Holder(d.StateDir) == 0 && orphaned(d.StateDir) {
		return nil // it is our own socket, and whoever has it may hang: nobody waits for its answer
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	st, err := control.New(d.Socket.Path).Status(ctx, control.StatusQuery{})
	other := st.Daemon.KeeperPID
	if err != nil || other <= 0 || other == pidfile.Holder(d.StateDir) || !pidfile.Alive(other) {
		return nil
	}
	return &control.InUse{Path: d.Socket.Path, PID: other}
}

// loadDaemon finds and checks the file. The path is absolute from then on.
func loadDaemon(named string) (*config.Config, error) {
	path, err := config.Find(named)
	if err != nil {
		return nil, &exitError{code: exitConfig, err: err}
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	cfg, err := loadChecked(path)
	if err != nil {
		return nil, err
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintln(os.Stderr, "qsuper: warning:", w)
	}
	return cfg, nil
}
