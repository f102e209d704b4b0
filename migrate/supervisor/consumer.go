package supervisor

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"qsuper/migrate"
)

// consumer writes one consumer for slots processes, the first of which is
// processes[first]. text is that process, or the template of all.
func (c *converter) consumer(pt *part, name string, text *Process, first, slots int) {
	body := migrate.NewMap()
	one := pt.p.Processes[first]
	pt.consumers = append(pt.consumers, consumer{name: name, body: body, text: text, first: first, slots: slots})
	switch {
	case pt.p.Group != "":
		body.Set("group", groupName(pt.p.Group))
	case pt.apart || pt.p.tmpl == nil:
		body.Set("group", groupName(pt.p.Name))
	}
	c.command(body, text)
	if slots > 1 {
		body.Set("instances", slots)
	}
	if o, ok := c.cfg.ini.get(pt.p.Section, "numprocs"); ok && !pt.apart {
		if m := environmentNumber().FindStringSubmatch(o.value); m != nil && c.lateBound(m[1]) {
			body.Set("instances", migrate.Raw("${"+m[1]+"}"))
		}
	}
	c.identity(pt, name, body, text)
	c.environment(pt, name, body, text)
	c.lifecycle(pt, name, body, one)
	c.stop(pt, name, body, one)
	c.logs(pt, name, body, one, first, slots)
	c.leftovers(pt, name, one)
	c.advice(pt, name, one)
}

// groupName is a name that qsuper accepts.
func groupName(name string) string {
	var d migrate.Document
	name, _ = d.Name(name)
	return name
}

// command writes the argv.
func (c *converter) command(body *migrate.Map, text *Process) {
	argv, _ := words(text.Command)
	for i, w := range argv {
		argv[i] = c.unmark(w)
	}
	body.Set("command", argv)
}

// unmark writes text with placeholders in place of marks.
func (c *converter) unmark(text string) string {
	var b strings.Builder
	for {
		m := markPattern().FindStringSubmatchIndex(text)
		if m == nil {
			b.WriteString(migrate.Literal(text))
			return b.String()
		}
		b.WriteString(migrate.Literal(text[:m[0]]))
		if m[6] >= 0 {
			b.WriteString("${" + text[m[6]:m[7]] + "}")
		} else {
			word := map[string]string{symSlot: "slot", symSlot1: "slot1", symInstances: "instances"}[text[m[2]:m[3]]]
			if width := text[m[4]:m[5]]; width > "1" {
				word += ":0" + width
			}
			b.WriteString("{" + word + "}")
		}
		text = text[m[1]:]
	}
}

// identity is who and where: user, directory, umask.
func (c *converter) identity(pt *part, name string, body *migrate.Map, text *Process) {
	one := pt.p.Processes[0]
	if text.User != "" {
		body.Set("user", c.unmark(text.User))
	}
	if text.Directory != "" {
		dir := text.Directory
		if !strings.HasPrefix(dir, "/") && !strings.HasPrefix(dir, "zQx") {
			base := c.cfg.Server.Directory
			if base == "" || !c.cfg.Server.Daemon {
				base = "/"
			}
			dir = strings.TrimRight(base, "/") + "/" + dir
			c.item(pt, migrate.Changed, "directory", name, "%q is relative to where supervisord was started, which no file says; it became %s", one.Directory, dir)
		}
		if strings.HasPrefix(dir, "~") {
			c.item(pt, migrate.Note, "directory", name, "Supervisor does not expand ~ here")
		}
		body.Set("dir", c.unmark(dir))
	}
	if one.Umask == nil {
		return
	}
	if *one.Umask < 0 || *one.Umask > 0o777 {
		c.item(pt, migrate.Lost, "umask", name, "%o is no umask", *one.Umask)
		return
	}
	body.Set("umask", migrate.Raw(fmt.Sprintf("%q", fmt.Sprintf("%03o", *one.Umask))))
}

// environment writes what the program's own option sets.
func (c *converter) environment(pt *part, name string, body *migrate.Map, text *Process) {
	env := migrate.NewMap()
	values := map[string]string{}
	for _, v := range text.Environment {
		values[v.name] = v.text
		switch {
		case !isIdentifier(v.name) || strings.HasPrefix(v.name, "QSUPER_"):
			c.item(pt, migrate.Lost, "environment", name, "%q is no name for a variable in qsuper", v.name)
		default:
			env.Set(v.name, c.unmark(v.text))
		}
	}
	c.misread(pt, name, values)
	if c.compat() {
		env.Set("SUPERVISOR_ENABLED", "1")
		env.Set("SUPERVISOR_GROUP_NAME", text.Group)
		if text.Name != "" {
			env.Set("SUPERVISOR_PROCESS_NAME", c.unmark(text.Name))
		}
	}
	if env.Len() > 0 {
		body.Set("env", env)
	}
}

// misread says where Supervisor understands something else than was meant.
func (c *converter) misread(pt *part, name string, values map[string]string) {
	o, ok := c.cfg.ini.get(pt.p.Section, "environment")
	if !ok {
		return
	}
	wishes := meant(strings.ReplaceAll(o.value, "%%", "%"))
	for _, key := range slices.Sorted(maps.Keys(wishes)) {
		got, set := values[key]
		if wish := wishes[key]; set && got != wish && !markPattern().MatchString(got) && !strings.Contains(wish, "%(") {
			c.item(pt, migrate.Note, "environment", name, "Supervisor sets %s to %q, as it is not in quotes; meant was probably %q", key, got, wish)
		}
	}
}

