package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Program is one section that Supervisor makes processes of. One that is in two
// groups is there twice.
type Program struct {
	Kind      string // program, fcgi-program, eventlistener
	Section   string
	Name      string
	Group     string // of a [group:x]; "" = it is its own group
	Processes []*Process
	Err       error // why Supervisor refuses it; there are no processes then

	file string
	line int
	tmpl *Process // with symbols for the number and the environment; nil = that cannot be expressed
}

// Process is one instance, with everything expanded.
type Process struct {
	Group, Name string
	Command     string
	Environment []variable // without that of [supervisord]
	Directory   string     // "" = none
	User        string     // as written; "" = none
	Umask       *int64

	Priority, StartSecs, StartRetries, StopWaitSecs int64
	AutoStart, StopAsGroup, KillAsGroup             bool
	AutoRestart                                     string
	StopSignal                                      int
	ExitCodes                                       []int
	RedirectStderr                                  bool
	Stdout, Stderr                                  Log
	ServerURL                                       string
}

// Log is one stream of a process.
type Log struct {
	Path     string // "" = none, AUTO = of Supervisor's choice
	MaxBytes int64
	Backups  int64
	Syslog   bool
	Captured int64
	AsEvents bool
}

const auto = "AUTO"

// programs reads every section that stands for processes, in Supervisor's way:
// what a group names belongs to the group.
func (r *reader) programs() {
	grouped := map[string]bool{}
	for _, name := range r.ini.order {
		if strings.HasPrefix(name, "group:") {
			r.group(name, grouped)
		}
	}
	for _, kind := range []string{"program", "eventlistener", "fcgi-program"} {
		for _, name := range r.ini.order {
			if strings.HasPrefix(name, kind+":") && !grouped[name] {
				r.add(kind, name, "")
			}
		}
	}
}

func (r *reader) group(sect string, grouped map[string]bool) {
	group, err := processName(strings.TrimPrefix(sect, "group:"))
	if err != nil {
		r.refuse(sect, "", "%v", err)
		return
	}
	g := getter{r: r, section: sect, names: map[string]value{"here": {text: r.here}}}
	g.integer("priority", 999)
	for _, program := range listOf(g.text("programs", "")) {
		p, f := r.ini.sections["program:"+program], r.ini.sections["fcgi-program:"+program]
		switch {
		case p == nil && f == nil:
			r.refuse(sect, "programs", "there is no program %q", program)
		case p != nil && f != nil:
			r.refuse(sect, "programs", "%q is a program and an fcgi-program", program)
		case p != nil:
			grouped[p.name] = true
			r.add("program", p.name, group)
		default:
			grouped[f.name] = true
			r.add("fcgi-program", f.name, group)
		}
	}
}

// add reads one program.
func (r *reader) add(kind, sect, group string) {
	s := r.ini.sections[sect]
	p := &Program{Kind: kind, Section: sect, Group: group, Name: strip(strings.SplitN(sect, ":", 2)[1]), file: s.file, line: s.line}
	p.Err = r.special(p)
	if p.Err == nil {
		p.Processes, p.Err = r.processes(p)
	}
	if p.Err != nil {
		p.Processes = nil
		r.refuse(sect, optionOf(p.Err), "%v", p.Err)
	} else if len(p.Processes) > 0 {
		p.tmpl = r.template(p)
	}
	r.cfg.Programs = append(r.cfg.Programs, p)
}

// special checks what an event listener and an fcgi-program need beside a program.
func (r *reader) special(p *Program) error {
	g := getter{r: r, section: p.Section, names: map[string]value{"here": {text: r.here}}, quiet: true}
	g.integer("priority", 999)
	switch p.Kind {
	case "eventlistener":
		if g.integer("buffer_size", 10) < 1 && g.err == nil {
			return errors.New("buffer_size must be at least 1")
		}
		g.text("result_handler", "")
		events := listOf(g.text("events", ""))
		if len(events) == 0 && g.err == nil {
			return errors.New("there is no events line")
		}
		for _, e := range events {
			if !slices.Contains(eventTypes, strings.ToUpper(e)) && g.err == nil {
				return fmt.Errorf("event type %q is not known", e)
			}
		}
		if g.boolean("redirect_stderr", false) && g.err == nil {
			return errors.New("redirect_stderr=true is not possible with an event listener")
		}
	case "fcgi-program":
		g.names["program_name"] = value{text: p.Name}
		if g.text("socket", "") == "" && g.err == nil {
			return errors.New("there is no socket")
		}
	}
	return g.err
}

