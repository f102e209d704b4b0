package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"qsuper/config"
	"qsuper/runner"
	"qsuper/trace"
)

// decisionsFile is where a daemon keeps its decisions.
func decisionsFile(stateDir string) string { return filepath.Join(stateDir, "decisions.jsonl") }

type simulateOptions struct {
	trace string
	file  string
	names []string
}

func newSimulateCmd(a *app) *cobra.Command {
	var o simulateOptions
	cmd := &cobra.Command{
		Use: "simulate [NAME…]",
		Example: "  qsuper simulate --file new.yaml\n" +
			"  qsuper simulate --trace decisions.jsonl --file new.yaml orders",
		Short: "What another file would have decided on what was observed",
		Long: "Reads the decisions that a daemon has kept, with what each rests on, and takes them again as\n" +
			"another file would have it. Prints what would have been different. What was observed is taken\n" +
			"as it was: that queues would have become shorter, or instances have crashed, is not guessed.\n" +
			"No daemon is needed, and none is asked." + exitHelp(exitDone, exitFailed, exitConfig),
		Args: args(0, -1),
		RunE: func(_ *cobra.Command, names []string) error {
			o.names = names
			return a.runSimulate(o)
		},
	}
	cmd.Flags().StringVar(&o.trace, "trace", "", "`file` of decisions (default decisions.jsonl in the state directory)")
	cmd.Flags().StringVar(&o.file, "file", "", "the changed `file` (default: the one that --config means)")
	return cmd
}

func (a *app) runSimulate(o simulateOptions) error {
	if o.file == "" {
		o.file = a.config
	}
	path, err := config.Find(o.file)
	if err != nil {
		return err
	}
	cfg, err := config.Load(path, config.Options{})
	if err != nil {
		return err
	}
	if o.trace == "" {
		o.trace = decisionsFile(cfg.Daemon.StateDir)
	}
	records, torn, err := trace.Read(o.trace)
	if err != nil {
		return &exitError{code: exitFailed, err: err, hint: "a daemon keeps its decisions in decisions.jsonl of its state directory: give it with --trace"}
	}
	if len(o.names) > 0 {
		if records, err = only(records, o.names); err != nil {
			return err
		}
	}
	report := trace.Replay(records, programs(cfg))
	out := a.screen()
	if out.json {
		return printJSON(out, simulation(report, torn))
	}
	printSimulation(out, report, torn)
	return nil
}

// only keeps the records of consumers that names mean.
func only(records []trace.Record, names []string) ([]trace.Record, error) {
	for _, n := range names {
		if _, err := filepath.Match(n, ""); err != nil {
			return nil, usage("write it as 'mail-*'", "cannot read %q", n)
		}
	}
	return slices.DeleteFunc(records, func(r trace.Record) bool {
		return !slices.ContainsFunc(names, func(n string) bool { ok, _ := filepath.Match(n, r.Consumer); return ok })
	}), nil
}

// programs is what a file says about its consumers.
func programs(cfg *config.Config) func(string) (trace.Program, bool) {
	return func(name string) (trace.Program, bool) {
		for _, c := range cfg.Consumers {
			if c.Name != name {
				continue
			}
			p := trace.Program{Program: runner.Planned(c), Requires: slices.Clone(c.Requires)}
			if c.Queue != nil && !slices.Contains(p.Requires, c.Queue.Connection) {
				p.Requires = append(p.Requires, c.Queue.Connection)
			}
			return p, true
		}
		return trace.Program{}, false
	}
}

