package crontab

import (
	"fmt"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"qsuper/internal/pattern"
	"qsuper/migrate"
)

// Convert writes a document for crontabs.
func Convert(tables []*Table, mode migrate.Mode) *migrate.Result {
	c := &converter{mode: mode, doc: &migrate.Document{}, report: &migrate.Report{Source: "crontab", Mode: mode}, locks: map[string]int{}}
	for _, t := range tables {
		c.report.Files = append(c.report.Files, t.Path)
		for _, l := range t.Lines {
			c.locks[peel(l.Command, true).lock]++
		}
	}
	c.doc.Header = []string{fmt.Sprintf("Converted from cron's %s by `qsuper import crontab --%s`.", strings.Join(c.report.Files, ", "), mode)}
	c.shared(tables)
	for _, t := range tables {
		c.table(t)
	}
	if len(c.report.Converted) > 0 {
		c.everywhere()
	}
	c.report.Sort()
	return &migrate.Result{Document: c.doc, Report: c.report, Expected: c.expected}
}

// shared puts variables that all lines have into `defaults`.
func (c *converter) shared(tables []*Table) {
	var all []Line
	for _, t := range tables {
		all = append(all, t.Lines...)
	}
	if len(all) < 2 {
		return
	}
	for _, l := range all[1:] {
		if !slices.Equal(own(l.Env), own(all[0].Env)) {
			return
		}
	}
	env := migrate.NewMap()
	for _, v := range own(all[0].Env) {
		if !identifier().MatchString(v.Name) || strings.HasPrefix(v.Name, "QSUPER_") {
			return // each line tells of it
		}
		env.Set(v.Name, migrate.Literal(v.Value))
	}
	if env.Len() > 0 {
		c.common = own(all[0].Env)
		c.doc.Defaults = migrate.NewMap().Set("env", env)
	}
}

// own are the variables that a command gets: the others are for cron.
func own(env []Variable) []Variable {
	return slices.DeleteFunc(slices.Clone(env), func(v Variable) bool { return slices.Contains(ofCron, v.Name) })
}