// lifecycle is when it starts and what follows an exit.
func (c *converter) lifecycle(pt *part, name string, body *migrate.Map, one *Process) {
	if !one.AutoStart {
		body.Set("autostart", false)
	}
	switch one.AutoRestart {
	case restartUnexpected:
		body.Set("restart", "unexpected")
	case restartNever:
		body.Set("restart", "never")
	}
	if !slices.Equal(one.ExitCodes, []int{0}) {
		codes := slices.Clone(one.ExitCodes)
		slices.Sort(codes)
		body.Set("exit", migrate.NewMap().Set("clean", slices.Compact(codes)))
	}
	if c.compat() {
		body.Set("backoff", backoff(one))
	}
}

// backoff comes as near to startsecs and startretries as qsuper can: Supervisor
// waits 1, 2, 3 … seconds and then gives up.
func backoff(one *Process) *migrate.Map {
	return migrate.NewMap().Set("initial", "1s").Set("factor", 2).Set("max", seconds(max(one.StartRetries, 1))).Set("jitter", migrate.Raw("0%")).
		Set("reset_after", seconds(max(one.StartSecs, 1))).Set("min_uptime", seconds(max(one.StartSecs, 0)))
}

func seconds(n int64) string { return strconv.FormatInt(n, 10) + "s" }

// Signals that end nothing, which qsuper does not take for a stop.
var harmless = []int{0, int(unix.SIGSTOP), int(unix.SIGCONT), int(unix.SIGTSTP), int(unix.SIGTTIN), int(unix.SIGTTOU), int(unix.SIGCHLD), int(unix.SIGURG)}

func (c *converter) stop(pt *part, name string, body *migrate.Map, one *Process) {
	stop := migrate.NewMap()
	switch {
	case one.StopSignal == int(unix.SIGTERM):
	case slices.Contains(harmless, one.StopSignal):
		c.item(pt, migrate.Lost, "stopsignal", name, "signal %d ends no process; TERM is sent", one.StopSignal)
	case unix.SignalName(unix.Signal(one.StopSignal)) == "":
		stop.Set("signal", one.StopSignal)
	default:
		stop.Set("signal", strings.TrimPrefix(unix.SignalName(unix.Signal(one.StopSignal)), "SIG"))
	}
	_, given := c.cfg.ini.get(pt.p.Section, "stopwaitsecs")
	switch {
	case given && one.StopWaitSecs >= 0, c.compat():
		stop.Set("grace", seconds(max(one.StopWaitSecs, 0)))
	}
	if one.StopAsGroup {
		stop.Set("scope", "group")
	} else if _, isShell := shellOf(body); isShell {
		stop.Set("scope", "process")
	}
	if stop.Len() > 0 {
		body.Set("stop", stop)
	}
}

func shellOf(body *migrate.Map) (string, bool) {
	text, ok := body.Get("shell").(string)
	return text, ok
}

// leftovers are options without a counterpart.
func (c *converter) leftovers(pt *part, name string, one *Process) {
	for key, l := range map[string]Log{"stdout": one.Stdout, "stderr": one.Stderr} {
		if l.Captured != 0 {
			c.item(pt, migrate.Lost, key+"_capture_maxbytes", name, "there are no communication events")
		}
		if l.AsEvents {
			c.item(pt, migrate.Lost, key+"_events_enabled", name, "output is no event; read `qsuper logs -f`")
		}
		if l.Syslog {
			key += map[bool]string{true: "_syslog", false: "_logfile"}[c.has(pt, key+"_syslog")]
			c.item(pt, migrate.Lost, key, name, "output does not go to syslog; use logs: {to: stdout} under systemd")
		}
	}
	if one.ServerURL != "" {
		c.item(pt, migrate.Lost, "serverurl", name, "there is no XML-RPC")
	}
	for _, key := range c.cfg.unknown(pt.p.Section, programOptions) {
		c.item(pt, migrate.Note, key, name, "Supervisor knows no such option, it has no effect there")
	}
}

func (c *converter) has(pt *part, key string) bool {
	_, ok := c.cfg.ini.get(pt.p.Section, key)
	return ok
}

var programOptions = []string{"command", "process_name", "numprocs", "numprocs_start", "priority", "autostart", "startsecs", "startretries",
	"autorestart", "exitcodes", "stopsignal", "stopwaitsecs", "stopasgroup", "killasgroup", "user", "redirect_stderr",
	"stdout_logfile", "stdout_logfile_maxbytes", "stdout_logfile_backups", "stdout_capture_maxbytes", "stdout_events_enabled", "stdout_syslog",
	"stderr_logfile", "stderr_logfile_maxbytes", "stderr_logfile_backups", "stderr_capture_maxbytes", "stderr_events_enabled", "stderr_syslog",
	"environment", "directory", "umask", "serverurl"}

// advice is for what works as it did, and is probably not what was wanted.
func (c *converter) advice(pt *part, name string, one *Process) {
	if pt.framework == nil {
		return
	}
	if one.AutoRestart == restartUnexpected {
		c.item(pt, migrate.Note, "autorestart", name, "without autorestart=true a worker of %s that ends with 0 stays down, here as there; restart: always keeps it up", pt.framework.Name)
	}
	if one.AutoRestart == restartNever {
		c.item(pt, migrate.Note, "autorestart", name, "a worker of %s that ends stays down, here as there; restart: always keeps it up", pt.framework.Name)
	}
}
