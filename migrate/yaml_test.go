package migrate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// TestScalar: whatever is written reads back, alone and in a list.
func TestScalar(t *testing.T) {
	for _, text := range []string{"", "plain", "a b", "a,b", "null", "~", "true", "Yes", "007", "1:30", "0x1f", "-", "--", "-v", "--a=b", "a:", ":a", "a: b", "a #b", "#", "@x", "`x`", "%h", "{x}", "[x]",
		"it's", `say "hi"`, `both ' and "`, `back\slash`, "tab\there", "line\nbreak", "é", "\u2028", "\x01", "*a", "&a", "!a", "|", ">", "?", "? x", "=", "<<", "a=b", "100%", "$x", "${x}", "...", "---", "1e3", "1_000", ".5", "+1"} {
		text = strings.NewReplacer("\\t", "\t", "\\n", "\n").Replace(text)
		var got struct {
			Alone, Key string
			List       []string
			Map        map[string]string
		}
		doc := "alone: " + Scalar(text) + "\nlist: [" + Scalar(text) + ", x]\nmap: {" + Scalar(text) + ": " + Scalar(text) + "}\n"
		if err := yaml.Unmarshal([]byte(doc), &got); err != nil {
			t.Errorf("%q: %v in\n%s", text, err, doc)
			continue
		}
		if got.Alone != text || len(got.List) != 2 || got.List[0] != text || got.Map[text] != text {
			t.Errorf("%q became %q in\n%s", text, got, doc)
		}
	}
}

func TestDollars(t *testing.T) {
	for text, want := range map[string]string{"$": "$", "$x": "$x", "$$": "$$$", "${x}": "$${x}", "$${x}": "$$$${x}", "a$": "a$", "$$$": "$$$$$"} {
		if got := Dollars(text); got != want {
			t.Errorf("Dollars(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestDollarsReadBack: what Dollars writes is the text itself once it is loaded.
func TestDollarsReadBack(t *testing.T) {
	for _, text := range []string{"$", "$x", "$$", "${x}", "$${x}", "$$${", "a$b${c}$$d", "{slot}", "${slot}", "$${slot}"} {
		body := NewMap()
		body.Set("command", Literals([]string{"/bin/x", text}))
		doc := Document{Consumers: []Entry{{Name: "a", Body: body}}}
		found, err := Verify(doc.Bytes(), []Instance{{Name: "a", Consumer: "a", Argv: []string{"/bin/x", text}}}, nil, func(string) (string, bool) { return "", false })
		if err != nil || len(found) > 0 {
			t.Errorf("%q: %v, %v", text, found, err)
		}
	}
}

func TestDuration(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0s", 1: "1s", 0.1: "100ms", 60: "60s", 120: "2m", 90: "90s", 3600: "60m", 7200: "2h", 1.5: "1500ms"} {
		if got := Duration(seconds); got != want {
			t.Errorf("Duration(%v) = %s, want %s", seconds, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{`a "b c" 'd e'`: {"a", "b c", "d e"}, `a\ b "x\"y" '' "\n"`: {"a b", `x"y`, "", `\n`}, " \t": nil} {
		got, err := Words(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", text, err, diff)
		}
	}
	for _, text := range []string{`"a`, `'a`, `a\`} {
		if got, err := Words(text); err == nil {
			t.Errorf("Words(%q) = %q", text, got)
		}
	}
}
