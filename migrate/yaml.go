package migrate

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"qsuper/internal/pattern"
)

// Map is a YAML map that keeps the order of its keys. Values are strings, Raw,
// int, bool, []string, *Map.
type Map struct{ entries []entry }

// Raw is YAML text, written as it is.
type Raw string

type entry struct {
	key     string
	value   any
	comment string
}

// NewMap makes an empty map.
func NewMap() *Map { return &Map{} }

// Set appends a key, or replaces its value.
func (m *Map) Set(key string, value any) *Map {
	for i := range m.entries {
		if m.entries[i].key == key {
			m.entries[i].value = value
			return m
		}
	}
	m.entries = append(m.entries, entry{key: key, value: value})
	return m
}

// Comment puts a comment behind a key that was set.
func (m *Map) Comment(key, text string) {
	for i := range m.entries {
		if m.entries[i].key == key {
			m.entries[i].comment = text
		}
	}
}

// Get returns the value of a key, or nil.
func (m *Map) Get(key string) any {
	for _, e := range m.entries {
		if e.key == key {
			return e.value
		}
	}
	return nil
}

// Len is the number of keys.
func (m *Map) Len() int { return len(m.entries) }

// flowWidth is how long a map may be to stand on one line.
const flowWidth = 90

// write renders the map as lines with an indent.
func (m *Map) write(b *strings.Builder, indent string) {
	for _, e := range m.entries {
		line := indent + Scalar(e.key) + ":"
		comment := ""
		if e.comment != "" {
			comment = "  # " + oneLine(e.comment)
		}
		if nested, ok := e.value.(*Map); ok {
			if flow := nested.flow(); len(indent)+len(e.key)+len(flow) > flowWidth || nested.deep() {
				b.WriteString(line + comment + "\n")
				nested.write(b, indent+"  ")
				continue
			}
		}
		b.WriteString(line + " " + render(e.value) + comment + "\n")
	}
}

// deep reports whether a value of the map is a map with more than scalars.
func (m *Map) deep() bool {
	for _, e := range m.entries {
		if nested, ok := e.value.(*Map); ok && nested.Len() > 0 || e.comment != "" {
			return true
		}
	}
	return false
}

func (m *Map) flow() string {
	parts := make([]string, 0, len(m.entries))
	for _, e := range m.entries {
		parts = append(parts, Scalar(e.key)+": "+render(e.value))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func render(value any) string {
	switch v := value.(type) {
	case Raw:
		return string(v)
	case string:
		return Scalar(v)
	case []string:
		words := make([]string, len(v))
		for i, w := range v {
			words[i] = Scalar(w)
		}
		return "[" + strings.Join(words, ", ") + "]"
	case []int:
		words := make([]string, len(v))
		for i, n := range v {
			words[i] = strconv.Itoa(n)
		}
		return "[" + strings.Join(words, ", ") + "]"
	case *Map:
		return v.flow()
	}
	return fmt.Sprint(value)
}

var (
	// What may stand without quotes anywhere, also within [ ] and { }.
	plainScalar = pattern.Lazy(`^(?:[A-Za-z0-9_./+\\]|-[A-Za-z0-9-])[A-Za-z0-9_./:@%+=\\-]*$`)
	// What a reader could take for something else than text.
	notText = pattern.Lazy(`^(?i:null|true|false|yes|no|on|off|y|n|-*|\.+|[0-9_.+-]*:.*|0[0-9xob].*|.*:)$`)
)

// Scalar writes text as a YAML scalar, with quotes where they are needed.
func Scalar(text string) string {
	switch {
	case plainScalar().MatchString(text) && !notText().MatchString(text):
		return text
	case strings.ContainsAny(text, `"\`) && !strings.ContainsFunc(text, func(r rune) bool { return r == '\'' || !unicode.IsPrint(r) }):
		return "'" + text + "'"
	}
	return strconv.Quote(text)
}

// oneLine makes text fit for a comment.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// Duration writes seconds as qsuper reads them: 90s, 5m, 2h, 100ms.
func Duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if d%u.unit == 0 && (d >= 2*u.unit || d == u.unit && u.unit < time.Minute || u.unit == time.Second) {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}
