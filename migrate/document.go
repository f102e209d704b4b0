package migrate

import (
	"slices"
	"strconv"
	"strings"

	"qsuper/config"
	"qsuper/internal/pattern"
)

// Document is the qsuper.yaml that is written.
type Document struct {
	Header      []string // comment lines on top
	Daemon      *Map
	Connections *Map
	Defaults    *Map
	Consumers   []Entry
	Jobs        []Entry

	names map[string]bool
}

// Entry is a consumer or a job.
type Entry struct {
	Name   string
	Above  []string // comment lines in front of it
	Body   *Map     // nil: only the comments are written
	Inside []string // comment lines behind its keys, at their indent
}

// Bytes renders the document.
func (d *Document) Bytes() []byte {
	var b strings.Builder
	for _, line := range d.Header {
		comment(&b, "", line)
	}
	b.WriteString("version: 1\n")
	for _, part := range []struct {
		key   string
		value *Map
	}{{"daemon", d.Daemon}, {"connections", d.Connections}, {"defaults", d.Defaults}} {
		if part.value != nil && part.value.Len() > 0 {
			b.WriteString("\n" + part.key + ":\n")
			part.value.write(&b, "  ")
		}
	}
	section(&b, "consumers", d.Consumers, len(d.Jobs) == 0)
	section(&b, "jobs", d.Jobs, false)
	return []byte(b.String())
}

func section(b *strings.Builder, key string, entries []Entry, always bool) {
	if !slices.ContainsFunc(entries, func(e Entry) bool { return e.Body != nil }) {
		if always {
			b.WriteString("\n" + key + ": {}\n")
		}
		for _, e := range entries { // none of them is a key, so they stand at the margin
			b.WriteString("\n")
			for _, line := range e.Above {
				comment(b, "", line)
			}
		}
		return
	}
	b.WriteString("\n" + key + ":\n")
	for i, e := range entries {
		if i > 0 {
			b.WriteString("\n")
		}
		for _, line := range e.Above {
			comment(b, "  ", line)
		}
		if e.Body == nil {
			continue
		}
		b.WriteString("  " + Scalar(e.Name) + ":\n")
		e.Body.write(b, "    ")
		for _, line := range e.Inside {
			comment(b, "    ", line)
		}
	}
}

func comment(b *strings.Builder, indent, line string) {
	b.WriteString(strings.TrimRight(indent+"# "+oneLine(line), " ") + "\n")
}

var notInName = pattern.Lazy(`[^A-Za-z0-9._-]+`)

// Name makes a name that qsuper accepts and that nothing else in the document
// has. changed says that it is not the one that was asked for.
func (d *Document) Name(wish string) (name string, changed bool) {
	if d.names == nil {
		d.names = map[string]bool{}
	}
	base := strings.TrimLeft(notInName().ReplaceAllString(wish, "-"), "._-")
	if !strings.HasSuffix(wish, "-") {
		base = strings.TrimRight(base, "-")
	}
	if base == "" {
		base = "consumer"
	}
	base = base[:min(len(base), 120)]
	name = base
	for n := 2; d.names[name]; n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	d.names[name] = true
	return name, name != wish
}

// Free gives names back.
func (d *Document) Free(names ...string) {
	for _, n := range names {
		delete(d.names, n)
	}
}

// Literal writes text so that qsuper takes it as it is: nothing in it is a
// variable or a placeholder.
func Literal(text string) string { return Dollars(config.Literal(text)) }

// Dollars doubles each $ that qsuper would take for the start of a variable.
func Dollars(text string) string {
	var b strings.Builder
	for i := range len(text) {
		b.WriteByte(text[i])
		if text[i] == '$' && i+1 < len(text) && (text[i+1] == '$' || text[i+1] == '{') {
			b.WriteByte('$')
		}
	}
	return b.String()
}

// ShellWord quotes text as one word of a shell.
func ShellWord(text string) string {
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-", r)
	}) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// Literals writes each word as Literal does.
func Literals(words []string) []string {
	literal := make([]string, len(words))
	for i, w := range words {
		literal[i] = Literal(w)
	}
	return literal
}