var eventTypes = []string{"EVENT", "PROCESS_STATE", "PROCESS_STATE_STARTING", "PROCESS_STATE_RUNNING", "PROCESS_STATE_BACKOFF",
	"PROCESS_STATE_STOPPING", "PROCESS_STATE_EXITED", "PROCESS_STATE_STOPPED", "PROCESS_STATE_FATAL", "PROCESS_STATE_UNKNOWN",
	"REMOTE_COMMUNICATION", "PROCESS_LOG", "PROCESS_LOG_STDOUT", "PROCESS_LOG_STDERR", "PROCESS_COMMUNICATION",
	"PROCESS_COMMUNICATION_STDOUT", "PROCESS_COMMUNICATION_STDERR", "SUPERVISOR_STATE_CHANGE", "SUPERVISOR_STATE_CHANGE_RUNNING",
	"SUPERVISOR_STATE_CHANGE_STOPPING", "TICK", "TICK_5", "TICK_60", "TICK_3600", "PROCESS_GROUP", "PROCESS_GROUP_ADDED", "PROCESS_GROUP_REMOVED"}

// names are the expansions that all instances of a program have in common.
func (r *reader) names(p *Program) map[string]value {
	group := p.Group
	if group == "" {
		group = p.Name
	}
	if p.Kind == "eventlistener" { // its blanks stay
		group = strings.SplitN(p.Section, ":", 2)[1]
	}
	return map[string]value{"here": {text: r.here}, "program_name": {text: p.Name}, "host_node_name": {text: r.host}, "group_name": {text: group}}
}

// maxProcesses is far beyond what anybody runs, and short of what could be
// meant as an attack on the reader.
const maxProcesses = 10_000

// processes expands a program.
func (r *reader) processes(p *Program) ([]*Process, error) {
	if _, err := processName(strings.SplitN(p.Section, ":", 2)[1]); err != nil && p.Kind != "eventlistener" {
		return nil, err
	}
	g := &getter{r: r, section: p.Section, names: r.names(p), quiet: true}
	common, numprocs, start := r.common(g)
	if g.err != nil {
		return nil, g.err
	}
	name, err := processName(r.raw(p.Section, "process_name", "%(program_name)s"))
	switch {
	case err != nil:
		return nil, err
	case numprocs > 1 && !strings.Contains(name, "%(process_num)"):
		return nil, errors.New("%(process_num) must be part of process_name when numprocs is more than 1")
	case common.StopAsGroup && !common.KillAsGroup:
		return nil, errors.New("stopasgroup=true and killasgroup=false exclude each other")
	case numprocs > maxProcesses:
		return nil, fmt.Errorf("numprocs %d is too many; at most %d", numprocs, maxProcesses)
	}
	var all []*Process
	for n := start; n < start+numprocs; n++ {
		one := common
		g.names["process_num"], g.names["numprocs"] = value{number: n, isInt: true}, value{number: numprocs, isInt: true}
		// What the environment of the instance before has left behind is gone, if it
		// has the name of a variable of Supervisor's own environment.
		maps.Copy(g.names, r.env)
		if err := r.one(g, &one, name); err != nil {
			return nil, err
		}
		all = append(all, &one)
	}
	slices.SortStableFunc(all, func(a, b *Process) int { return int(a.Priority - b.Priority) })
	return all, nil
}

// raw is an option that is not expanded.
func (r *reader) raw(sect, key, otherwise string) string {
	if o, ok := r.ini.get(sect, key); ok {
		return o.value
	}
	return otherwise
}

