package health

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// longest is how many bytes of an error text are kept.
const longest = 400

// redact makes an error text fit to be shown: the secrets of conn are replaced
// by ***, control characters by spaces, and what is very long is cut. conn may
// be nil.
func redact(conn Conn, text string) string {
	if s, ok := conn.(Secretive); ok {
		return Redact(s.Secrets(), text)
	}
	return Redact(nil, text)
}

// Redact is what is done to every error of a connection, for those of others that
// use its secrets.
func Redact(secrets []string, text string) string {
	text = hide(text, secrets)
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSpace(text), "?"))
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return text
}

// hide replaces each secret, as it is and in the encodings that URLs, Go and
// JSON would show it in.
func hide(text string, secrets []string) string {
	var forms []string
	for _, s := range secrets {
		if s == "" {
			continue
		}
		for _, form := range []string{
			s, url.QueryEscape(s), url.PathEscape(s), url.UserPassword("", s).String()[1:], unquote(strconv.Quote(s)), unquote(strconv.QuoteToASCII(s)),
		} {
			forms = append(forms, form, lowerHex(form))
		}
	}
	// The longest first: a part of a secret may be a secret too.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	for _, form := range forms {
		text = hideForm(text, form)
	}
	return text
}

// shortest is from how many bytes on a secret is hidden within words as well: a
// shorter one is part of too many that say what is wrong.
const shortest = 4

func hideForm(text, form string) string {
	if len(form) >= shortest {
		return strings.ReplaceAll(text, form, "***")
	}
	var b strings.Builder
	for rest := text; ; {
		i := strings.Index(rest, form)
		if i < 0 {
			return b.String() + rest
		}
		before, _ := utf8.DecodeLastRuneInString(rest[:i])
		if i == 0 {
			before, _ = utf8.DecodeLastRuneInString(b.String())
		}
		after, _ := utf8.DecodeRuneInString(rest[i+len(form):])
		b.WriteString(rest[:i])
		if inWord(before) || inWord(after) {
			b.WriteString(form)
		} else {
			b.WriteString("***")
		}
		rest = rest[i+len(form):]
	}
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

func unquote(s string) string { return s[1 : len(s)-1] }

// lowerHex writes %2F as %2f.
func lowerHex(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}
