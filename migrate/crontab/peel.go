package crontab

import (
	"slices"
	"strings"

	"qsuper/internal/pattern"
	"qsuper/migrate"
)

// task is a command with what stands around it taken off, as far as qsuper has a
// key for it.
type task struct {
	text   string // what is left
	dir    string
	user   string
	logs   string // "none", or a file
	lock   string // of flock -n
	nested bool   // flock -c: a command of its own
}

var (
	quiet    = pattern.Lazy(`\s*(?:1?>>?\s*/dev/null\s+2>(?:&1|>?\s*/dev/null)|&>>?\s*/dev/null|2>\s*/dev/null\s+1?>\s*/dev/null)\s*$`)
	intoFile = pattern.Lazy(`^([^>]*[^>\s])\s+1?>>?\s*([^\s|;&<>'"$` + "`" + `]+)\s+2>&1\s*$`)
	changeTo = pattern.Lazy(`^cd\s+([^\s|;&<>'"$*?~` + "`" + `]+)\s*&&\s*(.*)$`)
	lockOf   = pattern.Lazy(`^(?:\S*/)?flock\s+((?:-[a-zA-Z]+\s+|--[a-z-]+\s+)*)([^\s|;&<>'"$` + "`" + `-][^\s|;&<>'"$` + "`" + `]*)\s+(.*)$`)
	asUser   = pattern.Lazy(`^(?:\S*/)?sudo\s+(?:-n\s+)?(?:-u|--user[= ])\s*([A-Za-z_][A-Za-z0-9_-]*)\s+([^-].*)$`)
)

// peel takes off redirections, cd, flock -n and sudo -u. full = false leaves the
// text as it is but for cd.
func peel(text string, full bool) task {
	t := task{text: strings.TrimSpace(text)}
	if full {
		if at := quiet().FindStringIndex(t.text); at != nil && !hasOperators(t.text[:at[0]]) {
			t.text, t.logs = t.text[:at[0]], "none"
		} else if m := intoFile().FindStringSubmatch(t.text); m != nil && !hasOperators(m[1]) {
			t.text, t.logs = m[1], m[2]
		}
	}
	if m := changeTo().FindStringSubmatch(t.text); m != nil && strings.HasPrefix(m[1], "/") && !strings.Contains(m[2], "||") {
		t.dir, t.text = m[1], m[2]
	}
	if !full || hasOperators(t.text) {
		return t
	}
	if m := lockOf().FindStringSubmatch(t.text); m != nil && isTry(m[1]) {
		t.lock, t.text = m[2], m[3]
		if inner, ok := strings.CutPrefix(t.text, "-c "); ok {
			if words, err := migrate.Words(inner); err == nil && len(words) == 1 {
				t.text, t.nested = words[0], true
			}
		}
	}
	if m := asUser().FindStringSubmatch(t.text); m != nil {
		t.user, t.text = m[1], m[2]
	}
	return t
}

// isTry reports whether the flags of flock say that it does not wait, and nothing
// that qsuper would lose.
func isTry(flags string) bool {
	try := false
	for _, f := range strings.Fields(flags) {
		switch {
		case f == "--nonblock" || f == "--nb":
			try = true
		case f == "--exclusive" || f == "--close":
		case !strings.HasPrefix(f, "--") && strings.Trim(f, "-nxeo") == "":
			try = try || strings.Contains(f, "n")
		default:
			return false
		}
	}
	return try
}

// hasOperators reports whether a shell would see more than one command: outside of quotes.
func hasOperators(text string) bool {
	quote := rune(0)
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case strings.ContainsRune("|;&<>()\n", r):
			return true
		}
	}
	return false
}

// Words that only a shell knows.
var builtins = []string{".", ":", "[", "alias", "bg", "cd", "command", "eval", "exec", "exit", "export", "for", "if", "read", "set", "source", "test", "time", "trap", "ulimit", "umask", "unset", "until", "wait", "while", "{", "!", "case", "type", "true", "false", "echo", "printf"}

// argv is the command as a list of words, when no shell is needed for it.
func argv(text string) ([]string, bool) {
	quote := rune(0)
	for _, r := range text {
		switch {
		case quote == '\'':
			if r == '\'' {
				quote = 0
			}
		case strings.ContainsRune("$`\\!", r), quote == 0 && strings.ContainsRune("|&;<>()*?[]#~{}\n", r):
			return nil, false
		case quote == '"':
			if r == '"' {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		}
	}
	words, err := migrate.Words(text)
	if err != nil || len(words) == 0 || strings.Contains(words[0], "=") || slices.Contains(builtins, words[0]) {
		return nil, false
	}
	return words, true
}
