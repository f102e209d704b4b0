package supervisor

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"qsuper/internal/pattern"
	"qsuper/migrate"
)

// environmentNumber is an option that is one variable and nothing else.
var environmentNumber = pattern.Lazy(`^%\(ENV_([A-Za-z_][A-Za-z0-9_]*)\)[sd]$`)

// lateBound reports whether a variable is filled in when qsuper loads the file.
func (c *converter) lateBound(name string) bool {
	return !slices.ContainsFunc(c.cfg.Server.Environment, func(v variable) bool { return v.name == name })
}

// server writes [supervisord]: names, log level, and what all processes inherit.
func (c *converter) server() {
	s := c.cfg.Server
	c.doc.Daemon, c.doc.Defaults = migrate.NewMap(), migrate.NewMap()
	if !c.cfg.main {
		return
	}
	if s.Identifier != "supervisor" {
		name := groupName(s.Identifier)
		c.doc.Daemon.Set("name", name)
	}
	level := map[string]string{"critical": "error", "trace": "debug", "blather": "debug"}[s.LogLevel]
	if level == "" {
		level = s.LogLevel
	}
	if level != "info" {
		c.doc.Daemon.Set("log", migrate.NewMap().Set("level", level))
	}
	if u := c.serverUser(); u != "" {
		c.doc.Defaults.Set("user", migrate.Dollars(u))
		c.add(migrate.Changed, "supervisord", "user", "qsuper runs as whoever starts it (qsuper unit --user); consumers run as %s as before", u)
	}
	if mask := c.serverUmask(); mask != nil {
		c.doc.Defaults.Set("umask", migrate.Raw(fmt.Sprintf("%q", fmt.Sprintf("%03o", *mask))))
	}
	env := migrate.NewMap()
	for _, v := range s.Environment {
		if !isIdentifier(v.name) {
			c.add(migrate.Lost, "supervisord", "environment", "%s cannot be written; give it by env_file", v.name)
			continue
		}
		env.Set(v.name, migrate.Literal(v.text))
	}
	if env.Len() > 0 {
		c.doc.Defaults.Set("env", env)
	}
	if s.MinFDs > 1024 {
		c.doc.Defaults.Set("limits", migrate.NewMap().Set("nofile", int(s.MinFDs)))
	}
	if s.StripANSI {
		c.add(migrate.Lost, "supervisord", "strip_ansi", "output is kept as it is; `qsuper logs` shows no other sequences than colours")
	}
	c.daemon()
}

// daemon says what became of the daemon's own settings.
func (c *converter) daemon() {
	sect := c.cfg.ini.sections["supervisord"]
	for key, text := range map[string]string{
		"logfile": "qsuper's own log goes to standard error, so to the journal", "directory": "it was for Supervisor itself; qsuper has no need of it",
		"minprocs": "set LimitNPROC= in the unit", "childlogdir": "output without a file of its own is in daemon.log_dir, and is not thrown away at a start",
	} {
		if sect.options[key] != nil {
			c.add(migrate.Note, "supervisord", key, "%s", text)
		}
	}
	if o := sect.options["user"]; o != nil && c.cfg.Server.User != c.serverUser() {
		c.add(migrate.Note, "supervisord", "user", "qsuper runs as whoever starts it: qsuper unit --user")
	}
	for _, key := range c.cfg.unknown("supervisord", serverOptions) {
		c.add(migrate.Note, "supervisord", key, "Supervisor knows no such option, it has no effect there")
	}
}

var serverOptions = []string{"logfile", "logfile_maxbytes", "logfile_backups", "loglevel", "pidfile", "umask", "nodaemon", "silent", "minfds", "minprocs",
	"nocleanup", "childlogdir", "user", "directory", "strip_ansi", "environment", "identifier", "serverurl"}

// serverUser is who Supervisor's processes run as that have no user; "" = root,
// or whoever starts it.
func (c *converter) serverUser() string { return c.cfg.inheritedUser() }

func (c *Config) inheritedUser() string {
	if u := c.Server.User; u != "root" && u != "0" {
		return u
	}
	return ""
}

// serverUmask is what processes inherit, where the file says so. Supervisor sets
// it only when it goes into the background.
func (c *converter) serverUmask() *uint32 {
	n, err := octalNumber(c.cfg.Server.Umask)
	if err != nil || !c.cfg.Server.Daemon || n < 0 || n > 0o777 {
		return nil
	}
	mask := uint32(n)
	return &mask
}

// add notes something of a section outside of programs.
func (c *converter) add(level migrate.Level, sect, key, format string, args ...any) {
	file, line := c.cfg.at(sect, key)
	c.report.Add(level, file, line, "", "["+sect+"] "+key, format, args...)
}

