package systemd

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"qsuper/migrate"
)

// Options say how to convert.
type Options struct {
	Mode      migrate.Mode
	Instances []string // of templates; nil = those that are enabled beside the file, else one
}

// Convert writes a document for units.
func Convert(units []*Unit, o Options) *migrate.Result {
	c := &converter{opt: o, doc: &migrate.Document{}, report: &migrate.Report{Source: "systemd", Mode: o.Mode}}
	var names []string
	for _, u := range units {
		c.report.Files = append(c.report.Files, u.Files...)
		names = append(names, u.Files...)
	}
	c.doc.Header = []string{fmt.Sprintf("Converted from systemd's %s by `qsuper import systemd --%s`.", strings.Join(names, ", "), o.Mode)}
	for _, u := range units {
		c.unit(u)
	}
	if len(c.report.Converted) > 0 {
		c.everywhere()
	}
	c.report.Sort()
	return &migrate.Result{Document: c.doc, Report: c.report, Expected: c.expected}
}

type converter struct {
	opt      Options
	doc      *migrate.Document
	report   *migrate.Report
	expected []migrate.Instance
}

// service is one consumer on its way.
type service struct {
	*Unit
	c     *converter
	name  string
	body  *migrate.Map
	slots int
	want  migrate.Instance
}

// unit converts one unit: a template with numbered instances becomes one
// consumer with slots, one with named instances a consumer for each.
func (c *converter) unit(u *Unit) {
	if u.Template == "" || u.Instance != "" {
		c.service(u, u.Name, 1)
		return
	}
	instances, found := c.opt.Instances, false
	if instances == nil {
		instances = enabled(u)
		found = len(instances) > 0
	}
	switch n := numbers(instances); {
	case len(instances) == 0:
		c.report.Add(migrate.Changed, u.Path, 0, u.Template, "", "which instances of the template are enabled stands in no file here; it has one slot, %%i is {slot1}: give --instances")
		n = 1
		fallthrough
	case n > 0:
		counted := *u
		counted.Instance, counted.Name = slotMark, u.Template+"@"+slotMark
		c.service(&counted, u.Template, max(n, 1))
		if found {
			c.report.Add(migrate.Note, u.Path, 0, u.Template, "", "instances 1 to %d are enabled beside the file", n)
		}
	default:
		for _, name := range instances {
			one := *u
			one.Instance, one.Name = name, u.Template+"@"+name
			c.service(&one, u.Template+"-"+name, 1)
		}
	}
}

// numbers reports how many instances there are when they are 1, 2, 3 … ; 0 =
// they have other names.
func numbers(instances []string) int {
	sorted := slices.Clone(instances)
	slices.SortFunc(sorted, func(a, b string) int {
		m, _ := strconv.Atoi(a)
		n, _ := strconv.Atoi(b)
		return m - n
	})
	for i, name := range sorted {
		if name != strconv.Itoa(i+1) {
			return 0
		}
	}
	return len(sorted)
}

// enabled looks for links to instances of a template beside it.
func enabled(u *Unit) []string {
	found, err := filepath.Glob(filepath.Join(filepath.Dir(u.Path), "*.wants", u.Template+"@?*.service"))
	if err != nil {
		return nil
	}
	var names []string
	for _, f := range found {
		_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(f), ".service"), "@")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// service converts one service.
