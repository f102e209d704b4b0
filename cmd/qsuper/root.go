package main

import (
	"context"
	"encoding/json"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"qsuper/control"
)

// app is what every command shares: where it writes, what it reads from its
// surroundings, and the persistent flags.
type app struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time

	// startDaemon starts a daemon in the background and returns when it answers.
	startDaemon func(context.Context, startOptions) error

	config string
	socket string
	json   bool
	color  string
}

func newApp(stdout, stderr io.Writer, getenv func(string) string) *app {
	return &app{stdout: stdout, stderr: stderr, getenv: getenv, now: time.Now, startDaemon: startBackground}
}

// commands are all commands in the order of the help.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		newRunCmd(a),
		newStartCmd(a),
		newStopCmd(a),
		newRestartCmd(a),
		newStopWorkersCmd(a),
		newPauseCmd(a),
		newResumeCmd(a),
		newScaleCmd(a),
		newStatusCmd(a),
		newTopCmd(a),
		newExplainCmd(a),
		newLogsCmd(a),
		newEventsCmd(a),
		newJobsCmd(a),
		newAlertsCmd(a),
		newPlanCmd(a),
		newReloadCmd(a),
		newLocksCmd(a),
		newUpgradeCmd(a),
		newCheckCmd(a),
		newSimulateCmd(a),
		newUnitCmd(a),
		newCleanupCmd(a),
		newImportCmd(a),
		newDemoCmd(a),
		newVersionCmd(a),
		newCompletionCmd(a),
		newEngineCmd(a),
		newUpgradeTrialCmd(),
		newDemoConsumerCmd(a),
	}
}

func newRootCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "qsuper",
		Short: "Run fleets of message-queue consumers",
		Long: "qsuper starts consumers when there is work and their backends answer, watches them,\n" +
			"recycles and stops them without losing a message, and says why one is not running.\n\n" +
			"NAME is a consumer or job, one instance of it (orders/2), a @group, or a glob ('mail*')." + exitHelp(),
		Example: "  qsuper demo                     # see it work, on a queue of its own\n" +
			"  qsuper check && qsuper start    # with a qsuper.yaml in this directory\n" +
			"  qsuper status",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cobra.EnableCommandSorting = false
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SuggestionsMinimumDistance = 2
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(`see "`+cmd.CommandPath()+` --help"`, "%w", err)
	})
	f := cmd.PersistentFlags()
	f.StringVarP(&a.config, "config", "c", "", "`file` to use (default $QSUPER_CONFIG, ./qsuper.yaml or /etc/qsuper/qsuper.yaml)")
	f.StringVar(&a.socket, "socket", "", "`path` of the daemon's socket (default $QSUPER_SOCKET, or what the file says)")
	f.BoolVar(&a.json, "json", false, "print JSON")
	f.StringVar(&a.color, "color", "auto", "auto, always or never")
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if a.color != "auto" && a.color != "always" && a.color != "never" {
			return usage("give auto, always or never", "cannot use %q as --color", a.color)
		}
		return nil
	}
	cmd.SetHelpCommand(newHelpCmd())
	cmd.SetOut(a.stdout)
	cmd.SetErr(a.stderr)
	cmd.AddCommand(a.commands()...)
	return cmd
}

// execute runs one command line and returns the exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	cmd := newRootCmd(a)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err != nil {
		report(a.stderr, err)
	}
	return exitCode(err)
}

func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := `see "qsuper --help"`
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return usage(hint, "unknown command %q", args[0])
}

// args checks how many arguments there are; most < 0 = any number.
func args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		hint := "usage: " + cmd.UseLine()
		if len(args) < least {
			return usage(hint, "%s needs %s", cmd.CommandPath(), plural(least, "argument"))
		}
		if most >= 0 && len(args) > most {
			return usage(hint, "%s takes no %q", cmd.CommandPath(), args[most])
		}
		for _, a := range args {
			if a == "" {
				return usage(hint, "an argument is empty")
			}
		}
		return nil
	}
}

// remote runs what a command has to ask of the daemon. The first Ctrl-C ends
// ctx, the second one the program.
func (a *app) remote(cmd *cobra.Command, run func(context.Context, *control.Client, *screen) error) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return a.absent(run(ctx, client, a.screen()))
}

// printJSON prints a document the way a person can still read it.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
