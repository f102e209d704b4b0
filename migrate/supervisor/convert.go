package supervisor

import (
	"fmt"
	"slices"
	"strings"

	"qsuper/migrate"
)

// ConvertOptions say how to convert.
type ConvertOptions struct {
	Mode migrate.Mode
}

// Convert writes a document for what was read.
func Convert(cfg *Config, o ConvertOptions) *migrate.Result {
	c := &converter{cfg: cfg, opt: o, doc: &migrate.Document{}, report: &migrate.Report{Source: "supervisor", Mode: o.Mode, Files: cfg.Files}}
	c.doc.Header = []string{fmt.Sprintf("Converted from Supervisor's %s by `qsuper import supervisor --%s`.", strings.Join(cfg.Files, ", "), o.Mode)}
	c.refusals()
	c.server()
	for _, p := range cfg.Programs {
		c.program(p)
	}
	c.repair()
	c.sections()
	c.notes()
	c.everywhere()
	c.doc.Consumers = c.entries()
	c.report.Sort()
	return &migrate.Result{Document: c.doc, Report: c.report, Expected: c.expected()}
}

// converter is the state of one Convert.
type converter struct {
	cfg    *Config
	opt    ConvertOptions
	doc    *migrate.Document
	report *migrate.Report
	parts  []*part
}

// part is one program on its way: a consumer, or one for each instance, or a
// comment that says why it is none.
type part struct {
	p         *Program
	framework *migrate.Framework
	consumers []consumer
	comments  []string // of a program that was not converted
	items     []migrate.Item
	apart     bool // one consumer for each instance
}

type consumer struct {
	name  string
	body  *migrate.Map
	text  *Process // what it was written from
	first int      // index of its first process in p.Processes
	slots int
}

func (c *converter) compat() bool { return c.opt.Mode == migrate.Compat }

// refusals says why Supervisor itself would not load the files. What is right in
// them is converted all the same.
func (c *converter) refusals() {
	for _, f := range c.cfg.Refusals {
		c.report.Add(migrate.Note, f.File, f.Line, "", "["+f.Section+"]", "Supervisor refuses the whole for this: %s", f.Text)
	}
}

// program makes a part of a program.
func (c *converter) program(p *Program) {
	pt := &part{p: p}
	c.parts = append(c.parts, pt)
	refuse := func(key, format string, args ...any) {
		file, line := c.cfg.at(p.Section, key)
		why := fmt.Sprintf(format, args...)
		pt.comments = []string{fmt.Sprintf("%s:%d [%s] was not converted: %s", p.file, p.line, p.Section, why)}
		why = strings.TrimPrefix(why, key+": ")
		pt.items = append(pt.items, migrate.Item{Level: migrate.Lost, File: file, Line: line, Name: p.Name, Key: key, Text: "not converted: " + why})
		c.report.Refused = append(c.report.Refused, p.Name)
	}
	switch {
	case p.Kind == "eventlistener":
		refuse("", "event listeners have no counterpart%s", superlance(c.cfg, p))
		return
	case p.Kind == "fcgi-program":
		refuse("", "FastCGI programs are no consumers; let php-fpm or systemd keep the socket")
		return
	case p.Err != nil:
		refuse(optionOf(p.Err), "%v", p.Err)
		return
	case len(p.Processes) == 0:
		refuse("numprocs", "numprocs is 0, so that Supervisor runs nothing")
		return
	}
	for _, one := range p.Processes {
		argv, err := words(one.Command)
		switch {
		case err != nil:
			refuse("command", "Supervisor cannot start it either: %v", err)
			return
		case len(argv) == 0 || argv[0] == "":
			refuse("command", "the command is empty")
			return
		}
	}
	c.build(pt)
}

// superlance names what stands for a plug-in that many use.
func superlance(cfg *Config, p *Program) string {
	command := ""
	if o, ok := cfg.ini.get(p.Section, "command"); ok {
		command = o.value
	}
	for name, instead := range map[string]string{
		"memmon": "memory_limit of a consumer", "httpok": "a connection of type http in requires",
		"crashmail": "alerts", "fatalmailbatch": "alerts", "crashmailbatch": "alerts",
	} {
		if strings.Contains(command, name) {
			return "; use " + instead
		}
	}
	return ""
}

