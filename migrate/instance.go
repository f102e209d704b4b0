package migrate

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"qsuper/config"
)

// Instance is one process, as the source's own tool would start it.
type Instance struct {
	Name     string            // what the source calls it
	Consumer string            // the consumer or job it became
	Slot     int               // and the slot of it, from 0
	Argv     []string          // "" words included
	Env      map[string]string // what the file sets; the rest is inherited
	Dir      string            // "" = that of the daemon
	User     string            // user[:group]; "" = that of the daemon
	Umask    *uint32           // nil = that of the daemon
	Log      string            // file of standard output, "stdout", "both" or "none"; "" = the tool's own choice
}

// Difference is what an instance has in the source and not in qsuper.yaml.
type Difference struct {
	Name     string `json:"name"`     // of the instance in the source
	Consumer string `json:"consumer"` // what it became
	What     string `json:"what"`     // argv env cwd user umask log instance
	Theirs   string `json:"theirs"`
	Ours     string `json:"ours"`

	// Known differences stand in the report, as that qsuper keeps output in files of its own.
	Known bool `json:"known"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: %s: %s became %s", d.Name, d.What, d.Theirs, d.Ours)
}

// Load reads a rendered document as the daemon will, as root.
func Load(text []byte, lookup func(string) (string, bool)) (*config.Config, error) {
	dir, err := os.MkdirTemp("", "qsuper-import-")
	if err != nil {
		return nil, fmt.Errorf("check what was converted: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "qsuper.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, fmt.Errorf("check what was converted: %w", err)
	}
	return config.Load(path, config.Options{LookupEnv: lookup, EUID: func() int { return 0 }})
}

// Verify loads a rendered document and compares what qsuper will start with what
// the source's own tool would. items are the report's. An error says why the
// document cannot be loaded.
func Verify(text []byte, expected []Instance, items []Item, lookup func(string) (string, bool)) ([]Difference, error) {
	cfg, err := Load(text, lookup)
	if err != nil {
		return nil, err
	}
	byName := map[string]*config.Consumer{}
	slots := map[string]int{}
	for _, c := range cfg.Consumers {
		byName[c.Name] = c
		slots[c.Name] = c.Instances.Max
	}
	for _, j := range cfg.Jobs { // its runs follow the clock: the first slot stands for all
		byName[j.Name] = j.Consumer
	}
	var found []Difference
	for _, want := range expected {
		c := byName[want.Consumer]
		if c == nil || want.Slot >= c.Instances.Max {
			found = append(found, Difference{Name: want.Name, Consumer: want.Consumer, What: "instance", Theirs: "one process", Ours: "none"})
			continue
		}
		slots[want.Consumer]--
		found = append(found, compare(cfg, c, want)...)
	}
	for _, c := range cfg.Consumers {
		if extra := slots[c.Name]; extra > 0 {
			found = append(found, Difference{Name: c.Name, Consumer: c.Name, What: "instance", Theirs: "none", Ours: fmt.Sprintf("%d more", extra)})
		}
	}
	for i := range found {
		found[i].Known = slices.ContainsFunc(items, func(it Item) bool {
			return it.Name == found[i].Consumer && (it.Level == Changed || it.Level == Lost) && aspects[strings.ToLower(it.Key)] == found[i].What
		})
	}
	return found, nil
}

// aspects are the options of the sources, in small letters, that make up what is
// compared.
var aspects = map[string]string{
	"stdout_logfile": "log", "stderr_logfile": "log", "environment": "env", "directory": "cwd", "umask": "umask",
	"workingdirectory": "cwd", "environmentfile": "env", "standardoutput": "log", "standarderror": "log", "user": "user", "group": "user", "execstart": "argv",
}

// compare looks at one instance.
func compare(cfg *config.Config, c *config.Consumer, want Instance) []Difference {
	var found []Difference
	differ := func(what, theirs, ours string) {
		if theirs != ours {
			found = append(found, Difference{Name: want.Name, Consumer: c.Name, What: what, Theirs: theirs, Ours: ours})
		}
	}
	got, err := c.Expand(want.Slot)
	if err != nil {
		return []Difference{{Name: want.Name, Consumer: c.Name, What: "argv", Theirs: "a command", Ours: err.Error()}}
	}
	differ("argv", fmt.Sprintf("%q", want.Argv), fmt.Sprintf("%q", got.Argv))
	for _, name := range slices.Sorted(maps.Keys(union(want.Env, got.Env))) {
		theirs, has := want.Env[name]
		ours, have := got.Env[name]
		if has != have || theirs != ours { // values may be passwords
			differ("env", name+" "+there(has), name+" "+map[bool]string{true: "with another value", false: "not set"}[have])
		}
	}
	differ("cwd", want.Dir, got.Dir)
	differ("user", want.User, c.User)
	differ("umask", octal(want.Umask), octal(c.Umask))
	if want.Log != "" {
		differ("log", want.Log, LogOf(cfg.Daemon.LogDir, c.Name, want.Slot, c.Logs.To))
	}
	return found
}

// LogOf is where qsuper puts the output of a slot.
func LogOf(dir, consumer string, slot int, to string) string {
	if to != "file" {
		return to
	}
	return filepath.Join(dir, fmt.Sprintf("%s.%d.log", consumer, slot))
}

func there(has bool) string {
	if has {
		return "set"
	}
	return "not set"
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b)
	return all
}

func octal(mask *uint32) string {
	if mask == nil {
		return "inherited"
	}
	return fmt.Sprintf("%03o", *mask)
}
