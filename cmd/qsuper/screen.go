package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"

	"qsuper/internal/pattern"
)

// screen is standard output and what it can show.
type screen struct {
	io.Writer
	stderr io.Writer
	width  int  // columns; 0 = as wide as it takes, because no person reads along
	height int  // rows; 0 = not a terminal
	live   bool // a terminal whose lines can be redrawn
	colour bool
	ascii  bool // the locale is not UTF-8
	json   bool
}

func (a *app) screen() *screen {
	s := &screen{Writer: a.stdout, stderr: a.stderr, json: a.json, ascii: !isUTF8(a.getenv)}
	if f, ok := a.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.live = a.getenv("TERM") != "dumb"
		s.measure()
	}
	s.colour = a.color == "always" || a.color == "auto" && s.live && a.getenv("NO_COLOR") == ""
	return s
}

// measure asks the terminal for its size, which may change at any time.
func (s *screen) measure() {
	if f, ok := s.Writer.(*os.File); ok {
		width, height, err := term.GetSize(int(f.Fd()))
		if err != nil || width == 0 || height == 0 {
			width, height = 80, 24
		}
		s.width, s.height = width, height
	}
}

// to is the same screen, writing elsewhere.
func (s *screen) to(w *bytes.Buffer) *screen {
	c := *s
	c.Writer = w
	return &c
}

func (s *screen) printf(format string, args ...any) { fmt.Fprintf(s, format, args...) }

// isUTF8 follows the order of locale(7).
func isUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// style is an SGR parameter; "" = none.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

func (s *screen) paint(st style, text string) string {
	if !s.colour || st == plain || text == "" {
		return text
	}
	return "\x1b[" + string(st) + "m" + text + "\x1b[0m"
}

// sign picks the ASCII stand-in when the locale cannot show the character.
func (s *screen) sign(character, ascii string) string {
	if s.ascii {
		return ascii
	}
	return character
}

func (s *screen) dot() string { return s.sign("·", "-") }

// cut shortens text to width columns; what was cut off shows as an ellipsis.
func (s *screen) cut(text string, width int) string {
	if width <= 0 || runewidth.StringWidth(text) <= width {
		return text
	}
	return runewidth.Truncate(text, width, s.sign("…", "~"))
}

// line prints one line that may be cut to the screen's width.
func (s *screen) line(st style, text string) {
	s.printf("%s\n", s.paint(st, s.cut(text, s.width)))
}

// escape makes text from elsewhere harmless for a terminal: what is not
// printable, or would reorder the line, is written as an escape sequence of Go.
// Characters in keep stay.
func escape(text, keep string) string {
	harmless := func(r rune) bool {
		return unicode.IsPrint(r) || strings.ContainsRune(keep, r) || r == '\u200d' // joins emoji
	}
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !harmless(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case harmless(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += n
	}
	return b.String()
}

// sgr is a colour or a font (ECMA-48, SGR): the one sequence of consumers that
// reaches a terminal. It can move, answer and overwrite nothing.
var sgr = pattern.Lazy("\x1b\\[[0-9;:]*m")

// printed is escape for what consumers print: tabs stay, colours too on a screen
// that has them, up to the end of the line.
func printed(text string, colour bool) string {
	places := sgr().FindAllStringIndex(text, -1)
	if places == nil {
		return escape(text, "\t")
	}
	var b strings.Builder
	at := 0
	for _, p := range places {
		b.WriteString(escape(text[at:p[0]], "\t"))
		if colour {
			b.WriteString(text[p[0]:p[1]])
		}
		at = p[1]
	}
	b.WriteString(escape(text[at:], "\t"))
	if colour {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// oneLine is escape for a cell or a banner: line ends become spaces.
func oneLine(text string) string {
	return escape(strings.Join(strings.Fields(text), " "), "")
}
