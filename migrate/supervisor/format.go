package supervisor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"qsuper/internal/pattern"
)

// value is what a name in %(name)s stands for: text, or a number. A symbol stands
// for a number or text that qsuper fills in itself, later.
type value struct {
	text   string
	number int64
	isInt  bool
	symbol string // one of the sym… constants, or symEnv and a name; "" = none
}

// The symbols.
const (
	symSlot      = "s" // slot, from 0
	symSlot1     = "o" // slot, from 1
	symInstances = "n"
	symEnv       = "e" // with the name of the variable behind it
)

// errInexpressible says that a number is written in a way that qsuper's
// placeholders do not have. It is no mistake in the file.
var errInexpressible = errors.New("qsuper has no placeholder for this")

// errOdd refuses what would fill the memory, and Python's own way of writing text.
var errOdd = errors.New("such a conversion is not looked at; write %(name)s")

const maxWidth = 4096

// A mark holds the place of a symbol. It is made of letters and digits only, so
// that it goes through every kind of splitting as one word.
var markPattern = pattern.Lazy(`zQx(?:([son])([0-9])|e([A-Za-z_][A-Za-z0-9_]*?))xQz`)

func mark(symbol string, width int) string {
	if strings.HasPrefix(symbol, symEnv) {
		return "zQx" + symbol + "xQz"
	}
	return "zQx" + symbol + strconv.Itoa(width) + "xQz"
}

// A conversion of Python's % operator: flags, width, precision.
var conversion = pattern.Lazy(`^([-#0 +]*)([0-9]*)(?:\.([0-9]*))?[hlL]?(.)`)

// format is text % values of Python, for values with names.
func format(text string, values map[string]value) (string, error) {
	if !strings.Contains(text, "%") {
		return text, nil
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "%")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, named, rest, err := key(rest)
		if err != nil {
			return "", err
		}
		m := conversion().FindStringSubmatch(rest)
		if m == nil {
			return "", errors.New("a % at the end says nothing; write %%")
		}
		text = rest[len(m[0]):]
		v, known := values[name]
		switch {
		case !named && m[0] == "%":
			b.WriteByte('%')
			continue
		case named && !known:
			return "", fmt.Errorf("%%(%s) is not known; a variable of the environment is written %%(ENV_%s)s and must be set", name, strings.TrimPrefix(name, "ENV_"))
		case !named:
			return "", fmt.Errorf("%%%s stands for nothing; write %%%% for a plain %%", m[4])
		}
		out, err := convert(v, m[1], m[2], m[3], strings.Contains(m[0][:len(m[0])-len(m[4])], "."), m[4])
		if err != nil {
			return "", err
		}
		b.WriteString(out)
	}
}

// key reads (name) in front of a conversion; parentheses may be nested.
func key(text string) (name string, named bool, rest string, err error) {
	if !strings.HasPrefix(text, "(") {
		return "", false, text, nil
	}
	depth := 0
	for i, r := range text {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			return text[1:i], true, text[i+1:], nil
		}
	}
	return "", false, "", errors.New("%( has no )")
}

// convert writes one value.
func convert(v value, flags, width, precision string, precise bool, verb string) (string, error) {
	w, err := strconv.Atoi(width)
	if width != "" && err != nil || w > maxWidth || len(precision) > 3 {
		return "", errOdd
	}
	if v.symbol != "" {
		return symbolic(v, flags, w, width, precise, verb)
	}
	var body string
	numeric := false
	switch {
	case strings.Contains("diuxXo", verb) && v.isInt:
		body, numeric = integerText(v.number, flags, precision, precise, verb), true
	case strings.Contains("eEfFgG", verb) && v.isInt && !strings.Contains(flags, "#"):
		p := 6
		if precise {
			p, _ = strconv.Atoi(precision)
		}
		body, numeric = sign(strconv.FormatFloat(float64(v.number), verb[0], p, 64), flags), true
		if verb == "F" {
			body = sign(strconv.FormatFloat(float64(v.number), 'f', p, 64), flags)
		}
	case verb == "s":
		body = v.text
		if v.isInt {
			body = strconv.FormatInt(v.number, 10)
		}
		if limit, _ := strconv.Atoi(precision); precise && utf8.RuneCountInString(body) > limit {
			body = string([]rune(body)[:limit])
		}
	case verb == "c" && v.isInt:
		body = string(rune(v.number))
	case verb == "c" && utf8.RuneCountInString(v.text) == 1:
		body = v.text
	case strings.Contains("ra", verb) || strings.Contains(flags, "#"):
		return "", errOdd
	default:
		return "", fmt.Errorf("%%%s does not fit its value", verb)
	}
	return pad(body, w, flags, numeric), nil
}

// symbolic writes a mark, where qsuper's placeholders can say the same.
func symbolic(v value, flags string, w int, width string, precise bool, verb string) (string, error) {
	switch {
	case precise || strings.Trim(flags, "0") != "":
		return "", errInexpressible
	case strings.HasPrefix(v.symbol, symEnv):
		if verb != "s" || width != "" {
			return "", errInexpressible
		}
		return mark(v.symbol, 0), nil
	case verb == "s" && w <= 1:
		return mark(v.symbol, 0), nil
	case !strings.Contains("diu", verb), w > 9, w > 1 && !strings.Contains(flags, "0"):
		return "", errInexpressible
	}
	return mark(v.symbol, w), nil
}

func integerText(n int64, flags, precision string, precise bool, verb string) string {
	base := map[string]int{"x": 16, "X": 16, "o": 8}[verb]
	if base == 0 {
		base = 10
	}
	digits := strings.TrimPrefix(strconv.FormatInt(n, base), "-")
	if p, _ := strconv.Atoi(precision); precise && len(digits) < p {
		digits = strings.Repeat("0", p-len(digits)) + digits
	}
	if strings.Contains(flags, "#") && base != 10 {
		digits = "0" + strings.ToLower(verb) + digits
	}
	if verb == "X" {
		digits = strings.ToUpper(digits)
	}
	if n < 0 {
		digits = "-" + digits
	}
	return sign(digits, flags)
}

func sign(digits, flags string) string {
	switch {
	case strings.HasPrefix(digits, "-"):
	case strings.Contains(flags, "+"):
		return "+" + digits
	case strings.Contains(flags, " "):
		return " " + digits
	}
	return digits
}

func pad(body string, width int, flags string, numeric bool) string {
	missing := width - utf8.RuneCountInString(body)
	switch {
	case missing <= 0:
		return body
	case strings.Contains(flags, "-"):
		return body + strings.Repeat(" ", missing)
	case strings.Contains(flags, "0") && numeric:
		head := len(body) - len(strings.TrimLeft(body, "+- "))
		if rest := body[head:]; len(rest) > 1 && rest[0] == '0' && strings.ContainsAny(rest[1:2], "xXo") {
			head += 2
		}
		return body[:head] + strings.Repeat("0", missing) + body[head:]
	}
	return strings.Repeat(" ", missing) + body
}
