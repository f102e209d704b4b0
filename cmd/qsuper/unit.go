package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"qsuper/config"
	"qsuper/internal/pattern"
)

const (
	// unitMargin is what a stop may take beyond the longest grace: SIGKILL, what it
	// leaves behind, the rest of the output, the keeper's own end.
	unitMargin = 30 * time.Second
	// unitForever is where a grace counts as endless: systemd's "infinity".
	unitForever = 365 * 24 * time.Hour
	// subgroupVersion is the first systemd that knows DelegateSubgroup=, and that tells
	// a service of its file descriptor store.
	subgroupVersion = 254
	// unitPipes is how many pipes systemd should be ready to hold at least: a reload
	// may add consumers, and only pipes that are there cost anything.
	unitPipes = 1024
)

//go:embed unit.tmpl
var unitText string

var unitTemplate = template.Must(template.New("unit").Parse(unitText))

type unitOptions struct {
	config  string
	user    string
	binary  string
	systemd int // version; 0 = the installed one
}

// unit is what the template shows; all words are quoted already.
type unit struct {
	Files                          uint64 // open files
	Pipes                          int    // that systemd holds
	Binary, Config, Socket, User   string
	StateDir                       string
	Stop, Grace, Longest           string // Longest is the consumer with that grace
	Env                            []string
	EnvFile                        string
	Subgroup                       bool
	State, Logs, Runtime, Runnable string // directories for systemd to make; "" = none. Runnable is Runtime's mode
}

func newUnitCmd(a *app) *cobra.Command {
	var o unitOptions
	cmd := &cobra.Command{
		Use:     "unit",
		Example: "  qsuper unit --user shop",
		Short:   "Print a systemd unit that fits the file",
		Long: "Prints a service whose TimeoutStopSec is longer than the longest grace of the file. Changes\n" +
			"nothing; as root:\n\n" +
			"  qsuper unit >/etc/systemd/system/qsuper.service\n" +
			"  systemctl daemon-reload && systemctl enable --now qsuper" +
			exitHelp(exitDone, exitFailed, exitConfig),
		Args:              args(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			o.config = a.config
			return runUnit(o, a.screen())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.user, "user", "", "`name` of the user who runs the daemon (default root)")
	f.StringVar(&o.binary, "binary", "", "`path` of qsuper (default this program's own)")
	f.IntVar(&o.systemd, "systemd", 0, "`version` of systemd to write for (default the installed one)")
	return cmd
}

func runUnit(o unitOptions, out *screen) error {
	file, err := config.Find(o.config)
	if err != nil {
		return &exitError{code: exitConfig, err: err}
	}
	if file, err = filepath.Abs(file); err != nil {
		return err
	}
	if o.binary == "" {
		if o.binary, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
	}
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if o.systemd == 0 {
		o.systemd = installedSystemd()
	}
	cfg, err := loadAs(file, o.user)
	if err != nil {
		return err
	}
	u, err := unitFor(cfg, file, o)
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := unitTemplate.Execute(&text, u); err != nil {
		return err
	}
	if out.json {
		return printJSON(out, map[string]string{"unit": text.String()})
	}
	out.printf("%s", text.String())
	return nil
}

// loadAs loads the file as the service will: as that user, and with what systemd
// puts into the environment of one instead of what this shell has. Variables that
// the file names are taken from here, for the unit can only say where they go.
func loadAs(file, name string) (*config.Config, error) {
	uid, home := 0, ""
	if name != "" {
		who, err := user.Lookup(name)
		if err != nil {
			return nil, &exitError{code: exitFailed, err: fmt.Errorf("find user %s: %w", name, err), hint: "give a user of this machine, or create it: useradd --system " + name}
		}
		if uid, err = strconv.Atoi(who.Uid); err != nil {
			return nil, fmt.Errorf("find user %s: user number %q", name, who.Uid)
		}
		home = who.HomeDir
	}
	return config.Load(file, config.Options{
		EUID: func() int { return uid },
		LookupEnv: func(key string) (string, bool) {
			switch {
			case key == "HOME":
				return home, home != ""
			case strings.HasPrefix(key, "XDG_"):
				return "", false
			}
			return os.LookupEnv(key)
		},
	})
}

func unitFor(cfg *config.Config, file string, o unitOptions) (unit, error) {
	u := unit{User: o.user, Env: cfg.EnvUsed, Subgroup: o.systemd >= subgroupVersion, Runnable: "0750", Files: max(65536, cfg.Descriptors()), Pipes: max(unitPipes, 2*pipesOf(cfg))}
	var bad error
	word := func(s string) string {
		quoted, err := unitWord(s)
		bad = errors.Join(bad, err)
		return quoted
	}
	u.Binary, u.Config, u.Socket, u.StateDir = word(o.binary), word(file), word(cfg.Daemon.Socket.Path), word(cfg.Daemon.StateDir)
	u.EnvFile = strings.ReplaceAll(filepath.Join(filepath.Dir(file), "qsuper.env"), "%", "%%")
	grace := time.Duration(0)
	for _, c := range cfg.Programs() {
		if c.Stop.Grace > grace {
			grace, u.Longest = c.Stop.Grace, c.Name
		}
	}
	// The time for stop.command is part of the grace.
	u.Grace, u.Stop = humane(grace), "infinity"
	if grace < unitForever {
		stop := grace + unitMargin + time.Second - 1
		u.Stop = strconv.FormatInt(int64(stop/time.Second), 10) + "s"
	}
	u.State, u.Logs = below("/var/lib", cfg.Daemon.StateDir), below("/var/log", cfg.Daemon.LogDir)
	u.Runtime = below("/run", filepath.Dir(cfg.Daemon.Socket.Path))
	if s := cfg.Daemon.Socket; s.Group != "" || s.Mode&0o007 != 0 {
		u.Runnable = "0755" // those whom the socket lets in must be able to reach it
	}
	return u, bad
}

// pipesOf is how many instances print into a pipe.
func pipesOf(cfg *config.Config) (n int) {
	for _, c := range cfg.Programs() {
		if c.Logs.To != "none" {
			n += c.Instances.Max
		}
	}
	return n
}

var plainPath = pattern.Lazy(`^[A-Za-z0-9._/-]+$`)

// below is dir as systemd's directory settings want it: relative to the root of
// its kind. "" = it is elsewhere, and qsuper makes it itself.
func below(root, dir string) string {
	rest, ok := strings.CutPrefix(path.Clean(dir), root+"/")
	if !ok || !plainPath().MatchString(rest) {
		return ""
	}
	return rest
}

// unitWord is one word of a command line as systemd.service(5) quotes them.
func unitWord(s string) (string, error) {
	if strings.ContainsAny(s, "\n\r\x00") {
		return "", fmt.Errorf("write %q into a unit: it has more than one line; rename it", s)
	}
	s = strings.NewReplacer("%", "%%", "$", "$$").Replace(s)
	if s == "" || strings.ContainsAny(s, " \t\"'\\;") {
		s = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return s, nil
}

// installedSystemd is the version of this machine's systemd; 0 = there is none,
// or it does not say.
func installedSystemd() int {
	out, err := exec.Command("systemctl", "--version").Output()
	if err != nil {
		return 0
	}
	var version int
	_, _ = fmt.Sscanf(string(out), "systemd %d", &version)
	return version
}
