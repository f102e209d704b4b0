package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"qsuper/internal/kind"
)

// Options are what Load takes from its surroundings. The zero value takes them
// from the process itself.
type Options struct {
	LookupEnv func(name string) (value string, set bool) // nil = os.LookupEnv
	EUID      func() int                                 // nil = os.Geteuid; 0 gets the paths of a system service

	copy *savedCopy // read from here instead of the disk
}

// maxIncludes bounds the files of one configuration.
const maxIncludes = 1000

// Find returns the file to load: flag if not empty, else $QSUPER_CONFIG, else
// ./qsuper.yaml, else /etc/qsuper/qsuper.yaml. The error says where it looked.
func Find(flag string) (string, error) {
	return find(flag, os.Getenv("QSUPER_CONFIG"), []string{"qsuper.yaml", "/etc/qsuper/qsuper.yaml"})
}

func find(flag, env string, places []string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if env != "" {
		return env, nil
	}
	for _, path := range places {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil // also one that cannot be read: Load says why
		}
	}
	return "", fmt.Errorf("no configuration found: looked for %s; write one, or name it with --config or QSUPER_CONFIG", strings.Join(places, " and "))
}

// Load reads a file and its includes, fills in the environment and every
// default, and checks all that can be checked without looking at the host (see
// CheckHost). The error is an *Error with everything that is wrong at once.
func Load(path string, o Options) (*Config, error) {
	if o.LookupEnv == nil {
		o.LookupEnv = os.LookupEnv
	}
	if o.EUID == nil {
		o.EUID = os.Geteuid
	}
	l := &loader{options: o, decoder: kind.Decoder{Formats: formats}, cfg: &Config{Path: path, Files: []string{path}}, connections: map[string]*Connection{}}
	if abs, err := filepath.Abs(path); err == nil {
		l.cfg.Path = abs
	}
	l.main(path)
	if len(l.decoder.Problems) > 0 {
		pointElsewhere(l.decoder.Problems)
		return nil, &Error{arrange(l.decoder.Problems, l.cfg.Files), l.cfg}
	}
	l.cfg.Warnings = arrange(l.warnings, l.cfg.Files)
	return l.cfg, nil
}

// loader is the state of one Load.
type loader struct {
	options     Options
	decoder     kind.Decoder // collects the problems
	warnings    kind.Problems
	cfg         *Config
	connections map[string]*Connection
	defaults    *kind.Node // the section; nil when it was not written
	unfilled    []Problem  // problems from before decoding: values that are not there to be judged
	instances   int        // over all consumers
}

func (l *loader) add(n *kind.Node, path, format string, args ...any) *Problem {
	return l.decoder.Problems.Add(n, path, format, args...)
}

// section is a map of the file that is read later.
type section struct{ node *kind.Node }

// UnmarshalNode implements kind.Unmarshaler.
func (s *section) UnmarshalNode(d *kind.Decoder, n *kind.Node, path string) {
	if n.Shape != kind.Map {
		d.Problems.Add(n, path, "expected %s, got %s", kind.Map, n.Got())
		return
	}
	s.node = n
}

// list is a list of the file that is read later.
type list struct{ node *kind.Node }

// UnmarshalNode implements kind.Unmarshaler.
func (l *list) UnmarshalNode(d *kind.Decoder, n *kind.Node, path string) {
	if n.Shape != kind.List {
		d.Problems.Add(n, path, "expected %s, got %s", kind.List, n.Got()).Hint = "begin each entry with a dash"
		return
	}
	l.node = n
}

// mainOnly is a key that an included file must not have.
type mainOnly struct{}

// UnmarshalNode implements kind.Unmarshaler.
func (mainOnly) UnmarshalNode(d *kind.Decoder, n *kind.Node, path string) {
	d.Problems.Add(n, path, "belongs into the main file; an included file holds connections, consumers and jobs")
}

// mainKeys are the keys of the main file.
type mainKeys struct {
	Version     int      `yaml:"version"`     // of this format: 1
	Daemon      Daemon   `yaml:"daemon"`      // the daemon itself, see below
	Include     []string `yaml:"include"`     // more files with connections, locks, consumers and jobs; a pattern may match nothing
	Connections section  `yaml:"connections"` // what consumers depend on, by name
	Defaults    section  `yaml:"defaults"`    // keys of a consumer, for all consumers and jobs
	Consumers   section  `yaml:"consumers"`   // what runs, by name
	Jobs        section  `yaml:"jobs"`        // what runs at moments of the clock, by name
	Locks       section  `yaml:"locks"`       // stores in which several hosts hold slots, by name
	Alerts      list     `yaml:"alerts"`      // who is told of what
}

// includedKeys are the keys of an included file.
type includedKeys struct {
	Version     int      `yaml:"version"`
	Connections section  `yaml:"connections"`
	Consumers   section  `yaml:"consumers"`
	Jobs        section  `yaml:"jobs"`
	Daemon      mainOnly `yaml:"daemon"`
	Include     mainOnly `yaml:"include"`
	Defaults    mainOnly `yaml:"defaults"`
	Locks       section  `yaml:"locks"`
	Alerts      mainOnly `yaml:"alerts"`
}

