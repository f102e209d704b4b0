package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"qsuper/internal/kind"
	"qsuper/internal/pattern"
)

// Launch is what to start for one slot, with all placeholders filled in.
type Launch struct {
	Argv []string          // Argv[0] may be a bare name for PATH, or relative to Dir
	Env  map[string]string // of the key `env` only; env_file, the user's and qsuper's own come beside it
	Dir  string            // absolute; "" = the daemon's own
}

// shell runs `shell:` values.
const shell = "/bin/sh"

// Expand fills in the placeholders for a slot, counted from 0. It fails only for
// what Load has refused already.
func (c *Consumer) Expand(slot int) (Launch, error) {
	return c.expand(strconv.Itoa(slot), strconv.Itoa(slot+1), strconv.Itoa(c.Instances.Max))
}

func (c *Consumer) expand(slot, slot1, instances string) (Launch, error) {
	e := expander{values: c.values(), numbers: map[string]string{"slot": slot, "slot1": slot1, "instances": instances}}
	l := Launch{Dir: e.fill(c.Dir), Env: make(map[string]string, len(c.Env))}
	for name, value := range c.Env {
		l.Env[name] = e.fill(value)
	}
	if c.Shell != "" {
		e.shell = true
		l.Argv = []string{shell, "-c", e.fill(c.Shell)}
		return l, errors.Join(e.problems...)
	}
	l.Argv = make([]string, len(c.Command))
	for i, word := range c.Command {
		l.Argv[i] = e.fill(word)
	}
	return l, errors.Join(e.problems...)
}

// values are the placeholders that are the same for all slots; one whose
// setting is not set is "".
func (c *Consumer) values() map[string]string {
	v := map[string]string{"name": c.Name, "queue": "", "max_messages": "", "time_limit": "", "memory_limit": ""}
	if c.Queue != nil {
		v["queue"] = c.Queue.Name
	}
	if c.MaxMessages > 0 {
		v["max_messages"] = strconv.Itoa(c.MaxMessages)
	}
	if c.TimeLimit > 0 { // at least a second: 0 means "no limit" to most programs
		v["time_limit"] = strconv.FormatInt(int64((c.TimeLimit+time.Second-1)/time.Second), 10)
	}
	if c.MemoryLimit > 0 {
		v["memory_limit"] = strconv.FormatInt(max(c.MemoryLimit>>20, 1), 10)
	}
	return v
}

// A placeholder: {name}, {slot:02}. {{name}} is the text {name}, as one pair of
// braces goes where there are several; ${name} is for the shell. Anything else in
// braces is not looked at.
var placeholder = pattern.Lazy(`(\{+)([a-z_]+1?)(:0[0-9])?(\}+)`)

// Literal writes text so that no part of it is taken for a placeholder.
func Literal(text string) string {
	var b strings.Builder
	end := 0
	for _, m := range placeholder().FindAllStringSubmatchIndex(text, -1) {
		if m[3]-m[2] == 1 && strings.HasSuffix(text[:m[0]], "$") {
			continue
		}
		b.WriteString(text[end:m[0]] + "{" + text[m[0]:m[1]] + "}")
		end = m[1]
	}
	return b.String() + text[end:]
}

// What a value may hold to be filled into a shell script unquoted.
var shellSafe = pattern.Lazy(`^[A-Za-z0-9._:@%+,=/-]*$`)

type expander struct {
	values   map[string]string // "" = not set
	numbers  map[string]string // those that may have a width
	shell    bool
	problems []error
}

func (e *expander) fill(text string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	var b strings.Builder
	end := 0
	for _, m := range placeholder().FindAllStringSubmatchIndex(text, -1) {
		opening, closing := m[3]-m[2], m[9]-m[8]
		switch {
		case opening > 1 && closing > 1:
			b.WriteString(text[end:m[0]] + text[m[0]+1:m[1]-1])
			end = m[1]
			continue
		case opening == 1 && strings.HasSuffix(text[:m[0]], "$"):
			continue
		}
		width := ""
		if m[6] >= 0 {
			width = text[m[6]+1 : m[7]]
		}
		if value, ok := e.value(text[m[4]:m[5]], width); ok {
			b.WriteString(text[end:m[3]-1] + value)
			end = m[8] + 1
		}
	}
	return b.String() + text[end:]
}

// value returns what to put in for a word; false = leave it as it is.
func (e *expander) value(word, width string) (string, bool) {
	if number, ok := e.numbers[word]; ok {
		if digits, _ := strconv.Atoi(width); len(number) < digits {
			number = strings.Repeat("0", digits-len(number)) + number
		}
		return number, true
	}
	value, known := e.values[word]
	switch {
	case !known:
		all := slices.Concat(slices.Sorted(maps.Keys(e.values)), slices.Sorted(maps.Keys(e.numbers)))
		if hint := kind.DidYouMean(word, all); hint != "" {
			e.problem("unknown placeholder {%s}, %s ({{%s}} is the text {%s})", word, strings.ReplaceAll(hint, `"`, ""), word, word)
		}
		return "", false
	case width != "":
		e.problem("placeholder {%s} takes no width; only {slot}, {slot1} and {instances} do", word)
	case value == "" && word == "queue":
		e.problem("placeholder {queue} needs a queue")
	case value == "":
		e.problem("placeholder {%s} needs the key %s", word, word)
	case e.shell && !shellSafe().MatchString(value):
		e.problem("the value of {%s} is not safe in a shell script; use command instead, or pass it through env", word)
	}
	return value, true
}

func (e *expander) problem(format string, args ...any) {
	e.problems = append(e.problems, fmt.Errorf(format, args...))
}

// placeholders checks every text that may hold placeholders, at its own place.
func (c *check) placeholders() {
	texts := func(key string) {
		if e := c.node.Get(key); e != nil && !c.bad(key) {
			c.placeholdersIn(e.Value, c.path+"."+key, key == "shell")
		}
	}
	for _, key := range []string{"command", "shell", "env", "dir", "preset", "app_restart", "foreign_lock"} {
		texts(key)
	}
}

func (c *check) placeholdersIn(n *kind.Node, path string, inShell bool) {
	for i, item := range n.Items {
		c.placeholdersIn(item, fmt.Sprintf("%s[%d]", path, i), inShell)
	}
	for _, e := range n.Entries {
		c.placeholdersIn(e.Value, kind.Join(path, e.Key.Value), inShell)
	}
	if n.Shape != kind.Scalar || !strings.Contains(n.Value, "{") {
		return
	}
	e := expander{values: c.values(), numbers: map[string]string{"slot": "0", "slot1": "1", "instances": "1"}, shell: inShell}
	if strings.HasPrefix(path, c.path+".foreign_lock") {
		e.values["magento_lock"] = "…"
	}
	for word, value := range e.values {
		if value == "" && c.bad(word) {
			e.values[word] = "1" // it was given, with a mistake in it that is known
		}
	}
	e.fill(n.Value)
	for _, err := range e.problems {
		if n.Filled {
			err = errors.New("the value filled in from the environment holds a placeholder that cannot be filled in")
		}
		c.l.add(n, path, "%v", err)
	}
}