// common reads what is the same for all instances, in which %(process_num) is
// not known.
func (r *reader) common(g *getter) (p Process, numprocs, start int64) {
	fail := func(err error) {
		if err != nil {
			g.fail("", err)
		}
	}
	var err error
	p.Group = g.names["group_name"].text
	p.Priority = g.integer("priority", 999)
	p.AutoStart = g.boolean("autostart", true)
	p.AutoRestart, err = autoRestart(g.text("autorestart", restartUnexpected))
	fail(err)
	p.StartSecs = g.integer("startsecs", 1)
	p.StartRetries = g.integer("startretries", 3)
	p.StopSignal, err = signalNumber(g.text("stopsignal", "TERM"))
	fail(err)
	p.StopWaitSecs = g.integer("stopwaitsecs", 10)
	p.StopAsGroup = g.boolean("stopasgroup", false)
	p.KillAsGroup = g.boolean("killasgroup", p.StopAsGroup)
	p.ExitCodes, err = exitCodes(g.text("exitcodes", "0"))
	fail(err)
	p.RedirectStderr = g.boolean("redirect_stderr", false)
	numprocs = g.integer("numprocs", 1)
	start = g.integer("numprocs_start", 0)
	for key, l := range map[string]*Log{"stdout": &p.Stdout, "stderr": &p.Stderr} {
		l.Captured = g.size(key+"_capture_maxbytes", "0")
		l.AsEvents = g.boolean(key+"_events_enabled", false)
	}
	p.ServerURL = g.text("serverurl", "")
	if strings.EqualFold(strip(p.ServerURL), auto) {
		p.ServerURL = ""
	}
	p.User = g.text("user", "")
	if g.has("user") && p.User == "" {
		fail(errors.New("user is empty"))
	}
	if g.has("umask") {
		mask := g.octal("umask", "")
		p.Umask = &mask
	}
	return p, numprocs, start
}

// one reads what may differ between instances.
func (r *reader) one(g *getter, p *Process, name string) error {
	var err error
	text := g.raw("environment", r.raw(g.section, "environment", ""))
	if g.err != nil {
		return g.err
	}
	if p.Environment, err = environment(text); err != nil {
		return err
	}
	for _, v := range p.Environment {
		g.names["ENV_"+v.name] = value{text: v.text}
	}
	p.Directory = g.text("directory", "")
	r.log(g, "stdout", &p.Stdout)
	r.log(g, "stderr", &p.Stderr)
	if p.RedirectStderr {
		p.Stderr.Path = ""
	}
	if !g.has("command") && g.err == nil {
		return errNoCommand
	}
	p.Command = g.text("command", "")
	if g.symbols { // qsuper has names of its own, this one is only told
		p.Name, _ = format(name, g.names)
		return g.err
	}
	p.Name = g.raw("process_name", name)
	return g.err
}

// raw expands text with the names of the instance alone: where Supervisor does
// so, the environment is among them.
func (g *getter) raw(key, text string) string {
	out, err := format(text, g.names)
	if err != nil {
		g.fail(key, err)
	}
	return out
}

// log reads one stream. The path is expanded twice.
func (r *reader) log(g *getter, stream string, l *Log) {
	path := auto
	if g.has(stream + "_logfile") {
		path = g.raw(stream+"_logfile", g.text(stream+"_logfile", ""))
	}
	if !g.symbols { // they are numbers, and no place for one
		l.Backups = g.integer(stream+"_logfile_backups", 10)
		l.MaxBytes = g.size(stream+"_logfile_maxbytes", "50MB")
		l.Syslog = g.boolean(stream+"_syslog", false)
	}
	switch strings.ToLower(path) {
	case "none", "off":
		l.Path = ""
	case "auto":
		l.Path = auto
	case "syslog":
		l.Path, l.Syslog = "", true
	default:
		l.Path = home(path, r.opt.LookupEnv)
	}
}

// template expands the program once with symbols. nil says that something in it
// cannot be expressed with them.
func (r *reader) template(p *Program) *Process {
	names := r.names(p)
	maps.Copy(names, r.sym)
	g := &getter{r: r, section: p.Section, names: r.names(p), quiet: true}
	common, _, start := r.common(g)
	g.symbols = true
	g.names = names
	symbol := symSlot
	switch {
	case start == 1:
		symbol = symSlot1
	case start != 0 && len(p.Processes) > 1:
		return nil
	}
	g.names["process_num"] = value{number: start, isInt: true, symbol: symbol}
	if start != 0 && start != 1 {
		g.names["process_num"] = value{number: start, isInt: true}
	}
	g.names["numprocs"] = value{number: int64(len(p.Processes)), isInt: true, symbol: symInstances}
	if r.one(g, &common, r.raw(p.Section, "process_name", "%(program_name)s")) != nil {
		return nil
	}
	if user, ok := r.ini.get(p.Section, "user"); ok {
		common.User = g.expand("user", user.value)
	}
	return &common
}