var ofCron = []string{"MAILTO", "MAILFROM", "CRON_TZ", "SHELL", "HOME", "LOGNAME", "USER", "RANDOM_DELAY", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING"}

type converter struct {
	mode     migrate.Mode
	doc      *migrate.Document
	report   *migrate.Report
	expected []migrate.Instance
	locks    map[string]int // how many lines hold a lock file
	common   []Variable     // that all lines have; they stand in `defaults`
}

func (c *converter) compat() bool { return c.mode == migrate.Compat }

func (c *converter) table(t *Table) {
	if t.Guess != "" && len(t.Lines) > 0 {
		c.report.Add(migrate.Note, t.Path, 0, "", "", "%s", t.Guess)
	}
	if !t.System && t.User == "" && len(t.Lines) > 0 {
		c.report.Add(migrate.Changed, t.Path, 0, "", "user", "whose table it is stands nowhere in it: what has no user runs as whoever runs qsuper; give --user")
	}
	told := map[Variable]bool{}
	for _, l := range t.Lines {
		for _, v := range l.Env {
			if v.Name == "MAILTO" && v.Value != "" && !told[v] {
				told[v] = true
				c.report.Add(migrate.Lost, t.Path, v.Line, "", "MAILTO", "output is not mailed; it is in `qsuper logs`")
			}
			if v.Name == "CRON_TZ" && v.Value != "" && !told[v] {
				told[v] = true
				c.report.Add(migrate.Note, t.Path, v.Line, "", "CRON_TZ", "cronie knows it, Debian's cron does not and takes the host's zone")
			}
		}
		c.line(t, l)
	}
	for _, p := range t.Refuse {
		c.report.Refuse(t.Path, p.Line, fmt.Sprintf("line %d", p.Line), "", "%s", p.Text)
		c.doc.Jobs = append(c.doc.Jobs, migrate.Entry{Above: []string{fmt.Sprintf("%s:%d was not converted: %s", t.Path, p.Line, p.Text)}})
	}
}

// entry is one line on its way.
type entry struct {
	*converter
	t     *Table
	l     Line
	task  task
	name  string
	body  *migrate.Map
	words []string           // "" = a shell is needed
	known *migrate.Framework // the worker that it starts
	keep  bool               // it becomes a consumer
	want  migrate.Instance
}

func (e *entry) item(level migrate.Level, key, format string, args ...any) {
	e.report.Add(level, e.t.Path, e.l.Number, e.name, key, format, args...)
}

func (c *converter) line(t *Table, l Line) {
	e := &entry{converter: c, t: t, l: l, task: peel(l.Command, !c.compat()), body: migrate.NewMap()}
	if e.task.lock != "" && c.locks[e.task.lock] > 1 { // they exclude each other, which overlap does not do
		e.task.text = "flock -n " + e.task.lock + " " + e.task.text
		if e.task.nested {
			e.task = peel(l.Command, false)
		}
	}
	e.words, _ = argv(e.task.text)
	if e.task.nested || l.HasInput {
		e.words = nil
	}
	flat := e.words
	if flat == nil {
		flat, _ = migrate.Words(e.task.text)
	}
	e.known = migrate.Recognise(flat)
	e.keep = l.Schedule == "@reboot" || !c.compat() && e.known != nil && oftenEnough(l.Schedule)
	e.name, _ = c.doc.Name(jobName(flat))
	if !e.keep {
		e.schedule()
	}
	e.command()
	e.identity()
	e.environment()
	e.outcome()
	entry := migrate.Entry{Name: e.name, Above: append(slices.Clone(l.Above), fmt.Sprintf("%s:%d", t.Path, l.Number)), Body: e.body}
	if n := len(entry.Above); n > 5 {
		entry.Above = entry.Above[n-5:]
	}
	c.report.Converted = append(c.report.Converted, e.name)
	e.want.Name, e.want.Consumer = fmt.Sprintf("%s:%d", t.Path, l.Number), e.name
	c.expected = append(c.expected, e.want)
	if !e.keep {
		c.doc.Jobs = append(c.doc.Jobs, entry)
		return
	}
	if e.known != nil {
		entry.Inside = e.known.Suggest
	}
	c.report.Instances++
	c.doc.Consumers = append(c.doc.Consumers, entry)
}

// oftenEnough reports whether a line comes so often that it is there to keep a
// worker up: at least every ten minutes, at any time.
func oftenEnough(schedule string) bool {
	return regexp.MustCompile(`^(\*|\*/[1-9]|\*/10) \*(/1)? \*(/1)? \*(/1)? \*(/1)?$`).MatchString(schedule)
}

// schedule writes when.
func (e *entry) schedule() {
	fields := strings.Fields(e.l.Schedule)
	if len(fields) == 5 {
		starred := func(f string) bool { return strings.HasPrefix(f, "*") && f != "*" }
		if fields[2] != "*" && fields[4] != "*" && (starred(fields[2]) || starred(fields[4])) {
			e.item(migrate.Changed, "schedule", "day and weekday: cron wants both where one of them starts with *, qsuper one of them")
		}
		for i := range fields {
			if strings.Contains(fields[i], "~") {
				e.item(migrate.Changed, "schedule", "a random time (~) is not possible; jitter: spreads starts. The first value was taken")
				fields[i], _, _ = strings.Cut(fields[i], "~")
				if fields[i] == "" {
					fields[i] = map[bool]string{true: "1", false: "0"}[i == 2 || i == 3]
				}
			}
		}
	}
	e.body.Set("schedule", migrate.Raw(quoted(strings.Join(fields, " "))))
	for _, v := range e.l.Env {
		if v.Name == "CRON_TZ" && v.Value != "" {
			e.body.Set("timezone", v.Value)
		}
	}
}

func quoted(text string) string { return `"` + text + `"` }

// command writes what is run.
func (e *entry) command() {
	shell := "/bin/sh"
	for _, v := range e.l.Env {
		if v.Name == "SHELL" && v.Value != "" {
			shell = v.Value
		}
	}
	text := e.task.text
	if e.l.HasInput {
		text += " <<'END_OF_INPUT'\n" + strings.TrimSuffix(e.l.Input, "\n") + "\nEND_OF_INPUT"
	}
	switch {
	case e.words != nil:
		e.body.Set("command", migrate.Literals(e.words))
		e.want.Argv = e.words
	case filepath.Base(shell) == "sh":
		e.body.Set("shell", migrate.Literal(text))
		e.want.Argv = []string{"/bin/sh", "-c", text}
	default:
		e.body.Set("command", migrate.Literals([]string{shell, "-c", text}))
		e.want.Argv = []string{shell, "-c", text}
	}
	if e.keep {
		e.consumer()
		return
	}
	if e.compat() {
		e.body.Set("overlap", "allow")
		e.body.Set("missed", "skip")
		return
	}
	if e.task.lock != "" && e.locks[e.task.lock] == 1 {
		e.body.Set("overlap", "skip")
		e.item(migrate.Changed, "flock", "overlap: skip does its work; %s is not held any more", e.task.lock)
	}
}

// consumer says why it is none of `jobs`.
func (e *entry) consumer() {
	switch {
	case e.l.Schedule == "@reboot" && e.known == nil:
		e.body.Set("restart", "never")
		e.item(migrate.Changed, "@reboot", "it is started whenever qsuper is")
	case e.l.Schedule == "@reboot":
		e.item(migrate.Changed, "@reboot", "a worker of %s: it is kept running, and started again when it ends", e.known.Name)
	default:
		e.item(migrate.Changed, "schedule", "%q keeps a worker of %s running: as a consumer it is started again as soon as it ends (--compat: a job)", e.l.Schedule, e.known.Name)
		if e.task.lock != "" {
			e.item(migrate.Changed, "flock", "a slot has one process at most; %s is not held any more", e.task.lock)
		}
	}
}

// identity is who and where.
func (e *entry) identity() {
	who := e.l.User
	if !e.t.System {
		who = e.t.User
	}
	if e.task.user != "" {
		e.item(migrate.Note, "sudo", "user: %s does its work", e.task.user)
		who = e.task.user
	}
	if who != "" && who != "root" {
		e.body.Set("user", migrate.Dollars(who))
		e.want.User = who
	}
	dir := e.task.dir
	if dir == "" {
		dir = e.home(who)
	}
	if dir != "" {
		e.body.Set("dir", migrate.Literal(dir))
		e.want.Dir = dir
	}
}

// home is where cron starts a command: HOME of the table, or that of the user.
func (e *entry) home(who string) string {
	for _, v := range e.l.Env {
		if v.Name == "HOME" && strings.HasPrefix(v.Value, "/") {
			return v.Value
		}
	}
	words := e.words
	if words == nil {
		words = strings.Fields(e.task.text)
	}
	if !e.compat() && !slices.ContainsFunc(words, relative) && !intoHere().MatchString(e.task.text) {
		return "" // wherever it starts is the same to it
	}
	if who == "" {
		e.item(migrate.Changed, "directory", "cron starts it in the home of its user, whom the file does not name: give dir")
		return ""
	}
	found, err := user.Lookup(who)
	if err != nil {
		e.item(migrate.Changed, "directory", "cron starts it in the home of %s, who does not exist here: give dir", who)
		return ""
	}
	return found.HomeDir
}

var (
	intoHere = pattern.Lazy(`[<>]\s*[^/&<>\s]`)
	script   = pattern.Lazy(`^[\w.-]+\.(php|py|rb|sh|js|pl|phar|conf|ini|json|ya?ml|xml|txt|log|sql)$`)
)

// relative reports whether a word is a path that depends on the directory.
func relative(w string) bool {
	w = strings.Trim(w, `"'`)
	if strings.HasPrefix(w, "/") || strings.HasPrefix(w, "-") || strings.Contains(w, "://") {
		return false
	}
	return strings.Contains(w, "/") || script().MatchString(w) || w == "." || slices.Contains([]string{"artisan", "rake", "make", "npm", "yarn", "bundle"}, w)
}

// environment writes the variables of the table.
func (e *entry) environment() {
	env := migrate.NewMap()
	e.want.Env = map[string]string{}
	put := func(name, value string) {
		if !identifier().MatchString(name) || strings.HasPrefix(name, "QSUPER_") {
			e.item(migrate.Lost, "environment", "%s cannot be written; give it by env_file", name)
			return
		}
		env.Set(name, migrate.Literal(value))
		e.want.Env[name] = value
	}
	if e.compat() && !slices.ContainsFunc(e.l.Env, func(v Variable) bool { return v.Name == "PATH" }) {
		put("PATH", "/usr/bin:/bin")
	}
	for _, v := range e.l.Env {
		if v.Name == "RANDOM_DELAY" {
			e.item(migrate.Lost, v.Name, "use jitter")
		}
	}
	for _, v := range own(e.l.Env) {
		if slices.Contains(e.common, v) {
			e.want.Env[v.Name] = v.Value
			continue
		}
		put(v.Name, v.Value)
	}
	if env.Len() > 0 {
		e.body.Set("env", env)
	}
}

var identifier = pattern.Lazy(`^[A-Za-z_][A-Za-z0-9_]*$`)

// outcome says where output goes, and what a line is better done with.
func (e *entry) outcome() {
	switch {
	case e.task.logs == "none":
		e.body.Set("logs", migrate.NewMap().Set("to", "none"))
		e.want.Log = "none"
	case e.task.logs != "":
		e.want.Log = e.task.logs
		e.item(migrate.Changed, "stdout_logfile", "output goes to qsuper's own file instead of %s", e.task.logs)
	}
	for i, w := range strings.Fields(e.task.text) {
		if w == "cron:run" && i > 0 {
			e.item(migrate.Note, "cron:run", "Magento starts its consumers from here, too: `qsuper import magento app/etc/env.php` takes them over")
		}
	}
}

// everywhere lists once what holds for all lines.
func (c *converter) everywhere() {
	all := func(format string, args ...any) {
		c.report.Add(migrate.Changed, c.report.Files[0], 0, "", "everywhere", format, args...)
	}
	if !c.compat() && len(c.doc.Jobs) > 0 {
		all("a job that still runs when it is due is not started twice (overlap: skip), and one that was due while qsuper was down runs once (missed: run_once)")
	}
	if !c.compat() {
		all("PATH is that of qsuper where the table sets none; cron's is /usr/bin:/bin")
	}
	all("remove the lines from the crontab before qsuper starts, or they run twice")
}

// Words that say nothing of what a command does.
var starters = []string{"php", "python", "python2", "python3", "ruby", "node", "perl", "bash", "sh", "env", "nice", "ionice", "bundle", "exec", "rake", "sudo", "flock", "timeout", "source", ".", "cd", "&&", "bin/console", "bin/magento", "artisan", "manage.py", "console", "magento"}

// jobName finds a name for a command: the part with a colon (app:reindex), else
// the first word that says something.
func jobName(words []string) string {
	for _, w := range words {
		if strings.Contains(w, ":") && !strings.ContainsAny(w, "/=$%") && !strings.HasPrefix(w, "-") {
			return strings.ReplaceAll(w, ":", "-")
		}
	}
	for i, w := range words {
		base := filepath.Base(strings.Trim(w, ";&|()"))
		switch {
		case i > 0 && words[i-1] == "cd", strings.Trim(base, "0123456789.") == "", strings.HasSuffix(base, ".lock"), slices.Contains(builtins, base), strings.HasPrefix(w, "-"), strings.Contains(w, "="), slices.Contains(starters, base), base == "activate":
			continue
		}
		return strings.TrimSuffix(base, filepath.Ext(base))
	}
	return "job"
}