func (c *converter) service(u *Unit, wish string, slots int) {
	s := &service{Unit: u, c: c, body: migrate.NewMap(), slots: slots}
	where := u.Path
	if at := u.list("ExecStart"); len(at) > 0 {
		where = fmt.Sprintf("%s:%d", at[len(at)-1].file, at[len(at)-1].line)
	}
	refuse := func(key, format string, args ...any) {
		why := fmt.Sprintf(format, args...)
		file, line := s.at(key)
		c.report.Refuse(file, line, wish, key, "%s", why)
		c.doc.Consumers = append(c.doc.Consumers, migrate.Entry{Above: []string{fmt.Sprintf("%s %s was not converted: %s", where, wish, why)}})
	}
	if key, why := s.unfit(); why != "" {
		refuse(key, "%s", why)
		return
	}
	s.name, _ = c.doc.Name(wish)
	if s.name != wish {
		s.item(migrate.Changed, "", "is called %s: %q is no name in qsuper, or is taken", s.name, wish)
	}
	if slots > 1 {
		defer s.body.Comment("instances", "instances 1 to "+strconv.Itoa(slots)+" of the template")
	}
	key, err := s.run()
	if err != nil {
		c.doc.Free(s.name)
		c.report.Items = slices.DeleteFunc(c.report.Items, func(i migrate.Item) bool { return i.Name == s.name })
		refuse(key, "%v", err)
		return
	}
	s.identity()
	s.lifecycle()
	s.stop()
	s.output()
	s.limits()
	s.rest()
	entry := migrate.Entry{Name: s.name, Above: []string{where}, Body: s.body}
	if text := u.description(); text != "" {
		entry.Above = []string{text, where}
	}
	if f := migrate.Recognise(s.want.Argv); f != nil {
		entry.Inside = f.Suggest
	}
	c.doc.Consumers = append(c.doc.Consumers, entry)
	c.report.Converted = append(c.report.Converted, s.name)
	c.report.Instances += slots
	s.expect()
}

func (u *Unit) description() string {
	text := ""
	for _, s := range u.settings {
		if s.section == "Unit" && s.key == "Description" {
			text = s.value
		}
	}
	if out, err := u.specifiers(text); err == nil {
		return strings.ReplaceAll(out, slotMark, "N")
	}
	return text
}

// at is where a key stands, or the file.
func (s *service) at(key string) (string, int) {
	file, line := s.Path, 0
	for _, x := range s.settings {
		if x.key == key {
			file, line = x.file, x.line
		}
	}
	return file, line
}

func (s *service) item(level migrate.Level, key, format string, args ...any) {
	file, line := s.at(key)
	s.c.report.Add(level, file, line, s.name, key, format, args...)
}

// unfit says why a service cannot be a consumer at all.
func (s *service) unfit() (key, why string) {
	starts := s.list("ExecStart")
	kind := s.text("Type", "simple")
	switch {
	case len(starts) == 0:
		return "", "there is no ExecStart"
	case len(starts) > 1:
		return "ExecStart", "there is more than one command"
	case kind == "forking":
		return "Type", "the command puts itself into the background, where qsuper would lose it; give the one that stays (no --daemon, no multi start, no --detach)"
	case kind == "dbus":
		return "Type", "its readiness is a name on D-Bus"
	}
	return "", ""
}

// expect notes what systemd starts.
func (s *service) expect() {
	for i := range s.slots {
		fill := func(text string) string { return strings.ReplaceAll(text, slotMark, strconv.Itoa(i+1)) }
		want := s.want
		want.Name, want.Consumer, want.Slot = fill(s.Name), s.name, i
		want.Dir = fill(want.Dir)
		want.Argv, want.Env = nil, map[string]string{}
		for _, w := range s.want.Argv {
			want.Argv = append(want.Argv, fill(w))
		}
		for k, v := range s.want.Env {
			want.Env[k] = fill(v)
		}
		s.c.expected = append(s.c.expected, want)
	}
}

// everywhere lists once what holds for all consumers.
func (c *converter) everywhere() {
	all := func(format string, args ...any) {
		c.report.Add(migrate.Changed, c.report.Files[0], 0, "", "everywhere", format, args...)
	}
	all("nothing is given up (StartLimitBurst): a consumer that fails is started again after growing pauses, and status says so")
	if c.opt.Mode == migrate.Modern {
		all("30s before a kill where no TimeoutStopSec is given (systemd: 90s), and the stop signal goes to the main process alone (KillMode=control-group sends it to all)")
		all("output goes to files of qsuper's, `qsuper logs` shows them (logs: {to: stdout} for the journal)")
	}
	all("systemctl's counterpart is qsuper start, stop, restart and status; disable the units before qsuper starts")
}
