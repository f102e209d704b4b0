package magento

import (
	"fmt"
	"strconv"
	"strings"
)

// plain reads a PHP file that returns one array of plain values: strings
// without variables in them, numbers, true, false, null, arrays in both
// spellings, comments. Anything else is an error with its line. A listing that
// starts within the array, as documentation has them, is read as well.
//
// Arrays become map[string]any; keys that are not written count from 0.
func plain(text string) (map[string]any, error) {
	p := &php{text: text, line: 1}
	p.skip()
	if p.take("<?php") {
		p.skip()
	}
	if strings.HasPrefix(p.rest(), "declare") {
		if end := strings.IndexByte(p.rest(), ';'); end > 0 {
			p.advance(end + 1)
			p.skip()
		}
	}
	if !p.word("return") {
		p.listing = true
		return p.entries("")
	}
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("line %d: the file returns no array", p.line)
	}
	return m, nil
}

type php struct {
	text    string
	at      int
	line    int
	depth   int
	listing bool
}

func (p *php) rest() string { return p.text[p.at:] }

func (p *php) advance(n int) {
	p.line += strings.Count(p.text[p.at:p.at+n], "\n")
	p.at += n
}

// skip passes blanks and comments.
func (p *php) skip() {
	for p.at < len(p.text) {
		rest := p.rest()
		switch {
		case strings.ContainsRune(" \t\r\n", rune(rest[0])):
			p.advance(1)
		case p.listing && strings.HasPrefix(rest, "..."):
			p.advance(3)
		case strings.HasPrefix(rest, "//"), rest[0] == '#':
			p.advance(len(rest[:lineEnd(rest)]))
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest, "*/")
			if end < 0 {
				p.advance(len(rest))
				return
			}
			p.advance(end + 2)
		default:
			return
		}
	}
}

func lineEnd(text string) int {
	if at := strings.IndexByte(text, '\n'); at >= 0 {
		return at
	}
	return len(text)
}

func (p *php) take(token string) bool {
	if !strings.HasPrefix(p.rest(), token) {
		return false
	}
	p.advance(len(token))
	return true
}

// word takes a keyword, in any case.
func (p *php) word(name string) bool {
	rest := p.rest()
	if len(rest) < len(name) || !strings.EqualFold(rest[:len(name)], name) {
		return false
	}
	if len(rest) > len(name) {
		if c := rest[len(name)]; c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
			return false
		}
	}
	p.advance(len(name))
	p.skip()
	return true
}

func (p *php) wrong() error {
	rest := p.rest()
	return fmt.Errorf("line %d: %q is no plain value; install php, which can read it", p.line, rest[:min(len(rest), 20, lineEnd(rest))])
}

const maxDepth = 100

func (p *php) value() (any, error) {
	p.skip()
	rest := p.rest()
	if rest == "" {
		return nil, fmt.Errorf("line %d: the file ends in the middle of an array", p.line)
	}
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("line %d: arrays are nested too deeply", p.line)
	}
	defer func() { p.depth-- }()
	switch {
	case rest[0] == '[':
		p.advance(1)
		return p.entries("]")
	case p.word("array"):
		if !p.take("(") {
			return nil, p.wrong()
		}
		return p.entries(")")
	case rest[0] == '\'' || rest[0] == '"':
		return p.text1()
	case p.word("true"):
		return true, nil
	case p.word("false"):
		return false, nil
	case p.word("null"):
		return nil, nil
	}
	n := len(rest) - len(strings.TrimLeft(rest, "+-.0123456789"))
	if i, err := strconv.ParseInt(rest[:n], 10, 64); err == nil && n > 0 {
		p.advance(n)
		return i, nil
	}
	if f, err := strconv.ParseFloat(rest[:n], 64); err == nil {
		p.advance(n)
		return f, nil
	}
	return nil, p.wrong()
}

// text1 reads one string.
func (p *php) text1() (any, error) {
	quote, rest := p.rest()[0], p.rest()
	var b strings.Builder
	for i := 1; i < len(rest); i++ {
		c := rest[i]
		switch {
		case c == quote:
			p.advance(i + 1)
			return b.String(), nil
		case quote == '"' && c == '$':
			return nil, fmt.Errorf("line %d: a variable stands in a string; install php, which can read it", p.line)
		case c == '\\' && i+1 < len(rest):
			i++
			out, ok := map[byte]string{'\\': `\`, quote: string(quote)}[rest[i]]
			if quote == '"' && !ok {
				out, ok = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '$': "$"}[rest[i]]
			}
			if !ok {
				out = `\` + rest[i:i+1]
			}
			b.WriteString(out)
		default:
			b.WriteByte(c)
		}
	}
	return nil, fmt.Errorf("line %d: a string is not closed", p.line)
}

// entries reads the inside of an array up to end; "" = the end of the text.
func (p *php) entries(end string) (map[string]any, error) {
	m := map[string]any{}
	next := int64(0)
	for {
		p.skip()
		if end == "" && p.at == len(p.text) || end != "" && p.take(end) {
			return m, nil
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		p.skip()
		key := strconv.FormatInt(next, 10)
		if p.take("=>") {
			key = fmt.Sprint(v)
			if v, err = p.value(); err != nil {
				return nil, err
			}
			if n, err := strconv.ParseInt(key, 10, 64); err == nil && n >= next {
				next = n + 1
			}
		} else {
			next++
		}
		m[key] = v
		p.skip()
		if !p.take(",") && !(end == "" && p.at == len(p.text)) && !strings.HasPrefix(p.rest(), end+"") {
			return nil, p.wrong()
		}
	}
}
