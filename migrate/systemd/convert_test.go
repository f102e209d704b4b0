package systemd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"qsuper/migrate"
	"qsuper/migrate/migratetest"
)

// TestConvert: each unit in both modes, with its report. What is written loads,
// and starts what the unit says.
func TestConvert(t *testing.T) {
	for _, file := range migratetest.Corpus(t, "testdata/units/*.service", "systemd") {
		for _, mode := range []migrate.Mode{migrate.Modern, migrate.Compat} {
			name := strings.TrimSuffix(filepath.Base(file), ".service") + "." + string(mode)
			t.Run(name, func(t *testing.T) {
				u, err := Read(file)
				if err != nil {
					t.Fatal(err)
				}
				r := Convert([]*Unit{u}, Options{Mode: mode})
				migratetest.Same(t, r, os.LookupEnv)
				if migratetest.Own(file) {
					migratetest.Golden(t, name, migratetest.Text(r))
				} else {
					t.Logf("exit %d: %s", r.Report.Code(), r.Report.Summary())
				}
			})
		}
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		`a  b`: {"a", "b"}, `"a b" 'c "d"' e'f g'h`: {"a b", `c "d"`, "ef gh"}, `\x41 \101 \u00e9 \s \n`: {"A", "A", "é", " ", "\n"},
		`""`: {""}, ``: nil, `\q`: {`\q`}, `"a\"b"`: {`a"b`},
	} {
		got, err := words(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("words(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{`"open`, `end\`} {
		if got, err := words(text); err == nil {
			t.Errorf("words(%q) = %q", text, got)
		}
	}
}

func TestSpan(t *testing.T) {
	for text, want := range map[string]float64{"90": 90, "5min 20s": 320, "1h30m": 5400, "500ms": 0.5, "2 days": 172800} {
		if got, infinite, err := span(text); err != nil || infinite || got != want {
			t.Errorf("span(%q) = %v, %v, %v; want %v", text, got, infinite, err, want)
		}
	}
	if _, infinite, err := span("infinity"); err != nil || !infinite {
		t.Error("infinity is not infinite")
	}
	for _, text := range []string{"", "x", "5 parsecs", "1.2.3s"} {
		if got, _, err := span(text); err == nil {
			t.Errorf("span(%q) = %v", text, got)
		}
	}
}

// TestNumbers: instances that are 1 to N are slots, others are consumers.
func TestNumbers(t *testing.T) {
	for text, want := range map[string]int{"1": 1, "2,1,3": 3, "10,1,2,3,4,5,6,7,8,9": 10, "1,3": 0, "0,1": 0, "a": 0, "01": 0} {
		if got := numbers(strings.Split(text, ",")); got != want {
			t.Errorf("numbers(%s) = %d, want %d", text, got, want)
		}
	}
}
