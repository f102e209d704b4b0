package supervisor

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"qsuper/migrate/migratetest"

	"github.com/google/go-cmp/cmp"
)

// oracle is Supervisor itself: its parser in a Python process that answers one
// question a line.
type oracle struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

// python is Debian's, which its package supervisor is for.
const python = "/usr/bin/python3"

func startOracle(t testing.TB) *oracle {
	t.Helper()
	cmd := exec.Command(python, "testdata/oracle.py")
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: apt-get install --no-install-recommends supervisor", err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	return &oracle{in: in, out: bufio.NewReaderSize(out, 1<<20)}
}

type stream struct {
	Path     *string `json:"path"`
	MaxBytes int64   `json:"maxbytes"`
	Backups  int64   `json:"backups"`
	Syslog   bool    `json:"syslog"`
	Capture  int64   `json:"capture"`
	Events   bool    `json:"events"`
}

type process struct {
	Group        string            `json:"group"`
	Kind         string            `json:"kind"`
	Name         string            `json:"name"`
	Command      string            `json:"command"`
	Argv         []string          `json:"argv"`
	Environment  map[string]string `json:"environment"`
	Directory    *string           `json:"directory"`
	User         *string           `json:"user"`
	Umask        *int64            `json:"umask"`
	Priority     int64             `json:"priority"`
	AutoStart    bool              `json:"autostart"`
	AutoRestart  string            `json:"autorestart"`
	StartSecs    int64             `json:"startsecs"`
	StartRetries int64             `json:"startretries"`
	StopSignal   int               `json:"stopsignal"`
	StopWaitSecs int64             `json:"stopwaitsecs"`
	StopAsGroup  bool              `json:"stopasgroup"`
	KillAsGroup  bool              `json:"killasgroup"`
	ExitCodes    []int             `json:"exitcodes"`
	Redirect     bool              `json:"redirect_stderr"`
	ServerURL    *string           `json:"serverurl"`
	Stdout       stream            `json:"stdout"`
	Stderr       stream            `json:"stderr"`
}

type answer struct {
	Error     string    `json:"error"`
	Processes []process `json:"processes"`
}

// ask returns what Supervisor says of a main file.
func (o *oracle) ask(t testing.TB, file string, env map[string]string) answer {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	question, err := json.Marshal(map[string]any{"file": file, "env": env})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(o.in, "%s\n", question); err != nil {
		t.Fatalf("%v: apt-get install --no-install-recommends supervisor", err)
	}
	line, err := o.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("%v: apt-get install --no-install-recommends supervisor", err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		t.Fatal(err)
	}
	for i := range a.Processes { // an empty path is no log, as NONE is
		for _, s := range []*stream{&a.Processes[i].Stdout, &a.Processes[i].Stderr} {
			if s.Path != nil && *s.Path == "" {
				s.Path = nil
			}
		}
	}
	sortProcesses(a.Processes)
	return a
}

// sortProcesses: two sections may have names that differ in blanks only.
func sortProcesses(all []process) {
	key := func(p process) string {
		whole, _ := json.Marshal(p)
		return p.Group + "\x00" + p.Name + "\x00" + string(whole)
	}
	slices.SortFunc(all, func(a, b process) int { return strings.Compare(key(a), key(b)) })
}

var environmentName = regexp.MustCompile(`%\(ENV_([^)]*)\)`)

// environmentFor sets every variable that a file names.
func environmentFor(t testing.TB, files ...string) map[string]string {
	t.Helper()
	env := map[string]string{"HOME": "/root"}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range environmentName.FindAllStringSubmatch(string(data), -1) {
			env[m[1]] = unset
		}
	}
	return env
}

// mainFor returns a main file for one that has no [supervisord] section: it
// includes it, as Debian's does with conf.d.
func mainFor(t testing.TB, file string) string {
	t.Helper()
	if hasServer(file) {
		return file
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "supervisord.conf")
	if err := os.WriteFile(name, []byte("[supervisord]\n[include]\nfiles="+abs+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// view is what Read makes of a file, in the words of the oracle.
func view(cfg *Config) []process {
	all := []process{}
	kinds := map[string]string{"program": "ProcessConfig", "eventlistener": "EventListenerConfig", "fcgi-program": "FastCGIProcessConfig"}
	for _, p := range cfg.Programs {
		for _, one := range p.Processes {
			kind := kinds[p.Kind]
			if p.Group != "" {
				kind = "ProcessConfig" // an fcgi-program in a group is read as a program
			}
			v := process{Group: one.Group, Kind: kind, Name: one.Name, Command: one.Command, Environment: cfg.env(one),
				Umask: one.Umask, Priority: one.Priority, AutoStart: one.AutoStart, AutoRestart: one.AutoRestart, StartSecs: one.StartSecs, StartRetries: one.StartRetries,
				StopSignal: one.StopSignal, StopWaitSecs: one.StopWaitSecs, StopAsGroup: one.StopAsGroup, KillAsGroup: one.KillAsGroup,
				ExitCodes: one.ExitCodes, Redirect: one.RedirectStderr}
			if argv, err := words(one.Command); err == nil {
				v.Argv = append([]string{}, argv...)
			}
			has := func(key string) bool { _, ok := cfg.ini.get(p.Section, key); return ok }
			if has("directory") {
				v.Directory = &one.Directory
			}
			if has("user") {
				v.User = &one.User
			}
			if url, ok := cfg.ini.get(p.Section, "serverurl"); ok && (one.ServerURL != "" || url.value == "") {
				v.ServerURL = &one.ServerURL
			}
			v.Stdout, v.Stderr = streamOf(one.Stdout), streamOf(one.Stderr)
			all = append(all, v)
		}
	}
	sortProcesses(all)
	return all
}

func streamOf(l Log) stream {
	s := stream{MaxBytes: l.MaxBytes, Backups: l.Backups, Syslog: l.Syslog, Capture: l.Captured, Events: l.AsEvents}
	if l.Path != "" {
		s.Path = &l.Path
	}
	return s
}

func readWith(t testing.TB, env map[string]string, files ...string) (*Config, error) {
	t.Helper()
	return Read(files, Options{
		LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Hostname:  func() (string, error) { return "thishost", nil },
	})
}

func corpus(t testing.TB) []string {
	t.Helper()
	return migratetest.Corpus(t, "testdata/conf/*.conf", "supervisor")
}

// TestReadAgreesWithSupervisor: every instance of every file, and every file that
// is refused, as Supervisor itself has it.
func TestReadAgreesWithSupervisor(t *testing.T) {
	o := startOracle(t)
	for _, file := range corpus(t) {
		env := environmentFor(t, file)
		theirs := o.ask(t, mainFor(t, file), env)
		cfg, err := readWith(t, env, file)
		agree(t, file, theirs, cfg, err)
	}
}

// agree compares the two readings of a file.
func agree(t testing.TB, file string, theirs answer, cfg *Config, err error) {
	t.Helper()
	refused := err != nil || len(cfg.Refusals) > 0
	switch {
	case refused != (theirs.Error != ""):
		why := fmt.Sprint(err)
		if cfg != nil {
			why = fmt.Sprint(cfg.Refusals)
		}
		t.Errorf("%s: Supervisor says %q, this says %s", file, theirs.Error, why)
	case refused:
	default:
		if diff := cmp.Diff(theirs.Processes, view(cfg)); diff != "" {
			t.Errorf("%s: (-Supervisor +this)\n%s", file, diff)
		}
	}
}
