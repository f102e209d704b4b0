package supervisor

import (
	"errors"
	"fmt"
	"strings"

	"qsuper/migrate"
)

// words splits a command as Supervisor does when it starts it.
func words(command string) ([]string, error) { return migrate.Words(command) }

// variable is one entry of an `environment` option, in its order.
type variable struct{ name, text string }

// environment reads KEY="value",KEY2=value2. Supervisor 4.2 does it with Python's
// shlex in its old mode, where an unquoted value ends at the first character
// that is none of letters, digits and _/.+-(): and what follows may be lost
// without a word. Whatever comes out is what its processes get.
func environment(text string) ([]variable, error) {
	tokens, err := tokens(text)
	if err != nil {
		return nil, err
	}
	var list []variable
	for i := 0; i < len(tokens); i += 4 {
		if i+2 >= len(tokens) || tokens[i+1] != "=" {
			return nil, errors.New("environment has to be KEY=\"value\",KEY2=\"value2\"; put values in double quotes")
		}
		list = append(list, variable{tokens[i], strings.Trim(tokens[i+2], `'"`)})
	}
	return list, nil
}

// meant is what somebody who writes an unquoted value most likely meant, to
// find out whether Supervisor understood something else.
func meant(text string) map[string]string {
	wish := map[string]string{}
	for _, part := range strings.Split(text, ",") {
		name, val, ok := strings.Cut(strip(part), "=")
		if ok && !strings.ContainsAny(val, `'"`) {
			wish[strip(name)] = strip(val)
		}
	}
	return wish
}

const wordCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.+-():"

// tokens splits like shlex.shlex(text), posix=False, with the characters that
// Supervisor adds.
func tokens(text string) ([]string, error) {
	l := lexer{input: []rune(text), state: ' '}
	var list []string
	for {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		if t == "" {
			return list, nil
		}
		list = append(list, t)
	}
}

type lexer struct {
	input    []rune
	at       int
	state    rune // ' ' between words, 'a' in one, a quote, 0 at the end
	pushback string
}

// next returns the next token, "" at the end.
func (l *lexer) next() (string, error) {
	if t := l.pushback; t != "" {
		l.pushback = ""
		return t, nil
	}
	var token strings.Builder
	for l.state != 0 {
		var r rune
		end := l.at >= len(l.input)
		if !end {
			r = l.input[l.at]
			l.at++
		}
		switch {
		case end && (l.state == '"' || l.state == '\''):
			return "", fmt.Errorf("environment: no closing quotation")
		case end:
			l.state = 0
		case l.state == '"' || l.state == '\'':
			token.WriteRune(r)
			if r == l.state {
				l.state = ' '
				return token.String(), nil
			}
		case strings.ContainsRune(" \t\r\n", r):
			if l.state == 'a' {
				l.state = ' '
				return token.String(), nil
			}
		case r == '#':
			for l.at < len(l.input) && l.input[l.at] != '\n' {
				l.at++
			}
			l.at++
		case strings.ContainsRune(wordCharacters, r):
			token.WriteRune(r)
			l.state = 'a'
		case r == '"' || r == '\'':
			token.WriteRune(r)
			if l.state == ' ' {
				l.state = r
			}
		case l.state == ' ':
			return string(r), nil
		default:
			l.pushback, l.state = string(r), ' '
			return token.String(), nil
		}
	}
	return token.String(), nil
}