func printSimulation(out *screen, r trace.Report, torn int) {
	if len(r.Differences) > 0 {
		t := table{columns: []column{{title: "TIME"}, {title: "FOR", right: true}, {title: "CONSUMER"}, {title: "WAS"}, {title: "WOULD BE"}, {title: "REASON", flex: true}}}
		for _, d := range r.Differences {
			lasted := "to the end"
			if !d.Until.IsZero() {
				lasted = humane(d.Until.Sub(d.From))
			}
			was, would := verdictText(d.Was), verdictText(d.Would)
			t.add(cell{text: clock(d.From)}, cell{text: lasted}, cell{text: oneLine(d.Consumer)}, cell{text: was}, cell{would, yellow}, cell{text: differs(d)})
		}
		t.write(out)
		out.printf("\n")
	}
	text := fmt.Sprintf("%s of %s would have been decided differently", plural(len(r.Differences), "span"), plural(r.Consumers, "consumer"))
	if len(r.Differences) == 0 {
		text = "nothing would have been decided differently"
	}
	out.printf("%s: %s", text, plural(r.Records, "record"))
	if r.Records > 0 {
		out.printf(" from %s to %s", clock(r.From), clock(r.Until))
	}
	out.printf("\n")
	for _, n := range simulationNotes(r, torn) {
		out.wrap(dim, "", "  ", "note: "+oneLine(n))
	}
}

// simulationNotes says what the answer rests on, and what is missing.
func simulationNotes(r trace.Report, torn int) []string {
	var notes []string
	if len(r.Gone) > 0 {
		notes = append(notes, "not in the changed file, and left out: "+strings.Join(r.Gone, ", "))
	}
	for _, a := range r.Assumed {
		notes = append(notes, "assumed that "+a)
	}
	if r.Missed > 0 {
		notes = append(notes, plural(int(r.Missed), "record")+" could not be written when they were made")
	}
	if r.Fires > 0 {
		notes = append(notes, plural(r.Fires, "record")+" about fires of jobs are left as they are: `qsuper jobs explain` says when another file runs a job")
	}
	if torn > 0 {
		notes = append(notes, plural(torn, "line")+" cannot be read")
	}
	return notes
}

// verdictText is a decision in a word or two: 4 up; 2 up, 2 to end.
func verdictText(v trace.Verdict) string {
	if v.Ending > 0 {
		return fmt.Sprintf("%d up, %d to end", v.Up(), v.Ending)
	}
	return fmt.Sprintf("%d up", v.Up())
}

// differs is the reason of what would have been; where that is nothing but that all
// is well, the reason for what was.
func differs(d trace.Difference) string {
	if text := reasonText(d.Would); text != "" {
		return text
	}
	if text := reasonText(d.Was); text != "" {
		return "not: " + text
	}
	return fmt.Sprintf("%s wanted instead of %d", plural(d.Would.Target, "instance"), d.Was.Target)
}

func reasonText(v trace.Verdict) string {
	if v.Reason.Code == "ok" {
		return ""
	}
	return oneLine(v.Reason.String())
}

// simulationJSON is what --json prints.
type simulationJSON struct {
	From        time.Time        `json:"from"`
	Until       time.Time        `json:"until"`
	Records     int              `json:"records"`
	Consumers   int              `json:"consumers"`
	Differences []differenceJSON `json:"differences"`
	Notes       []string         `json:"notes"`
}

type differenceJSON struct {
	From     time.Time   `json:"from"`
	Until    *time.Time  `json:"until"` // null: to the end of the trace
	Consumer string      `json:"consumer"`
	Was      verdictJSON `json:"was"`
	Would    verdictJSON `json:"would"`
}

type verdictJSON struct {
	Wanted int    `json:"wanted"`
	Up     int    `json:"up"`     // slots that are to run
	Ending int    `json:"ending"` // processes there are that are to end
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

func simulation(r trace.Report, torn int) simulationJSON {
	s := simulationJSON{From: r.From, Until: r.Until, Records: r.Records, Consumers: r.Consumers, Differences: []differenceJSON{}, Notes: append([]string{}, simulationNotes(r, torn)...)}
	for _, d := range r.Differences {
		one := differenceJSON{From: d.From, Consumer: d.Consumer, Was: verdictOf(d.Was), Would: verdictOf(d.Would)}
		if !d.Until.IsZero() {
			one.Until = &d.Until
		}
		s.Differences = append(s.Differences, one)
	}
	return s
}

func verdictOf(v trace.Verdict) verdictJSON {
	return verdictJSON{Wanted: v.Target, Up: v.Up(), Ending: v.Ending, Code: string(v.Reason.Code), Reason: v.Reason.String()}
}
