package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"qsuper/alert"
	"qsuper/config"
	"qsuper/control"
	_ "qsuper/health/backends"
	"qsuper/keeper"
	_ "qsuper/lease/backends"
	"qsuper/runner"
	"qsuper/trace"
)

// newEngineCmd is started by the keeper only.
func newEngineCmd(a *app) *cobra.Command {
	var o engineOptions
	cmd := &cobra.Command{
		Use:    "engine",
		Short:  "Decide what runs (started by \"qsuper run\" only)",
		Hidden: true,
		Args:   args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.config = a.config
			return runEngine(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.stateDir, "state-dir", "", "state `directory` that the keeper holds")
	cmd.Flags().BoolVar(&o.once, "once", false, "one pass of the gates")
	return cmd
}

type engineOptions struct {
	config   string
	stateDir string
	once     bool
}

// engine is everything that lives in the second process.
type engine struct {
	pipes    *pipes      // held for the next keeper
	gone     atomic.Bool // the keeper has died
	hurried  atomic.Bool // everything is being stopped without grace
	client   *keeper.Client
	say      func(state string) error // to the service manager
	hello    keeper.Hello
	runner   *runner.Runner
	server   *control.Server
	log      *slog.Logger
	life     context.Context
	stops    sync.WaitGroup // stops of everything that are under way
	done     chan struct{}  // closed when everything has been stopped
	end      sync.Once
	told     sync.Once                 // of how the instances ended
	signal   atomic.Bool               // a signal to the daemon has asked for the stop
	relieved atomic.Pointer[time.Time] // since when the keeper stops everything by itself; nil: it does not
	code     atomic.Int32              // that the daemon ends with

	pings    chan struct{} // the keeper asks whether we live
	watchdog time.Duration // how often the service manager wants to hear from us; 0: never
	answers  func() error  // asks every owner; returns when all have answered
	outputs  *outputs
	upgrades *upgrader
	burst    *keeper.Burst // of starts
	tcp      *tcp
	alerts   *alert.Desk
	trace    *trace.Log
}

// runEngine runs until everything has been stopped, or until the keeper is
// gone. It stops no consumer by ending: the next engine goes on with them.
func runEngine(ctx context.Context, o engineOptions) error {
	burst := &keeper.Burst{}
	burst.Begin()
	pipes := &pipes{stateDir: o.stateDir}
	client, hello, err := pipes.connect()
	if err != nil {
		return err
	}
	orphans := beginEndOrphans(o.stateDir, hello)
	cfg, err := loadInForce(o, hello)
	ended := <-orphans // before anything of theirs is touched
	if err != nil {
		return err
	}
	e := &engine{burst: burst, pipes: pipes, client: client, say: client.Notify, hello: hello, log: newLogger(os.Stderr, quieter(cfg.Daemon.Log, o.once)), done: make(chan struct{}), pings: make(chan struct{}, 1), outputs: newOutputs(client.Outputs)}
	for _, pid := range ended {
		e.log.Warn("ended the engine of an earlier daemon", "pid", pid)
	}
	d := &daemon{
		keeperPID: hello.PID, contained: hello.Contained, started: hello.StartedAt, load: func() (*config.Config, error) { return loadChecked(o.config) },
		onReload: func(cfg *config.Config) {
			e.saveInForce(o.stateDir, cfg)
			e.tcp.set(cfg.Daemon.HTTP)
			e.pipes.holdAll()
			e.alerts.Set(cfg.Alerts)
		},
		stopAll: e.stopAll, printed: e.outputs.now,
	}
	e.trace = trace.New(decisionsFile(o.stateDir), trace.Limit, func(err error) { e.log.Warn("decisions are not kept; nothing else is the worse for it", "error", err) })
	e.runner, err = runner.New(runner.Options{
		Config: cfg, Keeper: client, Started: hello.StartedAt, Log: e.log, Once: o.once, Release: version(), Trace: e.trace,
		OnReload: func() { go e.reload(ctx, d) },
	})
	if err != nil {
		return err
	}
	d.runner = e.runner
	e.upgrades = newUpgrader(client.Upgrade, e.runner.Stopping, e.notify)
	d.upgrades = e.upgrades
	e.server = control.NewServer(d, control.Options{
		Path: cfg.Daemon.Socket.Path, Mode: fs.FileMode(cfg.Daemon.Socket.Mode), Group: socketGroup(cfg.Daemon.Socket.Group), File: cfg.Path, Log: e.log,
	})
	e.tcp = newTCP(cfg.Daemon.HTTP, e.log, e.openDoor(d))
	d.http = e.tcp.status
	e.alerts = alert.New(alert.Options{Source: d, Daemon: cfg.Daemon.Name, Path: filepath.Join(o.stateDir, "alerts.json"), Log: e.log}, cfg.Alerts)
	d.alerts = e.alerts
	e.saveInForce(o.stateDir, cfg)
	if e.watchdog, err = watchdogEvery(os.Getenv, hello.PID, os.Getpid()); err != nil {
		e.log.Warn("no watchdog", "error", err)
	}
	e.answers = func() error { _, err := d.Status(control.StatusQuery{}); return err }
	err = e.run(ctx)
	if err != nil && e.gone.Load() {
		fmt.Fprintln(os.Stderr, "qsuper:", err)
		pipes.linger()
	}
	return err
}

// run lets the parts live together. The first three end with the engine; the
// keeper ends last, because it is what the others need.
func (e *engine) run(ctx context.Context) error {
	life, stop := context.WithCancel(ctx)
	defer stop()
	e.life = life
	link, unlink := context.WithCancel(context.WithoutCancel(ctx))
	defer unlink()
	var linked, parts sync.WaitGroup
	errs := make(chan error, 4)
	linked.Go(func() {
		err := e.client.Run(link, e.handle)
		if errors.Is(err, keeper.ErrGone) && !e.stopped() {
			e.gone.Store(true)
			if e.hurried.Load() { // told twice it does not wait for anybody
				err = nil
			}
		}
		errs <- err
		stop()
	})
	parts.Go(func() { errs <- e.runner.Run(life); stop() })
	parts.Go(func() { errs <- e.server.Run(life); stop() })
	parts.Go(func() { e.obey(life) })
	parts.Go(func() { e.pong(life) })
	parts.Go(func() { e.tcp.run(life) })
	parts.Go(func() { e.alerts.Run(life) })
	parts.Go(func() { e.trace.Run(life) })
	if e.watchdog > 0 {
		parts.Go(func() { e.feed(life, e.watchdog, e.answers) })
	}
	e.announce(life)
	select {
	case <-e.done:
	case <-e.upgrades.left:
	case <-life.Done():
	}
	stop()
	parts.Wait()
	if e.stopped() {
		if err := e.client.Quit(keeper.QuitRequest{Code: int(e.code.Load())}); err == nil {
			linked.Wait() // the keeper closes the socket when it has heard
		}
		return nil
	}
	unlink()
	linked.Wait()
	close(errs)
	for err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}

// handle takes what the keeper reports.
func (e *engine) handle(m any) {
	switch m := m.(type) {
	case keeper.Started:
		e.burst.Started()
		if m.Pipe {
			e.pipes.hold(m.Slot)
		}
	case keeper.Ping:
		select {
		case e.pings <- struct{}{}:
		default: // the answer to the one before is still being looked for
		}
		return
	case keeper.Outputs:
		e.outputs.take(m)
		return
	case keeper.Upgrading:
		if err := e.upgrades.handle(m); err != nil {
			e.log.Error("stay after all", "error", err)
		}
		return
	}
	e.runner.Handle(m)
}

// announce says that the daemon is ready once it can be asked.
func (e *engine) announce(ctx context.Context) {
	select {
	case <-e.server.Ready():
		e.log.Info("ready", "engine_pid", os.Getpid(), "keeper_pid", e.hello.PID, "engines", e.hello.Engines)
		e.notify("READY=1")
	case <-ctx.Done():
	}
}

func (e *engine) reload(ctx context.Context, d *daemon) {
	reply, err := d.Reload(ctx)
	switch {
	case err != nil:
		e.log.Error("reload refused", "error", err)
	case len(reply.Problems) > 0:
		for _, p := range reply.Problems {
			e.log.Error("reload refused, nothing changed", "problem", p)
		}
	default:
		e.log.Info("reloaded", "added", len(reply.Added), "changed", len(reply.Changed), "removed", len(reply.Removed), "unchanged", reply.Unchanged)
	}
}

// inForce is the copy of the configuration that an engine started after a
// crash goes on with: what lies on the disk may be half edited by then.
const inForce = "config-in-force.json"

// loadInForce loads the file for the first engine, and the copy for the ones
// after it.
func loadInForce(o engineOptions, hello keeper.Hello) (*config.Config, error) {
	if hello.Engines > 1 {
		cfg, err := config.LoadCopy(filepath.Join(o.stateDir, inForce), config.Options{})
		if err == nil {
			return cfg, nil
		}
		fmt.Fprintf(os.Stderr, "qsuper: the copy of the configuration cannot be used (%v); loading %s again\n", err, o.config)
	}
	return config.Load(o.config, config.Options{})
}

func (e *engine) saveInForce(stateDir string, cfg *config.Config) {
	path := filepath.Join(stateDir, inForce)
	if err := cfg.SaveCopy(path); err != nil {
		e.log.Error("a crash of the engine would load the file anew", "error", err)
	}
}

// loadChecked loads a file and looks at the host as well: what cannot run is
// refused before anything changes.
func loadChecked(path string) (*config.Config, error) {
	cfg, err := config.Load(path, config.Options{})
	if wrong, isFile := errors.AsType[*config.Error](err); isFile {
		return nil, wrong.WithHost()
	}
	if err != nil {
		return nil, err
	}
	if problems := config.CheckHost(cfg); len(problems) > 0 {
		return nil, &config.Error{Problems: problems}
	}
	return cfg, nil
}

// socketGroup is the number of the socket's group, which may be one that only
// the host's directory knows.
func socketGroup(name string) string {
	if name == "" {
		return ""
	}
	gid, err := config.GroupID(name)
	if err != nil {
		return name // the server says what is wrong with it
	}
	return strconv.Itoa(gid)
}

// newLogger writes the daemon's own log.
func newLogger(f *os.File, o config.DaemonLog) *slog.Logger {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	opts := &slog.HandlerOptions{Level: levels[o.Level]}
	if o.Format == "json" {
		return slog.New(slog.NewJSONHandler(f, opts))
	}
	opts.ReplaceAttr = func(groups []string, at slog.Attr) slog.Attr {
		if at.Key == slog.TimeKey && len(groups) == 0 {
			return slog.String(slog.TimeKey, at.Value.Time().Format(time.RFC3339))
		}
		return at
	}
	return slog.New(slog.NewTextHandler(f, opts))
}
