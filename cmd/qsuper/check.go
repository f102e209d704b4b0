package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"qsuper/config"
	_ "qsuper/health/backends"
)

type checkOptions struct {
	config string
	probe  bool
}

// checkReport is what `check --json` prints.
type checkReport struct {
	Path        string         `json:"path"`
	OK          bool           `json:"ok"` // nothing is wrong with the file; says nothing of probes
	Problems    []checkProblem `json:"problems"`
	Warnings    []checkProblem `json:"warnings"`
	Files       int            `json:"files"` // with the included ones
	Consumers   int            `json:"consumers"`
	Jobs        int            `json:"jobs"`
	Instances   int            `json:"instances"` // at most, over all consumers and jobs
	Connections int            `json:"connections"`
	Probes      []probeReport  `json:"probes,omitempty"`
}

type checkProblem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func newCheckCmd(a *app) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use: "check",
		Example: "  qsuper check\n" +
			"  qsuper check -c new.yaml --probe",
		Short: "Is the file right? With --probe: do the connections answer?",
		Long: "Reads the file and looks at this host: programs, users, directories, schedules. Prints\n" +
			"everything that is wrong at once. Needs no daemon and changes nothing." +
			exitHelp(exitDone, exitFailed, exitConfig),
		Args:              args(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.config = a.config
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return runCheck(ctx, o, a.screen())
		},
	}
	cmd.Flags().BoolVar(&o.probe, "probe", false, "also ask every connection, and count every queue")
	return cmd
}

func runCheck(ctx context.Context, o checkOptions, out *screen) error {
	path, err := config.Find(o.config)
	if err != nil {
		return &exitError{code: exitConfig, err: err}
	}
	cfg, err := config.Load(path, config.Options{})
	wrong, isFile := errors.AsType[*config.Error](err)
	if err != nil && !isFile {
		return err
	}
	r := checkReport{Path: path, Problems: []checkProblem{}, Warnings: []checkProblem{}}
	var problems []config.Problem
	if isFile {
		problems = wrong.WithHost().Problems
	} else {
		r.describe(cfg)
		problems = config.CheckHost(cfg)
		unit := shownUnit(ctx)
		for _, w := range slices.Concat(unitProblems(unit, cfg), checkDirs(cfg, unit), checkLimits(cfg)) {
			cfg.Warnings = append(cfg.Warnings, w)
			r.Warnings = append(r.Warnings, checkProblem(w))
		}
	}
	r.Problems = append(r.Problems, listed(problems)...)
	r.OK = len(problems) == 0
	if r.OK && o.probe {
		r.Probes = probeAll(ctx, cfg)
	}
	if out.json {
		if err := printJSON(out, r); err != nil {
			return err
		}
	} else {
		printCheck(out, r, problems, cfg)
	}
	if !r.OK {
		return exit(exitConfig)
	}
	if r.unanswered() {
		return exit(exitFailed)
	}
	return nil
}

func (r *checkReport) describe(cfg *config.Config) {
	r.Path, r.Files = cfg.Path, len(cfg.Files)
	r.Consumers, r.Jobs, r.Connections = len(cfg.Consumers), len(cfg.Jobs), len(cfg.Connections)
	for _, c := range cfg.Programs() {
		r.Instances += c.Instances.Max
	}
	r.Warnings = append(r.Warnings, listed(cfg.Warnings)...)
}

func listed(problems []config.Problem) []checkProblem {
	var all []checkProblem
	for _, p := range problems {
		all = append(all, checkProblem(p))
	}
	return all
}

// printCheck prints problems as compilers do, one a line, on standard error.
func printCheck(out *screen, r checkReport, problems []config.Problem, cfg *config.Config) {
	for _, p := range problems {
		fmt.Fprintln(out.stderr, escape(p.String(), ""))
	}
	if !r.OK {
		fmt.Fprintf(out.stderr, "qsuper: %s has %s\n", escape(r.Path, ""), plural(len(problems), "problem"))
		return
	}
	for _, w := range cfg.Warnings {
		out.printf("%s %s\n", out.paint(yellow, "warning:"), escape(w.String(), ""))
	}
	out.printf("%s is right: %s with up to %s, %s", escape(r.Path, ""), plural(r.Consumers, "consumer"), plural(r.Instances, "instance"), plural(r.Connections, "connection"))
	if r.Jobs > 0 {
		out.printf(", %s", plural(r.Jobs, "job"))
	}
	if r.Files > 1 {
		out.printf(", %s", plural(r.Files-1, "included file"))
	}
	out.printf("\n")
	printProbes(out, r.Probes)
}