func (l *loader) main(path string) {
	root := l.read(path, nil, "")
	if root == nil {
		return
	}
	keys := mainKeys{Version: 1, Daemon: defaultDaemon()}
	l.decoder.Decode(root, "", &keys)
	l.version(root, keys.Version)
	l.daemon(&keys.Daemon, root)
	l.cfg.Daemon = keys.Daemon

	parts := []includedKeys{{Connections: keys.Connections, Locks: keys.Locks, Consumers: keys.Consumers, Jobs: keys.Jobs}}
	for _, file := range l.includes(path, root.Get("include")) {
		node := l.read(file.path, file.at, file.key)
		if node == nil {
			continue
		}
		part := includedKeys{Version: 1}
		l.decoder.Decode(node, "", &part)
		l.version(node, part.Version)
		parts = append(parts, part)
	}
	if e := root.Get("daemon"); e != nil {
		l.used(e.Value)
	}
	for _, p := range parts {
		l.used(p.Connections.node)
		l.addConnections(p.Connections.node)
	}
	for _, p := range parts {
		l.used(p.Locks.node)
		l.addLocks(p.Locks.node)
	}
	slices.Sort(l.cfg.EnvUsed)
	l.cfg.EnvUsed = slices.Compact(l.cfg.EnvUsed)
	l.defaults = keys.Defaults.node
	l.checkDefaults()
	first := map[string]*kind.Node{}
	for _, p := range parts {
		l.addConsumers(p.Consumers.node, first)
	}
	for _, p := range parts {
		l.addJobs(p.Jobs.node, first)
	}
	if e := root.Get("daemon"); e != nil {
		l.budget(e.Value)
	}
	l.addAlerts(keys.Alerts.node)
}

func (l *loader) version(root *kind.Node, version int) {
	if e := root.Get("version"); e != nil && version != 1 {
		l.add(e.Value, "version", "version %d is not known; this release reads version 1", version)
	}
}

// used collects the variables that a section was filled from.
func (l *loader) used(n *kind.Node) {
	if n == nil {
		return
	}
	l.cfg.EnvUsed = append(l.cfg.EnvUsed, n.From...)
	for _, item := range n.Items {
		l.used(item)
	}
	for _, e := range n.Entries {
		l.used(e.Value)
	}
}

// read parses one file. at is where it was named; nil for the main file.
func (l *loader) read(path string, at *kind.Node, key string) *kind.Node {
	data, err := l.text(path)
	if err == nil {
		l.cfg.sources = append(l.cfg.sources, &source{path, data})
	}
	if err != nil {
		problem := Problem{File: path, Message: err.Error()}
		if at != nil {
			problem = Problem{File: at.File, Line: at.Line, Column: at.Column, Path: key, Message: path + ": " + err.Error()}
			if at.Filled {
				problem.Message = "the file named by the environment " + err.Error()
			}
		}
		l.decoder.Problems = append(l.decoder.Problems, problem)
		return nil
	}
	root, problems := kind.Parse(path, data, l.options.LookupEnv)
	if root == nil && len(problems) == 0 {
		problems.Add(&kind.Node{File: path, Line: 1}, "", "file is empty").Hint = "a file without consumers says consumers: {}"
	}
	l.decoder.Problems = append(l.decoder.Problems, problems...)
	l.unfilled = append(l.unfilled, problems...)
	return root
}

// readFile reads a regular file of at most kind.MaxFile bytes. It does not wait
// for a writer when it is given a FIFO.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, plain(err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("is not a regular file but a %s", fileType(info.Mode()))
	}
	data, err := io.ReadAll(io.LimitReader(f, kind.MaxFile+1))
	if err != nil {
		return nil, plain(err)
	}
	return data, nil
}

// plain drops operation and path, which the message names already.
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return errors.New("cannot be read: " + pe.Err.Error())
	}
	return err
}

func fileType(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeNamedPipe != 0:
		return "FIFO"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// included is a file named by `include`.
type included struct {
	path string
	at   *kind.Node
	key  string
}

// includes lists the files of `include`: in the order of its entries, those of
// one pattern sorted. A pattern takes regular files named *.yaml or *.yml only,
// without hidden ones, and may match nothing; a plain name must exist.
func (l *loader) includes(path string, e *kind.Entry) []included {
	if e == nil {
		return nil
	}
	if l.options.copy != nil {
		return l.copied(e.Value)
	}
	var files []included
	for i, item := range e.Value.Items {
		if item.Shape != kind.Scalar || item.Value == "" || item.Bad {
			continue // the decoder or the parser has said so
		}
		key := fmt.Sprintf("include[%d]", i)
		name := item.Value
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(path), name)
		}
		matches := []string{name}
		if strings.ContainsAny(item.Value, "*?[") {
			matches = l.glob(name, item, key)
		}
		for _, m := range matches {
			if slices.Contains(l.cfg.Files, m) || filepath.Clean(m) == filepath.Clean(path) {
				continue
			}
			files = append(files, included{m, item, key})
			l.cfg.Files = append(l.cfg.Files, m)
		}
	}
	if len(files) > maxIncludes {
		l.add(e.Value, "include", "names %d files; at most %d", len(files), maxIncludes)
		return nil
	}
	return files
}

func (l *loader) glob(pattern string, at *kind.Node, key string) []string {
	all, err := filepath.Glob(pattern)
	if err != nil {
		l.add(at, key, "pattern is not valid: %v", err)
	}
	var files []string
	for _, name := range all {
		base := filepath.Base(name)
		if ext := filepath.Ext(name); ext != ".yaml" && ext != ".yml" || base[0] == '.' {
			continue
		}
		info, err := os.Stat(name)
		if err == nil && !info.Mode().IsRegular() {
			l.warnings.Add(at, key, "%s is left out: it is a %s", name, fileType(info.Mode()))
			continue
		}
		files = append(files, name) // one that cannot be looked at is reported when it is read
	}
	return files
}
