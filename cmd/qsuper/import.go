package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"qsuper/config"
	"qsuper/migrate"
)

// importOptions are those of every source.
type importOptions struct {
	out     string // file to write; "" = standard output
	force   bool
	report  string // file for the report; "" = standard error
	verify  bool
	compat  bool
	modern  bool
	lookup  func(string) (string, bool) // what --verify expands both sides with
	verdict *importVerdict
}

// importVerdict is what --verify found.
type importVerdict struct {
	Instances   int                  `json:"instances"`
	Differences []migrate.Difference `json:"differences"`
}

func newImportCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "import",
		Example: "  qsuper import supervisor /etc/supervisor/supervisord.conf -o qsuper.yaml --verify",
		Short:   "Convert the files of Supervisor, cron, Magento or systemd",
		Long: "Writes a qsuper.yaml for what other tools run, and reports what became of everything in\n" +
			"their files: exact, changed, lost. Reads only; nothing that runs is touched." + importExits,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImportSupervisorCmd(a), newImportCrontabCmd(a), newImportMagentoCmd(a), newImportSystemdCmd(a))
	return cmd
}

const importExits = "\n\nExit codes:\n   0  converted, nothing is lost\n   1  converted with losses\n   2  nothing was converted"

// addFlags adds the flags of all sources.
func (o *importOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.out, "output", "o", "", "`file` to write (default standard output); must not exist")
	f.BoolVar(&o.force, "force", false, "overwrite the file of --output")
	f.StringVar(&o.report, "report", "", "`file` for the report (default standard error)")
	f.BoolVar(&o.verify, "verify", false, "compare argv, environment, directory, user, umask and log of every instance with what the other tool starts")
	f.BoolVar(&o.modern, "modern", false, "take qsuper's own ways where the tools differ, and list them (default)")
	f.BoolVar(&o.compat, "compat", false, "keep the other tool's arithmetic as far as qsuper has it")
}

// check refuses flags that exclude each other.
func (o *importOptions) check() error {
	if o.modern && o.compat {
		return usage("give one of them", "--modern and --compat exclude each other")
	}
	return nil
}

func (o *importOptions) mode() migrate.Mode {
	if o.compat {
		return migrate.Compat
	}
	return migrate.Modern
}

// finish checks, compares, writes and reports what an importer has made.
func (o *importOptions) finish(r *migrate.Result, out *screen) error {
	text := r.Document.Bytes()
	code := r.Report.Code()
	if o.lookup == nil {
		o.lookup = os.LookupEnv
	}
	if code < 2 {
		if _, err := migrate.Load(text, o.lookup); err != nil {
			return fmt.Errorf("the converted file is not right, which is a mistake of qsuper's: %w", err)
		}
	}
	if o.verify && code < 2 {
		found, err := migrate.Verify(text, r.Expected, r.Report.Items, o.lookup)
		if err != nil {
			return err
		}
		o.verdict = &importVerdict{Instances: len(r.Expected), Differences: append([]migrate.Difference{}, found...)}
		if len(o.unknown()) > 0 {
			code = max(code, 1)
		}
	}
	if code < 2 {
		if err := o.write(text, out); err != nil {
			return err
		}
	}
	if err := o.tell(r.Report, out); err != nil {
		return err
	}
	if code != 0 {
		return exit(code)
	}
	return nil
}

// unknown are the differences that the report does not tell of.
func (o *importOptions) unknown() []migrate.Difference {
	var list []migrate.Difference
	for _, d := range o.verdict.Differences {
		if !d.Known {
			list = append(list, d)
		}
	}
	return list
}

func (o *importOptions) write(text []byte, out *screen) error {
	if o.out == "" {
		_, err := out.Write(text)
		return err
	}
	if o.force {
		return config.ReplaceFile(o.out, text)
	}
	f, err := os.OpenFile(o.out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if errors.Is(err, fs.ErrExist) {
		return &exitError{code: exitUsage, err: fmt.Errorf("%s exists", o.out), hint: "give another --output, or --force to overwrite it"}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// tell writes the report.
func (o *importOptions) tell(r *migrate.Report, out *screen) error {
	var b strings.Builder
	if out.json {
		if r.Items == nil {
			r.Items = []migrate.Item{}
		}
		if err := printJSON(&b, struct {
			*migrate.Report
			Summary string         `json:"summary"`
			Verify  *importVerdict `json:"verify,omitempty"`
		}{r, r.Summary(), o.verdict}); err != nil {
			return err
		}
	} else {
		for _, i := range r.Items {
			fmt.Fprintln(&b, escape(i.String(), ""))
		}
		o.compared(&b)
		fmt.Fprintf(&b, "qsuper: %s\n", escape(r.Summary(), ""))
	}
	switch {
	case o.report != "":
		return os.WriteFile(o.report, []byte(b.String()), 0o640)
	case out.json && o.out != "": // standard output is free for it
		out.printf("%s", b.String())
	default:
		fmt.Fprint(out.stderr, b.String())
	}
	return nil
}

// compared prints what --verify found.
func (o *importOptions) compared(b *strings.Builder) {
	if o.verdict == nil {
		return
	}
	unknown := o.unknown()
	for _, d := range unknown {
		fmt.Fprintf(b, "verify: %s\n", escape(d.String(), ""))
	}
	text := "every one is the same"
	if n := len(o.verdict.Differences); n > 0 {
		text = plural(n, "difference") + ", all of them reported"
		if len(unknown) > 0 {
			text = fmt.Sprintf("%s, %d of them not reported", plural(n, "difference"), len(unknown))
		}
	}
	fmt.Fprintf(b, "verify: %s compared: %s\n", plural(o.verdict.Instances, "instance"), text)
}
