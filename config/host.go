package config

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// CheckHost looks whether this host has what the file names: programs, users,
// groups, directories, env files; and, as root, whether only root could have
// written it. `check`, `run` at its start and `reload` take
// its problems as errors. What a deploy takes away later is found at the next
// start, where the slot says "misconfigured" and tries again.
func CheckHost(cfg *Config) []Problem {
	h := &host{}
	if os.Geteuid() == 0 {
		for _, f := range cfg.Files {
			if err := trusted(f); err != nil {
				h.problems = append(h.problems, Problem{File: f, Message: err.Error()})
			}
		}
	}
	if g := cfg.Daemon.Socket.Group; g != "" {
		if _, err := GroupID(g); err != nil {
			h.problems = append(h.problems, Problem{File: cfg.Files[0], Path: "daemon.socket.group", Message: err.Error()})
		}
	}
	if file := cfg.Daemon.HTTP.TokenFile; file != "" && cfg.Daemon.HTTP.Listen != "" {
		if _, err := ReadToken(file); err != nil {
			h.problems = append(h.problems, Problem{File: cfg.Files[0], Path: "daemon.http.token_file", Message: err.Error()})
		}
	}
	if _, err := WithoutLinks(cfg.Daemon.LogDir); err != nil {
		h.problems = append(h.problems, Problem{File: cfg.Files[0], Path: "daemon.log_dir", Message: err.Error()})
	}
	h.descriptors(cfg)
	for _, c := range cfg.Programs() {
		h.consumer(c)
	}
	return arrange(h.problems, cfg.Files)
}

// hostKeys are what a program of the file is looked for with on the host.
var hostKeys = []string{"user", "dir", "env", "env_file", "command", "shell", "preset", "stop"}

// WithHost adds what CheckHost finds about consumers and jobs whose own mistakes do not
// stand in the way, so that all that is wrong is told at once.
func (e *Error) WithHost() *Error {
	if e.read == nil {
		return e
	}
	h := &host{problems: slices.Clone(e.Problems)}
	for _, c := range e.read.Programs() {
		if runs := len(c.Command) > 0 || c.Shell != ""; runs && !e.hides(c.section+"."+c.Name) {
			one := *c
			one.Instances.Max = 1 // their number may be what is wrong
			h.consumer(&one)
		}
	}
	return &Error{Problems: arrange(h.problems, e.read.Files)}
}

// hides says that a section is too wrong for its program to be looked for.
func (e *Error) hides(section string) bool {
	return slices.ContainsFunc(e.Problems, func(p Problem) bool {
		if p.Path == section {
			return true
		}
		for _, key := range hostKeys {
			if under(p.Path, section+"."+key) {
				return true
			}
		}
		return false
	})
}

type host struct{ problems []Problem }

func (h *host) add(c *Consumer, key string, err error) {
	at, written := c.Places[key]
	if !written {
		at = c.At
	}
	h.problems = append(h.problems, Problem{File: at.File, Line: at.Line, Column: at.Column,
		Path: c.section + "." + c.Name + "." + key, Message: err.Error()})
}

func (h *host) consumer(c *Consumer) {
	who, err := LookupIdentity(c.User)
	if err != nil {
		h.add(c, "user", err)
		who = ownIdentity() // to look at the rest all the same
	}
	env, err := c.ReadEnvFiles()
	if err != nil {
		h.add(c, "env_file", err)
	}
	before := len(h.problems)
	first := h.launch(c, 0, env, who)
	if len(h.problems) > before {
		return
	}
	for slot := 1; slot < c.Instances.Max; slot++ { // most often all slots start the same program
		l, err := c.Expand(slot)
		if err != nil || len(l.Argv) == 0 || l.Dir == first.Dir && l.Argv[0] == first.Argv[0] {
			return
		}
		if h.launch(c, slot, env, who); len(h.problems) > before {
			return // one slot is enough to see what is wrong
		}
	}
}

// launch checks directory and program of one slot.
func (h *host) launch(c *Consumer, slot int, env map[string]string, who *Identity) Launch {
	l, err := c.Expand(slot)
	if err != nil || len(l.Argv) == 0 {
		h.add(c, "command", fmt.Errorf("cannot be expanded: %w", err))
		return Launch{Argv: []string{""}}
	}
	if l.Dir != "" {
		info, err := os.Stat(l.Dir)
		switch {
		case err != nil:
			h.add(c, "dir", missing("directory", l.Dir, err))
			return l // a relative command would only be missing because of it
		case !info.IsDir():
			h.add(c, "dir", fmt.Errorf("%s is not a directory", l.Dir))
			return l
		}
	}
	path := searchPath(l.Env, env)
	key := "command"
	switch {
	case c.Preset != "":
		key = "preset"
	case c.Shell != "":
		key = "shell"
	}
	if _, err := FindProgram(l.Argv[0], l.Dir, path, who); err != nil {
		h.add(c, key, err)
	}
	if len(c.Stop.Command) > 0 {
		if _, err := FindProgram(c.Stop.Command[0], l.Dir, path, who); err != nil {
			h.add(c, "stop", fmt.Errorf("command: %w", err))
		}
	}
	return l
}

// searchPath returns the PATH the child will have.
func searchPath(env, files map[string]string) string {
	if p, ok := env["PATH"]; ok {
		return p
	}
	if p, ok := files["PATH"]; ok {
		return p
	}
	return os.Getenv("PATH")
}

// FindProgram looks for a program as the child will: with a slash relative to
// dir, else along path, the value of its PATH. The error says what is wrong with
// it and what to do. who may be nil: then nobody's permissions are looked at.
func FindProgram(name, dir, path string, who *Identity) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, executable(name, who)
	}
	for _, folder := range filepath.SplitList(path) {
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(dir, folder)
		}
		if candidate := filepath.Join(folder, name); executable(candidate, who) == nil {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("program %s is not in PATH %s; install it, or give its full path", name, path)
}

func executable(name string, who *Identity) error {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return missing("program", name, err)
	case info.IsDir():
		return fmt.Errorf("program %s is a directory", name)
	case !info.Mode().IsRegular():
		return fmt.Errorf("program %s is not a regular file", name)
	case who != nil && !who.mayExecute(info):
		return fmt.Errorf("program %s is not executable for %s; run chmod +x", name, who)
	}
	return checkInterpreter(name)
}

// checkInterpreter looks at the #! line of a script: a missing interpreter makes
// the kernel say that the script itself does not exist.
func checkInterpreter(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return nil // executable but not readable: a program
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, 256)).ReadBytes('\n') // the kernel reads 256 bytes (binfmt_script)
	if !bytes.HasPrefix(line, []byte("#!")) || err != nil && err != io.EOF {
		return nil
	}
	words := bytes.Fields(line[2:])
	switch {
	case bytes.HasSuffix(line, []byte("\r\n")):
		return fmt.Errorf("program %s: its #! line ends with a carriage return; save it with unix line ends", name)
	case len(words) == 0:
		return fmt.Errorf("program %s: its #! line names no interpreter", name)
	}
	if _, err := os.Stat(string(words[0])); err != nil {
		return fmt.Errorf("program %s: %w", name, missing("interpreter", string(words[0]), err))
	}
	return nil
}

func missing(what, name string, err error) error {
	var pe *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s does not exist", what, name)
	case errors.As(err, &pe):
		return fmt.Errorf("%s %s cannot be looked at: %w", what, name, pe.Err)
	}
	return err
}
