// Package crontab reads crontabs as cron does, and converts their lines to jobs,
// and those that keep a worker running to consumers.
//
// The rules are those of crontab(5) of Debian's cron and of cronie.
package crontab

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"qsuper/internal/pattern"
	schedules "qsuper/schedule"
)

// Table is one crontab.
type Table struct {
	Path   string
	System bool   // a line has a user in front of its command
	User   string // of a user's table; "" = not known
	Lines  []Line
	Refuse []Problem // lines that cron does not run
	Guess  string    // how System was found out; "" = it is certain
}

// Line is one entry.
type Line struct {
	Number   int
	Schedule string // five fields, or @daily and its like
	User     string // of a system table
	Command  string // with \% as %
	Input    string // what a % gives to standard input
	HasInput bool
	Env      []Variable // in force at this line, in the order they were set
	Above    []string   // comment lines directly in front of it
}

// Variable is a line NAME=value.
type Variable struct {
	Name, Value string
	Line        int
}

// Problem is a line that is not run.
type Problem struct {
	Line int
	Text string
}

// Form says which of the two forms a table has.
type Form string

// The forms.
const (
	Guess    Form = ""         // by path and content
	System   Form = "system"   // /etc/crontab and /etc/cron.d
	Personal Form = "personal" // crontab -l
)

var (
	// A variable's name ends at the =; in quotes it may hold anything.
	variable = pattern.Lazy(`^\s*(?:"([^"]+)"|'([^']+)'|([^\s=#"'*@0-9][^\s=]*))\s*=\s*(.*?)\s*$`)
	// The five time fields; months and weekdays may have names.
	field = pattern.Lazy(`^[0-9*/,~-]+$`)
	named = pattern.Lazy(`^(?i:[0-9*/,~-]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat)+$`)
)

// Read reads a crontab; "-" is standard input. user is whose it is, "" = by its
// path.
func Read(path string, form Form, user string) (*Table, error) {
	data, err := readAll(path)
	if err != nil {
		return nil, err
	}
	t := &Table{Path: path, User: user}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if t.User == "" && filepath.Dir(abs) == "/var/spool/cron/crontabs" {
		t.User = filepath.Base(abs)
	}
	lines := strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
	switch {
	case form != Guess:
		t.System = form == System
	case abs == "/etc/crontab" || filepath.Dir(abs) == "/etc/cron.d":
		t.System = true
	case t.User != "" || path == "-":
	default:
		t.System = looksLikeSystem(lines)
		t.Guess = map[bool]string{true: "the sixth word of every line is a user, so it was read as a file of /etc/cron.d; --form personal reads it as crontab -l prints it",
			false: "it was read as crontab -l prints it; --form system reads the sixth word of a line as a user"}[t.System]
	}
	if path == "-" {
		t.Path = "standard input"
	}
	t.read(lines)
	return t, nil
}

func readAll(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	}
	return os.ReadFile(path)
}

// Accounts that own jobs on hosts other than this one.
var accounts = []string{"root", "www-data", "nginx", "apache", "http", "nobody", "deploy", "daemon", "mail", "postgres", "mysql", "git", "ubuntu", "admin", "app", "web"}

// looksLikeSystem reports whether every entry has a user in front of its command.
func looksLikeSystem(lines []string) bool {
	entries := 0
	for _, line := range lines {
		text := strings.TrimSpace(line)
		if text == "" || text[0] == '#' || variable().MatchString(line) {
			continue
		}
		_, rest, ok := cutSchedule(text)
		if !ok {
			continue
		}
		words := strings.Fields(rest)
		if len(words) < 2 || !slices.Contains(accounts, words[0]) && !strings.HasPrefix(words[0], "www-") {
			return false
		}
		entries++
	}
	return entries > 0
}

func (t *Table) read(lines []string) {
	var env []Variable
	var above []string
	for i, line := range lines {
		text := strings.TrimLeft(line, " \t")
		switch {
		case strings.TrimSpace(text) == "":
			above = nil
			continue
		case text[0] == '#':
			above = append(above, strings.TrimSpace(strings.TrimLeft(text, "#")))
			continue
		}
		if m := variable().FindStringSubmatch(line); m != nil {
			env = set(env, Variable{m[1] + m[2] + m[3], unquote(m[4]), i + 1})
			above = nil
			continue
		}
		t.entry(i+1, strings.TrimRight(text, " \t"), env, above)
		above = nil
	}
}

// set adds a variable; the last one of a name counts.
func set(env []Variable, v Variable) []Variable {
	env = slices.DeleteFunc(slices.Clone(env), func(old Variable) bool { return old.Name == v.Name })
	return append(env, v)
}

func unquote(value string) string {
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		return value[1 : n-1]
	}
	return value
}

// cutSchedule splits a line behind its time fields.
func cutSchedule(line string) (schedule, rest string, ok bool) {
	if line[0] == '@' {
		schedule, rest, _ = cutWord(line)
		return schedule, rest, rest != ""
	}
	rest = line
	var fields []string
	for i := range 5 {
		var word string
		if word, rest, _ = cutWord(rest); !field().MatchString(word) && (i < 3 || !named().MatchString(word)) {
			return strings.Join(fields, " "), rest, false
		}
		fields = append(fields, word)
	}
	return strings.Join(fields, " "), rest, rest != ""
}

func cutWord(text string) (word, rest string, found bool) {
	text = strings.TrimLeft(text, " \t")
	at := strings.IndexAny(text, " \t")
	if at < 0 {
		return text, "", false
	}
	return text[:at], strings.TrimLeft(text[at:], " \t"), true
}

func (t *Table) entry(n int, text string, env []Variable, above []string) {
	refuse := func(format string, args ...any) {
		t.Refuse = append(t.Refuse, Problem{n, fmt.Sprintf(format, args...)})
	}
	schedule, rest, ok := cutSchedule(text)
	if !ok {
		refuse("cron does not run this line: it needs five time fields (minute hour day month weekday), or @daily and its like, and a command")
		return
	}
	if _, err := schedules.ParseTimetable(strings.ReplaceAll(schedule, "~", "-"), nil); err != nil && schedule != "@reboot" {
		refuse("cron does not run this line: %v", err)
		return
	}
	l := Line{Number: n, Schedule: schedule, Env: env, Above: above}
	if t.System {
		if l.User, rest, ok = cutWord(rest); !ok || rest == "" {
			refuse("cron does not run this line: behind the time fields of a system table stand a user and a command")
			return
		}
	}
	if next, _, _ := cutWord(rest); next == "*" || regexp.MustCompile(`^(\*|[0-9]+)(/[0-9]+)?$`).MatchString(next) {
		refuse("there are more than five time fields, which cron does not know; %q would be the command", next)
		return
	}
	l.Command, l.Input, l.HasInput = percent(rest)
	t.Lines = append(t.Lines, l)
}

// percent splits a command at its first unescaped %: what follows is standard
// input, in which each further % is a new line.
func percent(text string) (command, input string, has bool) {
	var parts []string
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == '%':
			b.WriteByte('%')
			i++
		case text[i] == '%':
			parts = append(parts, b.String())
			b.Reset()
		default:
			b.WriteByte(text[i])
		}
	}
	parts = append(parts, b.String())
	return parts[0], strings.Join(parts[1:], "\n"), len(parts) > 1
}
