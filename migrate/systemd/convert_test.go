package systemd

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"qsuper/migrate"
)

var update = flag.Bool("update", false, "write the files in testdata/golden")

// corpus lists the units to try: the project's own, and those of the directory
// in QSUPER_CORPUS, which has a folder `systemd` with units of other people.
func corpus(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/units/*.service")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata/units: %v", err)
	}
	if dir := os.Getenv("QSUPER_CORPUS"); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "systemd", "*.conf"))
		if err != nil || len(more) == 0 {
			t.Fatalf("no files in %s/systemd: %v", dir, err)
		}
		files = append(files, more...)
	}
	return files
}

// TestConvert: each unit in both modes, with its report. What is written loads,
// and starts what the unit says.
func TestConvert(t *testing.T) {
	for _, file := range corpus(t) {
		for _, mode := range []migrate.Mode{migrate.Modern, migrate.Compat} {
			name := strings.TrimSuffix(filepath.Base(file), ".service") + "." + string(mode)
			t.Run(name, func(t *testing.T) {
				u, err := Read(file)
				if err != nil {
					t.Fatal(err)
				}
				r := Convert([]*Unit{u}, Options{Mode: mode})
				text := r.Document.Bytes()
				found, err := migrate.Verify(text, r.Expected, r.Report.Items, os.LookupEnv)
				if err != nil {
					t.Errorf("%v in\n%s", err, text)
				}
				for _, d := range found {
					if !d.Known {
						t.Error(d)
					}
				}
				if !strings.HasPrefix(file, "testdata") {
					t.Logf("exit %d: %s", r.Report.Code(), r.Report.Summary())
					return
				}
				var got strings.Builder
				fmt.Fprintf(&got, "%s\n", text)
				for _, i := range r.Report.Items {
					fmt.Fprintln(&got, i)
				}
				fmt.Fprintf(&got, "%s: exit %d\n", r.Report.Summary(), r.Report.Code())
				golden(t, filepath.Join("testdata", "golden", name+".txt"), got.String())
			})
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", path, diff)
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
