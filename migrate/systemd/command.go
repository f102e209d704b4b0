package systemd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"qsuper/internal/pattern"
	"qsuper/migrate"
)

// command is an ExecStart line in parts.
type command struct {
	argv    []string
	shell   string   // instead, when variables of an EnvironmentFile are in it
	names   []string // of those variables
	ignored bool     // "-": a failure counts as success
	full    bool     // "+", "!" or "!!": other privileges than the rest
}

var (
	wholeVariable = pattern.Lazy(`^\$([A-Za-z_][A-Za-z0-9_]*)$`)
	innerVariable = pattern.Lazy(`\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
)

// parse reads an Exec line with its prefixes. env holds what Environment= sets.
func (u *Unit) parse(line string, env map[string]string, files bool) (command, error) {
	var c command
	zero, expand := false, true
	for line != "" && strings.ContainsRune("@-:+!", rune(line[0])) {
		switch line[0] {
		case '@':
			zero = true
		case '-':
			c.ignored = true
		case ':':
			expand = false
		default:
			c.full = true
		}
		line = line[1:]
	}
	parts, err := words(line)
	if err != nil {
		return c, err
	}
	if len(parts) == 0 {
		return c, errors.New("the command is empty")
	}
	if zero {
		if len(parts) < 2 {
			return c, errors.New("@ needs a name for the process")
		}
		return c, errors.New("@ gives the process another name, which qsuper does not do")
	}
	if slices.Contains(parts, ";") {
		return c, errors.New("there are several commands in one line")
	}
	for i, w := range parts {
		if parts[i], err = u.specifiers(w); err != nil {
			return c, err
		}
	}
	if !expand {
		c.argv = parts
		return c, nil
	}
	for _, w := range parts {
		c.names = append(c.names, unknown(w, env)...)
	}
	if len(c.names) > 0 && files {
		c.shell = shellFor(parts, env)
		return c, nil
	}
	c.names = nil // not set: they are empty
	for i, w := range parts {
		c.argv = append(c.argv, expandWord(w, env, i > 0)...)
	}
	return c, nil
}

// unknown lists the variables of a word that Environment= does not set.
func unknown(w string, env map[string]string) []string {
	var names []string
	if m := wholeVariable().FindStringSubmatch(w); m != nil {
		if _, ok := env[m[1]]; !ok {
			names = append(names, m[1])
		}
		return names
	}
	for _, m := range innerVariable().FindAllStringSubmatch(w, -1) {
		if _, ok := env[m[1]]; !ok && m[1] != "" {
			names = append(names, m[1])
		}
	}
	return names
}

// expandWord fills in variables as systemd does: $X as a word of its own is split
// at blanks, ${X} is not.
func expandWord(w string, env map[string]string, split bool) []string {
	if m := wholeVariable().FindStringSubmatch(w); m != nil && split {
		parts, err := words(env[m[1]])
		if err != nil {
			return strings.Fields(env[m[1]])
		}
		return parts
	}
	return []string{innerVariable().ReplaceAllStringFunc(w, func(v string) string {
		if v == "$$" {
			return "$"
		}
		return env[v[2:len(v)-1]]
	})}
}

// shellFor writes a command for /bin/sh, which fills in what env_file brings: $X
// is split at blanks, but not taken for a pattern.
func shellFor(parts []string, env map[string]string) string {
	line := make([]string, 0, len(parts))
	for i, w := range parts {
		if m := wholeVariable().FindStringSubmatch(w); m != nil && len(unknown(w, env)) > 0 && i > 0 {
			line = append(line, "$"+m[1])
			continue
		}
		if len(unknown(w, env)) == 0 {
			for _, done := range expandWord(w, env, i > 0) {
				line = append(line, migrate.ShellWord(done))
			}
			continue
		}
		line = append(line, `"`+inQuotes(w, env)+`"`)
	}
	return "set -f; exec " + strings.Join(line, " ")
}

// inQuotes writes a word between double quotes of a shell.
func inQuotes(w string, env map[string]string) string {
	var b strings.Builder
	end := 0
	escape := func(s string) string {
		return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", "$", `\$`).Replace(s)
	}
	for _, m := range innerVariable().FindAllStringSubmatchIndex(w, -1) {
		b.WriteString(escape(w[end:m[0]]))
		end = m[1]
		if m[2] < 0 {
			b.WriteString(`\$`)
			continue
		}
		name := w[m[2]:m[3]]
		if value, ok := env[name]; ok {
			b.WriteString(escape(value))
		} else {
			b.WriteString("${" + name + "}")
		}
	}
	b.WriteString(escape(w[end:]))
	return b.String()
}

// environment reads Environment= lines.
func (u *Unit) environment() (map[string]string, []string, error) {
	env := map[string]string{}
	var order []string
	for _, s := range u.list("Environment") {
		parts, err := words(s.value)
		if err != nil {
			return nil, nil, fmt.Errorf("%s:%d: Environment: %w", s.file, s.line, err)
		}
		for _, p := range parts {
			name, value, ok := strings.Cut(p, "=")
			if !ok {
				continue // systemd warns and goes on
			}
			if value, err = u.specifiers(value); err != nil {
				return nil, nil, fmt.Errorf("%s:%d: Environment: %w", s.file, s.line, err)
			}
			if _, old := env[name]; !old {
				order = append(order, name)
			}
			env[name] = value
		}
	}
	return env, order, nil
}
