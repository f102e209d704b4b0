package systemd

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"unicode/utf8"
)

// slotMark stands for %i of a template whose instances are numbers that qsuper
// counts itself.
const slotMark = "\x01"

// words splits as systemd does: blanks, '…' and "…" around whole words or parts
// of them, C escapes.
func words(text string) ([]string, error) {
	var all []string
	var b strings.Builder
	in, quote := false, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\':
			out, n, err := unescape(text[i:])
			if err != nil {
				return nil, err
			}
			b.WriteString(out)
			i += n - 1
			in = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, in = c, true
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			if in {
				all = append(all, b.String())
				b.Reset()
				in = false
			}
		default:
			b.WriteByte(c)
			in = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote is not closed")
	}
	if in {
		all = append(all, b.String())
	}
	return all, nil
}

var simple = map[byte]string{'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v", '\\': `\`, '"': `"`, '\'': "'", 's': " ", ';': ";"}

// unescape reads one C escape and says how long it is.
func unescape(text string) (string, int, error) {
	if len(text) < 2 {
		return "", 0, fmt.Errorf("a backslash stands at the end")
	}
	if out, ok := simple[text[1]]; ok {
		return out, 2, nil
	}
	for kind, size := range map[byte]int{'x': 2, 'u': 4, 'U': 8} {
		if text[1] == kind && len(text) >= 2+size {
			if n, err := strconv.ParseUint(text[2:2+size], 16, 32); err == nil && n > 0 && n <= utf8.MaxRune {
				return string(rune(n)), 2 + size, nil
			}
		}
	}
	if len(text) >= 4 {
		if n, err := strconv.ParseUint(text[1:4], 8, 8); err == nil && n > 0 {
			return string(rune(n)), 4, nil
		}
	}
	return text[:2], 2, nil // systemd warns and keeps it
}

// specifiers replaces %i and its like.
func (u *Unit) specifiers(text string) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "%")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if rest == "" {
			b.WriteByte('%')
			return b.String(), nil
		}
		out, err := u.specifier(rest[0])
		if err != nil {
			return "", err
		}
		b.WriteString(out)
		text = rest[1:]
	}
}

func (u *Unit) specifier(c byte) (string, error) {
	prefix := u.Name
	if u.Template != "" {
		prefix = u.Template
	}
	host, _ := os.Hostname()
	switch c {
	case '%':
		return "%", nil
	case 'i':
		return u.Instance, nil
	case 'I':
		return unescapeName(u.Instance), nil
	case 'n':
		return u.Name + ".service", nil
	case 'N':
		return u.Name, nil
	case 'p':
		return prefix, nil
	case 'P':
		return unescapeName(prefix), nil
	case 'j', 'J':
		return prefix[strings.LastIndexByte(prefix, '-')+1:], nil
	case 'H', 'q':
		return host, nil
	case 'l':
		short, _, _ := strings.Cut(host, ".")
		return short, nil
	case 'h', 's', 'u', 'U', 'g', 'G': // of the service manager, so of root
		return map[byte]string{'h': "/root", 's': "/bin/sh", 'u': "root", 'U': "0", 'g': "root", 'G': "0"}[c], nil
	case 't', 'S', 'C', 'L', 'E', 'T', 'V':
		return map[byte]string{'t': "/run", 'S': "/var/lib", 'C': "/var/cache", 'L': "/var/log", 'E': "/etc", 'T': "/tmp", 'V': "/var/tmp"}[c], nil
	}
	return "", fmt.Errorf("specifier %%%c is not known here; write what it stands for", c)
}

// unescapeName is systemd-escape --unescape.
func unescapeName(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '-':
			b.WriteByte('/')
		case text[i] == '\\' && i+3 < len(text) && text[i+1] == 'x':
			if n, err := strconv.ParseUint(text[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
			b.WriteByte('\\')
		default:
			b.WriteByte(text[i])
		}
	}
	return b.String()
}

// homeOf is the home of a user, "" when he is not known here.
func homeOf(name string) string {
	if name == "" {
		name = "root"
	}
	who, err := user.Lookup(name)
	if err != nil {
		return ""
	}
	return who.HomeDir
}

// span reads a time span such as 90, 5min 20s or infinity, in seconds;
// infinite is told apart.
func span(text string) (seconds float64, infinite bool, err error) {
	if text == "infinity" {
		return 0, true, nil
	}
	units := map[string]float64{"": 1, "s": 1, "sec": 1, "second": 1, "seconds": 1, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "usec": 1e-6, "m": 60, "min": 60, "minute": 60, "minutes": 60,
		"h": 3600, "hr": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400, "w": 604800, "week": 604800, "weeks": 604800}
	rest := strings.TrimSpace(text)
	if rest == "" {
		return 0, false, fmt.Errorf("%q is no time span", text)
	}
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789."))
		n, err := strconv.ParseFloat(rest[:digits], 64)
		if err != nil {
			return 0, false, fmt.Errorf("%q is no time span", text)
		}
		rest = strings.TrimLeft(rest[digits:], " ")
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		unit, ok := units[rest[:letters]]
		if !ok {
			return 0, false, fmt.Errorf("%q is no time span", text)
		}
		seconds += n * unit
		rest = strings.TrimLeft(rest[letters:], " ")
	}
	return seconds, false, nil
}
