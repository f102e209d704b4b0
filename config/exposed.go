package config

import (
	"fmt"
	"slices"
	"strings"

	"qsuper/internal/kind"
	"qsuper/internal/pattern"
)

// What an argument of a command says is in the list of processes, which every user of
// the host may read. So secrets are looked for by the names that people give them.

const secretWords = `pass|passwd|password|passphrase|pwd|secret|token|credentials?|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?key|bearer`

var (
	// secretName matches names of variables and options: DB_PASSWORD, --api-key.
	secretName = pattern.Lazy(`(?i)(^|[_.-])(` + secretWords + `)([_.-](file|path|dir))?$`)
	// isPath matches names of what only leads to a secret: --password-file.
	isPath = pattern.Lazy(`(?i)[_.-](file|path|dir)$`)
	// assigned matches NAME=value and --name=value anywhere in a text, and a name with its
	// value behind it in a shell script.
	assigned = pattern.Lazy(`(?i)(?:^|[\s;&|("'?])(-{0,2}[a-z0-9_.-]+)(=|\s+)["']?([^\s"';&|]+)`)
	// userinfo matches a URL with a password in it.
	userinfo = pattern.Lazy(`[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s:@"']*:([^/\s@"']+)@`)
	// header matches what HTTP calls credentials.
	header = pattern.Lazy(`(?i)authorization:\s*(?:bearer|basic|token)\s+([^\s"']+)`)
)

// named says whether a name is that of a secret, and not of a file that has it.
func named(name string) bool { return secretName().MatchString(name) && !isPath().MatchString(name) }

// isValue says whether a text is something to hide: what a shell fills in, a path or
// another option is not.
func isValue(text string) bool {
	return text != "" && !strings.ContainsAny(text[:1], "$/-{<") && text != "***"
}

// secretIn says whether a text has a secret in it that can be known as one.
func secretIn(text string, shell bool) bool {
	for _, m := range userinfo().FindAllStringSubmatch(text, -1) {
		if isValue(m[1]) {
			return true
		}
	}
	if m := header().FindStringSubmatch(text); m != nil && isValue(m[1]) {
		return true
	}
	for _, m := range assigned().FindAllStringSubmatch(text, -1) {
		behind := m[2] != "=" // then it must look like an option
		if named(m[1]) && isValue(m[3]) && (!behind || shell && strings.HasPrefix(m[1], "--")) {
			return true
		}
	}
	return false
}

// exposed warns of secrets in what is started.
func (c *check) exposed() {
	words := func(list *kind.Node, path string, inShell bool) {
		if list == nil {
			return
		}
		items := list.Items
		if list.Shape == kind.Scalar {
			items = []*kind.Node{list}
		}
		for i, n := range items {
			after := i > 0 && strings.HasPrefix(items[i-1].Value, "--") && named(items[i-1].Value) && isValue(n.Value)
			at := path
			if list.Shape != kind.Scalar {
				at = fmt.Sprintf("%s[%d]", path, i)
			}
			c.exposedIn(n, at, after || secretIn(n.Value, inShell))
		}
	}
	for _, key := range []string{"command", "shell"} {
		if e := c.node.Get(key); e != nil {
			words(e.Value, c.path+"."+key, key == "shell")
		}
	}
	if e := c.node.Get("stop"); e != nil {
		if e := e.Value.Get("command"); e != nil {
			words(e.Value, c.path+".stop.command", false)
		}
	}
}

// exposedIn never says what the secret is.
func (c *check) exposedIn(n *kind.Node, path string, looks bool) {
	from := slices.DeleteFunc(slices.Clone(n.From), func(name string) bool { return !named(name) })
	if !looks && len(from) == 0 {
		return
	}
	what := "this looks like a secret"
	if len(from) > 0 {
		what = "the value of ${" + strings.Join(from, "} and ${") + "} looks like a secret"
	}
	c.l.warnings.Add(n, path, "%s: every user of this host can read the arguments of a command", what).Hint = "give it in env or env_file, or in a file that the program reads"
}
