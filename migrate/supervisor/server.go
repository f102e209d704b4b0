package supervisor

import (
	"errors"
	"slices"
	"strings"
)

// server reads [supervisord]. Its environment counts for %(ENV_X)s everywhere
// else.
func (r *reader) server() {
	s := &r.cfg.Server
	s.Identifier, s.LogLevel, s.MinFDs, s.Daemon = "supervisor", "info", 1024, true
	const sect = "supervisord"
	if r.ini.sections[sect] == nil {
		return
	}
	g := getter{r: r, section: sect, names: map[string]value{"here": {text: r.here}}}
	s.MinFDs = g.integer("minfds", 1024)
	g.integer("minprocs", 200)
	s.Directory = g.text("directory", "")
	s.User = g.text("user", "")
	s.Umask = g.text("umask", "")
	g.octal("umask", "022")
	g.text("logfile", "")
	g.size("logfile_maxbytes", "50MB")
	g.integer("logfile_backups", 10)
	if level, err := logLevel(g.text("loglevel", "info")); err != nil {
		r.refuse(sect, "loglevel", "%v", err)
	} else {
		s.LogLevel = level
	}
	g.text("pidfile", "")
	s.Identifier = g.text("identifier", "supervisor")
	s.Daemon = !g.boolean("nodaemon", false)
	g.boolean("silent", false)
	g.text("childlogdir", "")
	g.boolean("nocleanup", false)
	s.StripANSI = g.boolean("strip_ansi", false)

	// Expanded twice, as Supervisor does; the host's name is known the second time only.
	text := g.text("environment", "")
	names := map[string]value{"here": {text: r.here}, "host_node_name": {text: r.host}}
	for k, v := range r.env {
		names[k] = v
	}
	text, err := format(text, names)
	if err == nil {
		s.Environment, err = environment(text)
	}
	if err != nil {
		r.refuse(sect, "environment", "%v", err)
		return
	}
	for _, v := range s.Environment {
		r.env["ENV_"+v.name], r.sym["ENV_"+v.name] = value{text: v.text}, value{text: v.text}
		if !r.uses(sect, v.name) {
			delete(r.cfg.free, v.name)
		}
	}
}

// uses reports whether an option of a section names a variable.
func (r *reader) uses(sect, name string) bool {
	for _, s := range []*section{r.ini.sections[sect], r.ini.defaults} {
		for _, o := range s.options {
			if strings.Contains(o.value, "%(ENV_"+name+")") {
				return true
			}
		}
	}
	return false
}

// servers looks at the control sockets, as far as they are a reason to refuse
// the file.
func (r *reader) servers() {
	for _, name := range r.ini.order {
		var need string
		switch {
		case strings.HasPrefix(name, "inet_http_server"):
			need = "port"
		case strings.HasPrefix(name, "unix_http_server"):
			need = "file"
		default:
			continue
		}
		g := getter{r: r, section: name, names: map[string]value{}}
		user, password := g.has("username"), g.has("password")
		if user != password {
			r.refuse(name, "", "username and password belong together")
		}
		g.text("username", "")
		g.text("password", "")
		if !g.has(need) {
			r.refuse(name, "", "has no %s", need)
		}
		if need == "port" && g.has(need) {
			r.port(name, g.text(need, ""))
			continue
		}
		g.names["here"] = value{text: r.here}
		g.text("file", "")
		delete(g.names, "here")
		g.text("chown", "")
		g.octal("chmod", "700")
	}
}

func (r *reader) port(sect, text string) {
	if at := strings.LastIndexByte(text, ':'); at >= 0 {
		text = text[at+1:]
	}
	if n, err := integer(text, 10); err != nil || n < 1 || n > 0xffff {
		r.refuse(sect, "port", "%q is no port", text)
	}
}

// getter reads options of one section, expanded, and notes what is wrong.
type getter struct {
	r       *reader
	section string
	names   map[string]value // beside the environment
	symbols bool             // put symbols in place of what qsuper fills in
	err     error            // the first one; only with quiet
	quiet   bool             // keep the error instead of refusing the file
}

func (g *getter) has(key string) bool {
	_, ok := g.r.ini.get(g.section, key)
	return ok
}

func (g *getter) fail(key string, err error) {
	switch {
	case !g.quiet:
		g.r.refuse(g.section, key, "%s: %v", key, err)
	case g.err == nil && key == "":
		g.err = err
	case g.err == nil:
		g.err = &optionError{key, err}
	}
}

// optionError is a mistake in one option.
type optionError struct {
	key string
	err error
}

func (e *optionError) Error() string { return e.key + ": " + e.err.Error() }
func (e *optionError) Unwrap() error { return e.err }

// optionOf is where a mistake stands; "" = in the section as a whole.
func optionOf(err error) string {
	if e, ok := errors.AsType[*optionError](err); ok {
		return e.key
	}
	return ""
}

// text is an option with everything expanded once.
func (g *getter) text(key, otherwise string) string {
	o, ok := g.r.ini.get(g.section, key)
	text := otherwise
	if ok {
		text = o.value
	}
	return g.expand(key, text)
}

func (g *getter) expand(key, text string) string {
	all := make(map[string]value, len(g.names)+len(g.r.env))
	base := g.r.env
	if g.symbols {
		base = g.r.sym
	}
	for k, v := range base {
		all[k] = v
	}
	for k, v := range g.names {
		all[k] = v
	}
	out, err := format(text, all)
	if err != nil {
		g.fail(key, err)
	}
	return out
}

func (g *getter) integer(key string, otherwise int64) int64 {
	if !g.has(key) {
		return otherwise
	}
	n, err := integer(g.text(key, ""), 10)
	if err != nil {
		g.fail(key, err)
	}
	return n
}

func (g *getter) octal(key, otherwise string) int64 {
	n, err := octalNumber(g.text(key, otherwise))
	if err != nil {
		g.fail(key, err)
	}
	return n
}

func (g *getter) size(key, otherwise string) int64 {
	n, err := byteSize(g.text(key, otherwise))
	if err != nil {
		g.fail(key, err)
	}
	return n
}

func (g *getter) boolean(key string, otherwise bool) bool {
	if !g.has(key) {
		return otherwise
	}
	on, err := boolean(g.text(key, ""))
	if err != nil {
		g.fail(key, err)
	}
	return on
}

// at is where an option stands, or its section.
func (c *Config) at(sect, key string) (file string, line int) {
	s := c.ini.sections[sect]
	if o, ok := c.ini.get(sect, key); ok {
		return o.file, o.line
	}
	return s.file, s.line
}

// unknown lists the options of a section that Supervisor does not know.
func (c *Config) unknown(sect string, known []string) []string {
	var names []string
	for _, name := range c.ini.sections[sect].order {
		if !slices.Contains(known, name) {
			names = append(names, name)
		}
	}
	return names
}

// env is what the file sets in the environment of a process.
func (c *Config) env(p *Process) map[string]string {
	env := map[string]string{}
	for _, v := range append(slices.Clone(c.Server.Environment), p.Environment...) {
		env[v.name] = v.text
	}
	return env
}
