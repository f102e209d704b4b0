package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Config is what Supervisor makes of its files.
type Config struct {
	Files    []string // in the order they were read
	Programs []*Program
	Server   Server
	Refusals []Refusal // why Supervisor would refuse the whole; empty = it would not

	ini  *ini
	env0 map[string]string // variables that are named and set here
	main bool              // there is a [supervisord] section
	free map[string]bool   // variables that are named and not set here; they count as "1"
}

// Refusal is a mistake for which Supervisor does not load anything.
type Refusal struct {
	File    string
	Line    int
	Section string
	Text    string
}

func (r Refusal) String() string {
	return fmt.Sprintf("%s:%d: [%s] %s", r.File, r.Line, r.Section, r.Text)
}

// Server is the [supervisord] section.
type Server struct {
	Environment []variable
	User        string
	Umask       string // as written; "" = not given
	Directory   string
	LogLevel    string
	Identifier  string
	MinFDs      int64
	Daemon      bool // nodaemon is not set
	StripANSI   bool
}

// Options are what Read takes from its surroundings.
type Options struct {
	LookupEnv func(string) (string, bool) // nil = os.LookupEnv
	Hostname  func() (string, error)      // nil = os.Hostname
	FreezeEnv bool                        // a variable's value now, instead of a place for what it will be
}

// unset is the value of a variable that is named in a file and not set here: it
// fits text and numbers.
const unset = "1"

// reader reads one set of files.
type reader struct {
	cfg  *Config
	ini  *ini
	opt  Options
	env  map[string]value // ENV_X, [supervisord] environment included
	sym  map[string]value // the same with symbols for what qsuper fills in itself
	here string
	host string
}

// Read reads main files and parts of them, the way Supervisor reads a file and
// what it includes. An error means that nothing can be said about them;
// everything else that Supervisor would not accept is in Refusals.
func Read(files []string, o Options) (*Config, error) {
	if o.LookupEnv == nil {
		o.LookupEnv = os.LookupEnv
	}
	if o.Hostname == nil {
		o.Hostname = os.Hostname
	}
	r := &reader{ini: newINI(), opt: o, env: map[string]value{}, sym: map[string]value{}}
	r.cfg = &Config{ini: r.ini, free: map[string]bool{}, env0: map[string]string{}}
	var err error
	if r.host, err = o.Hostname(); err != nil {
		return nil, err
	}
	if err := r.files(files); err != nil {
		return nil, err
	}
	r.variables()
	r.server()
	r.programs()
	r.servers()
	return r.cfg, nil
}

// files reads the files in order. One with [supervisord] is the main file: it
// comes first, and the others as if it included them.
func (r *reader) files(files []string) error {
	if len(files) == 0 {
		return fmt.Errorf("no file given")
	}
	first := slices.IndexFunc(files, hasServer)
	order := slices.Clone(files)
	if first > 0 {
		order = slices.Insert(slices.Delete(order, first, first+1), 0, files[first])
	}
	for i, name := range order {
		if slices.Contains(r.cfg.Files, name) {
			continue // the main file includes it
		}
		if err := r.file(name, i == 0); err != nil {
			return err
		}
	}
	r.cfg.main = r.ini.sections["supervisord"] != nil
	return nil
}

// hasServer reports whether a file has a [supervisord] section.
func hasServer(name string) bool {
	p := newINI()
	data, err := os.ReadFile(name)
	if err != nil {
		return false
	}
	_ = p.read(name, data)
	return p.sections["supervisord"] != nil
}

// file reads a file, and when it is the first one what it includes.
func (r *reader) file(name string, first bool) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	if err := r.ini.read(name, data); err != nil {
		return err
	}
	r.cfg.Files = append(r.cfg.Files, name)
	if !first {
		r.ini.expandHere(filepath.Dir(abs))
		return nil
	}
	r.here = filepath.Dir(abs)
	if r.ini.sections["include"] == nil {
		return nil
	}
	r.ini.expandHere(r.here)
	return r.include(name)
}

