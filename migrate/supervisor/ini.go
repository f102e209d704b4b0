package supervisor

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ini is what Python's RawConfigParser holds, as Supervisor 4.2 sets it up: ;
// and # after a blank start a comment anywhere on a line, quotes or not;
// repeated sections are merged and the last of repeated options wins.
type ini struct {
	sections map[string]*section
	order    []string // sections as they appeared
	defaults *section // [DEFAULT], part of every section
	notes    []note
}

type section struct {
	name    string
	options map[string]*option
	order   []string
	file    string
	line    int
}

type option struct {
	value string
	lines []string // while it is read
	file  string
	line  int
	set   bool // lines are of this file
}

// note is something in a file that is probably not what was meant.
type note struct {
	file, section, key string
	line               int
	text               string
}

func newINI() *ini {
	return &ini{sections: map[string]*section{}, defaults: newSection("DEFAULT", "", 0)}
}

func newSection(name, file string, line int) *section {
	return &section{name: name, options: map[string]*option{}, file: file, line: line}
}

// isSpace is str.isspace of Python.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func strip(s string) string { return strings.TrimFunc(s, isSpace) }

// errEncoding is what Python says of a file in another encoding.
var errEncoding = errors.New("is not UTF-8 text")

// reading is the state of read within one file.
type reading struct {
	p      *ini
	file   string
	sect   *section
	name   string // of the option that continues; "" = none
	indent int
	errs   []string
}

// read adds one file. After an error what was read before it stays.
func (p *ini) read(file string, data []byte) error {
	if !utf8.Valid(data) {
		return fmt.Errorf("%s %w", file, errEncoding)
	}
	text := strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n")
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	r := &reading{p: p, file: file}
	defer p.join()
	for i, line := range lines {
		if err := r.line(i+1, []rune(line)); err != nil {
			return err
		}
	}
	if len(r.errs) > 0 {
		return errors.New(strings.Join(r.errs, "\n"))
	}
	return nil
}

// line reads one line, with its newline.
func (r *reading) line(n int, line []rune) error {
	cut := commentAt(line)
	if s := strip(string(line)); strings.HasPrefix(s, "#") || strings.HasPrefix(s, ";") {
		cut = 0
	}
	kept := line
	if cut >= 0 {
		kept = line[:cut]
	}
	value := strip(string(kept))
	if value == "" {
		if cut < 0 && r.sect != nil && r.name != "" {
			o := r.sect.options[r.name]
			o.lines = append(o.lines, "")
		}
		return nil
	}
	indent := len(line) - len([]rune(strings.TrimLeftFunc(string(line), isSpace)))
	if r.sect != nil && r.name != "" && indent > r.indent {
		o := r.sect.options[r.name]
		o.lines = append(o.lines, value)
		r.cutInQuotes(n, r.name, value, line, cut)
		return nil
	}
	r.indent = indent
	if end := strings.LastIndexByte(value, ']'); value[0] == '[' && end > 1 {
		r.header(n, value[1:end])
		return nil
	}
	if r.sect == nil {
		return fmt.Errorf("%s:%d: text stands in front of the first [section]", r.file, n)
	}
	r.option(n, value, line, cut)
	return nil
}

func (r *reading) header(n int, name string) {
	r.name = ""
	switch known := r.p.sections[name]; {
	case known != nil:
		r.sect = known
	case name == "DEFAULT":
		r.sect = r.p.defaults
	default:
		r.sect = newSection(name, r.file, n)
		r.p.sections[name] = r.sect
		r.p.order = append(r.p.order, name)
	}
}

func (r *reading) option(n int, value string, line []rune, cut int) {
	at := strings.IndexAny(value, "=:")
	if at < 0 {
		r.errs = append(r.errs, fmt.Sprintf("%s:%d: neither a [section] nor an option with = or :", r.file, n))
		return
	}
	if at == 0 {
		r.errs = append(r.errs, fmt.Sprintf("%s:%d: nothing stands in front of the %q", r.file, n, value[:1]))
	}
	r.name = strings.ToLower(strings.TrimRightFunc(value[:at], isSpace))
	if old := r.sect.options[r.name]; old != nil {
		if old.set && old.file == r.file {
			r.note(n, r.name, fmt.Sprintf("is given twice, the one of line %d does not count", old.line))
		}
	} else {
		r.sect.order = append(r.sect.order, r.name)
	}
	text := strip(value[at+1:])
	r.sect.options[r.name] = &option{lines: []string{text}, file: r.file, line: n, set: true}
	r.cutInQuotes(n, r.name, text, line, cut)
}

func (r *reading) note(n int, key, text string) {
	r.p.notes = append(r.p.notes, note{file: r.file, section: r.sect.name, key: key, line: n, text: text})
}

// cutInQuotes notes a comment that begins within quotes: Supervisor cuts there,
// which nobody means.
func (r *reading) cutInQuotes(n int, key, kept string, line []rune, cut int) {
	if cut <= 0 {
		return
	}
	if _, err := words(kept); err != nil {
		r.note(n, key, fmt.Sprintf("Supervisor takes %q for a comment, although it stands in quotes", strip(string(line[cut:]))))
	}
}

// commentAt is where Python finds the comment of a line, or -1. It looks for the
// first ; and the first # that follow a blank, in step: where one of them fits,
// a later look at the other is not taken.
func commentAt(line []rune) int {
	at := map[rune]int{'#': -1, ';': -1}
	start := -1
	for start < 0 && len(at) > 0 {
		next := map[rune]int{}
		for prefix, index := range at {
			found := -1
			for i := index + 1; i < len(line); i++ {
				if line[i] == prefix {
					found = i
					break
				}
			}
			if found < 0 {
				continue
			}
			next[prefix] = found
			if (found == 0 || isSpace(line[found-1])) && (start < 0 || found < start) {
				start = found
			}
		}
		at = next
	}
	return start
}

// join makes values of the lines that were read.
func (p *ini) join() {
	all := []*section{p.defaults}
	for _, name := range p.order {
		all = append(all, p.sections[name])
	}
	for _, s := range all {
		for _, o := range s.options {
			if o.set {
				o.value = strings.TrimRightFunc(strings.Join(o.lines, "\n"), isSpace)
				o.lines, o.set = nil, false
			}
		}
	}
}

// get looks an option up; the section must exist.
func (p *ini) get(sect, name string) (*option, bool) {
	if o := p.sections[sect].options[name]; o != nil {
		return o, true
	}
	o := p.defaults.options[name]
	return o, o != nil
}

// expandHere puts the directory of a file in place of %(here)s, as Supervisor
// does when it reads a file with an [include] section.
func (p *ini) expandHere(here string) {
	const text = "%(here)s"
	for _, name := range p.order {
		s := p.sections[name]
		for key, o := range p.defaults.options {
			if s.options[key] == nil && strings.Contains(o.value, text) {
				c := *o
				s.options[key] = &c
				s.order = append(s.order, key)
			}
		}
		for _, o := range s.options {
			o.value = strings.ReplaceAll(o.value, text, here)
		}
	}
}