// sections says what became of everything that is no program.
func (c *converter) sections() {
	for _, name := range c.cfg.ini.order {
		s := c.cfg.ini.sections[name]
		kind, rest, _ := strings.Cut(name, ":")
		lost := func(format string, args ...any) {
			c.report.Add(migrate.Lost, s.file, s.line, "", "["+name+"]", format, args...)
		}
		switch kind {
		case "program", "fcgi-program", "eventlistener", "group", "supervisord", "include", "supervisorctl":
		case "unix_http_server":
			c.report.Add(migrate.Changed, s.file, s.line, "", "["+name+"]", "supervisorctl's counterpart is qsuper, with a socket of its own (daemon.socket); "+
				"`qsuper status --supervisor` prints supervisorctl's columns for scripts; programs that speak XML-RPC have no counterpart")
		case "inet_http_server":
			lost("there is no XML-RPC over TCP; `qsuper status` works on the host itself")
		case "rpcinterface":
			if rest != "supervisor" {
				lost("it is a plug-in of Supervisor")
			}
		case "ctlplugin":
			lost("it is a plug-in of supervisorctl")
		default:
			c.report.Add(migrate.Note, s.file, s.line, "", "["+name+"]", "Supervisor knows no such section")
		}
	}
}

// notes are what the reader found odd.
func (c *converter) notes() {
	for _, n := range c.cfg.ini.notes {
		key := strings.TrimSpace("[" + n.section + "] " + n.key)
		c.report.Add(migrate.Note, n.file, n.line, "", key, "%s", n.text)
	}
	for _, name := range slices.Sorted(maps.Keys(c.cfg.free)) {
		c.report.Add(migrate.Note, c.cfg.Files[0], 0, "", "%(ENV_"+name+")s", "is not set here; qsuper fills ${%s} in when it loads the file, from its own environment", name)
	}
}

// everywhere lists once what holds for all consumers.
func (c *converter) everywhere() {
	if !slices.ContainsFunc(c.parts, func(pt *part) bool { return len(pt.consumers) > 0 }) {
		return
	}
	all := func(format string, args ...any) {
		c.report.Add(migrate.Changed, c.cfg.Files[0], 0, "", "everywhere", format, args...)
	}
	most := "60s"
	if c.compat() {
		most = "its startretries in seconds"
	}
	all("startretries: nothing is given up (FATAL); what fails is started again after 1s, 2s, … at most %s, and status says so", most)
	if names := c.without("stopwaitsecs"); names != "" && !c.compat() {
		all("stopwaitsecs: not given, so 30s before a kill instead of 10s (stop: {grace: 10s}): %s", names)
	}
	all("one that fails after startsecs waits 1s before its next start; Supervisor starts it at once")
	all("what a process leaves behind is killed with it, whatever killasgroup says")
	if c.anyUser() {
		all("HOME, USER, LOGNAME and SHELL are those of `user`; Supervisor keeps its own")
	}
	if !c.compat() {
		all("SUPERVISOR_ENABLED, SUPERVISOR_PROCESS_NAME and SUPERVISOR_GROUP_NAME are not set; QSUPER_CONSUMER and QSUPER_SLOT are")
	}
	all("standard input is empty, and SIGPIPE is not ignored")
	if c.priorities() {
		all("priority: nothing waits for another's start; write what must answer into `requires`")
	}
	if names := c.renamed(); names != "" {
		all("names: %s", names)
	}
	all("stop Supervisor before qsuper starts (systemctl disable --now supervisor), or everything runs twice")
}

// without lists the consumers of programs that lack an option.
func (c *converter) without(key string) string {
	var names []string
	for _, pt := range c.parts {
		for _, con := range pt.consumers {
			if !c.has(pt, key) {
				names = append(names, con.name)
			}
		}
	}
	return strings.Join(names, ", ")
}

func (c *converter) anyUser() bool {
	return slices.ContainsFunc(c.parts, func(pt *part) bool {
		return slices.ContainsFunc(pt.p.Processes, func(p *Process) bool { return p.User != "" })
	})
}

// priorities reports whether the programs have different ones.
func (c *converter) priorities() bool {
	seen := map[int64]bool{}
	for _, pt := range c.parts {
		if pt.p.Kind != "eventlistener" && len(pt.p.Processes) > 0 {
			seen[pt.p.Processes[0].Priority] = true
		}
	}
	return len(seen) > 1
}

// renamed lists what supervisorctl calls otherwise.
func (c *converter) renamed() string {
	var list []string
	for _, pt := range c.parts {
		for _, con := range pt.consumers {
			theirs, ours := namespec(pt.p.Processes[con.first]), con.name
			if con.slots > 1 {
				theirs += " … " + pt.p.Processes[con.first+con.slots-1].Name
				ours += "/0 … " + strconv.Itoa(con.slots-1)
			}
			if theirs != ours {
				list = append(list, theirs+" is "+ours)
			}
		}
	}
	return strings.Join(list, ", ")
}