// include reads the files that [include] names: patterns relative to the file,
// those of one pattern sorted. Included files include nothing.
func (r *reader) include(main string) error {
	o, ok := r.ini.get("include", "files")
	if !ok {
		return fmt.Errorf("%s: [include] has no files", main)
	}
	names := map[string]value{"here": {text: r.here}, "host_node_name": {text: r.host}}
	r.lookUp(o.value, names)
	text, err := format(o.value, names)
	if err != nil {
		return fmt.Errorf("%s:%d: include.files: %w", o.file, o.line, err)
	}
	for _, pattern := range strings.FieldsFunc(text, isSpace) {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(main), pattern)
		}
		found, err := filepath.Glob(pattern)
		if err != nil {
			return fmt.Errorf("%s:%d: include.files: %w", o.file, o.line, err)
		}
		found = slices.DeleteFunc(found, func(f string) bool { return hiddenBy(pattern, f) })
		if len(found) == 0 {
			r.ini.notes = append(r.ini.notes, note{file: o.file, line: o.line, section: "include", key: "files", text: "no file matches " + pattern})
		}
		slices.Sort(found)
		for _, name := range found {
			data, err := os.ReadFile(name)
			if err != nil { // Supervisor skips what it cannot read
				r.ini.notes = append(r.ini.notes, note{file: name, section: "include", text: "cannot be read, Supervisor skips it: " + err.Error()})
				continue
			}
			if err := r.ini.read(name, data); err != nil {
				return err
			}
			r.cfg.Files = append(r.cfg.Files, name)
			abs, err := filepath.Abs(name)
			if err != nil {
				return err
			}
			r.ini.expandHere(filepath.Dir(abs))
		}
	}
	return nil
}

// hiddenBy reports whether Python's glob leaves a name out that Go's takes: one
// that starts with a dot, unless the pattern does.
func hiddenBy(pattern, name string) bool {
	p, n := filepath.Base(pattern), filepath.Base(name)
	return strings.HasPrefix(n, ".") && !strings.HasPrefix(p, ".")
}

// lookUp adds the variables that a text names as %(ENV_X)… to names.
func (r *reader) lookUp(text string, names map[string]value) {
	for _, part := range strings.Split(text, "%(ENV_")[1:] {
		name, _, ok := strings.Cut(part, ")")
		if !ok {
			continue
		}
		if v, set := r.opt.LookupEnv(name); set {
			names["ENV_"+name] = value{text: v}
		}
	}
}

// variables collects the variables that any option names. One that is not set
// here may be set where Supervisor runs.
func (r *reader) variables() {
	all := []*section{r.ini.defaults}
	for _, name := range r.ini.order {
		all = append(all, r.ini.sections[name])
	}
	for _, s := range all {
		for _, o := range s.options {
			for _, part := range strings.Split(o.value, "%(ENV_")[1:] {
				name, _, ok := strings.Cut(part, ")")
				if !ok || name == "" {
					continue
				}
				v, set := r.opt.LookupEnv(name)
				if !set {
					v = unset
					r.cfg.free[name] = true
				} else {
					r.cfg.env0[name] = v
				}
				r.env["ENV_"+name] = value{text: v}
				r.sym["ENV_"+name] = value{text: v, symbol: symEnv + name}
				if !isIdentifier(name) || r.opt.FreezeEnv && set {
					r.sym["ENV_"+name] = value{text: v}
				}
			}
		}
	}
}

func isIdentifier(name string) bool {
	for i, c := range name {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// refuse notes a mistake for which Supervisor refuses everything.
func (r *reader) refuse(sect, option, format string, args ...any) {
	s := r.ini.sections[sect]
	f := Refusal{File: s.file, Line: s.line, Section: sect, Text: fmt.Sprintf(format, args...)}
	if o := s.options[option]; o != nil {
		f.File, f.Line = o.file, o.line
	}
	r.cfg.Refusals = append(r.cfg.Refusals, f)
}

// LookupEnv is the environment that Read expanded the files with: a variable
// that they name and that is not set counts as "1".
func (c *Config) LookupEnv(name string) (string, bool) {
	if c.free[name] {
		return unset, true
	}
	v, ok := c.env0[name]
	return v, ok
}
