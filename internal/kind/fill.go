package kind

import (
	"fmt"
	"strings"

	"qsuper/internal/pattern"
)

var variable = pattern.Lazy(`^([A-Za-z_][A-Za-z0-9_]*)(:-([\s\S]*))?$`)

// fill replaces ${VAR} and ${VAR:-default} in text; $$ is a literal $. As in the
// shell, the default also stands in for a variable that is set but empty. A $
// before anything else is left alone. from names the variables that were used.
func fill(text string, lookup func(string) (string, bool)) (out string, from, problems []string) {
	if !strings.Contains(text, "$") {
		return text, nil, nil
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String(), from, problems
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			text = rest[1:]
			continue
		case !strings.HasPrefix(rest, "{"):
			b.WriteByte('$')
			text = rest
			continue
		}
		expression, after, closed := strings.Cut(rest[1:], "}")
		m := variable().FindStringSubmatch(expression)
		if !closed || m == nil {
			problems = append(problems, "${ does not start ${VAR} or ${VAR:-default}; write $${ for a literal ${")
			return text, from, problems // looking on for each ${ would be quadratic
		}
		value, set := lookup(m[1])
		switch {
		case m[2] != "" && value == "":
			value = m[3]
		case !set:
			problems = append(problems, fmt.Sprintf("environment variable %s is not set; set it or write ${%s:-default}", m[1], m[1]))
		default:
			from = append(from, m[1])
		}
		b.WriteString(value)
		text = after
	}
}