// build makes the consumers of a part, from the template where there is one.
func (c *converter) build(pt *part) {
	p := pt.p
	argv, _ := words(p.Processes[0].Command)
	pt.framework = migrate.Recognise(argv)
	for _, old := range pt.consumers {
		c.doc.Free(old.name)
	}
	pt.items, pt.consumers = nil, nil
	base := p.Name
	if c.twice(p) {
		base = p.Group + "-" + p.Name
	}
	if p.tmpl != nil && !pt.apart {
		name, changed := c.doc.Name(base)
		if changed {
			c.item(pt, migrate.Changed, "", name, "is called %s: %q is no name in qsuper, or is taken", name, base)
		}
		c.consumer(pt, name, p.tmpl, 0, len(p.Processes))
		return
	}
	for i, one := range p.Processes {
		name, _ := c.doc.Name(one.Name)
		c.item(pt, migrate.Changed, "process_name", name, "is a consumer of its own, as its command or environment has a number that {slot} cannot say")
		c.consumer(pt, name, one, i, 1)
	}
}

// twice reports whether a program is in more than one group.
func (c *converter) twice(p *Program) bool {
	n := 0
	for _, other := range c.cfg.Programs {
		if other.Section == p.Section {
			n++
		}
	}
	return n > 1
}

// item notes what became of an option.
func (c *converter) item(pt *part, level migrate.Level, key, name, format string, args ...any) {
	file, line := pt.p.file, pt.p.line
	if key != "" {
		file, line = c.cfg.at(pt.p.Section, key)
	}
	item := migrate.Item{Level: level, File: file, Line: line, Name: name, Key: key, Text: fmt.Sprintf(format, args...)}
	if !slices.Contains(pt.items, item) {
		pt.items = append(pt.items, item)
	}
}

// repair loads what was written, compares it with what Supervisor starts, and
// takes programs apart whose template says something else.
func (c *converter) repair() {
	for range 2 {
		wrong := c.wrong()
		if len(wrong) == 0 {
			return
		}
		for _, pt := range wrong {
			if pt.apart {
				c.drop(pt, "qsuper.yaml cannot say the same")
				continue
			}
			pt.apart = true
			c.build(pt)
		}
	}
	for _, pt := range c.wrong() {
		c.drop(pt, "qsuper.yaml cannot say the same")
	}
}

// wrong are the parts that do not come out as Supervisor has them.
func (c *converter) wrong() []*part {
	var list []*part
	for _, pt := range c.parts {
		if len(pt.consumers) == 0 {
			continue
		}
		doc := migrate.Document{Defaults: c.doc.Defaults, Consumers: c.entriesOf(pt)}
		found, err := migrate.Verify(doc.Bytes(), c.expectedOf(pt), pt.items, c.cfg.LookupEnv)
		if err != nil || slices.ContainsFunc(found, func(d migrate.Difference) bool { return !d.Known }) {
			list = append(list, pt)
		}
	}
	return list
}

func (c *converter) drop(pt *part, why string) {
	if len(pt.consumers) == 0 {
		return
	}
	pt.consumers = nil
	pt.comments = []string{fmt.Sprintf("%s:%d [%s] was not converted: %s", pt.p.file, pt.p.line, pt.p.Section, why)}
	pt.items = nil
	c.item(pt, migrate.Lost, "", pt.p.Name, "not converted: %s", why)
	c.report.Refused = append(c.report.Refused, pt.p.Name)
}

// entries are the consumers as they are written, and the report of them.
func (c *converter) entries() []migrate.Entry {
	var all []migrate.Entry
	for _, pt := range c.parts {
		all = append(all, c.entriesOf(pt)...)
		c.report.Items = append(c.report.Items, pt.items...)
		for _, one := range pt.consumers {
			c.report.Converted = append(c.report.Converted, one.name)
			c.report.Instances += one.slots
		}
	}
	return all
}

func (c *converter) entriesOf(pt *part) []migrate.Entry {
	if len(pt.consumers) == 0 {
		return []migrate.Entry{{Name: pt.p.Name, Above: pt.comments}}
	}
	var all []migrate.Entry
	for _, one := range pt.consumers {
		e := migrate.Entry{Name: one.name, Above: []string{fmt.Sprintf("%s:%d [%s]", pt.p.file, pt.p.line, pt.p.Section)}, Body: one.body}
		if pt.framework != nil {
			e.Inside = pt.framework.Suggest
		}
		all = append(all, e)
	}
	return all
}
