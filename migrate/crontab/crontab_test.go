package crontab

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"qsuper/migrate"
)

var update = flag.Bool("update", false, "write the files in testdata/golden")

// corpus lists the tables to try: the project's own, and those of the directory
// in QSUPER_CORPUS, which has a folder `crontab` with tables of other people.
func corpus(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/tables/*.crontab")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata/tables: %v", err)
	}
	if dir := os.Getenv("QSUPER_CORPUS"); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "crontab", "*.conf"))
		if err != nil || len(more) == 0 {
			t.Fatalf("no files in %s/crontab: %v", dir, err)
		}
		files = append(files, more...)
	}
	return files
}

// TestConvert: each table in both modes, with its report. What is written loads,
// and starts what the line says.
func TestConvert(t *testing.T) {
	for _, file := range corpus(t) {
		for _, mode := range []migrate.Mode{migrate.Modern, migrate.Compat} {
			name := strings.TrimSuffix(filepath.Base(file), ".crontab") + "." + string(mode)
			t.Run(name, func(t *testing.T) {
				table, err := Read(file, Guess, "")
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(file, "testdata") && !table.System {
					table.User = "root" // who has a home everywhere
				}
				r := Convert([]*Table{table}, mode)
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

// TestPercent follows crontab(5).
func TestPercent(t *testing.T) {
	for text, want := range map[string][2]string{
		`date +\%Y`: {"date +%Y", ""}, `cat%a%b`: {"cat", "a\nb"}, `cat%a\%b`: {"cat", "a%b"}, `x`: {"x", ""}, `cat%`: {"cat", ""}, `a\b`: {`a\b`, ""},
	} {
		command, input, has := percent(text)
		if command != want[0] || input != want[1] || has != (strings.Contains(strings.ReplaceAll(text, `\%`, ""), "%")) {
			t.Errorf("percent(%q) = %q, %q, %v; want %q", text, command, input, has, want)
		}
	}
}

func TestVariables(t *testing.T) {
	for line, want := range map[string]string{
		"A=b": "A|b", " A = b c ": "A|b c", `A="b c"`: "A|b c", `A='b'`: "A|b", `"A B"=c`: "A B|c", "A=": "A|", `A="b`: `A|"b`,
		"* * * * * A=b": "", "0 1 * * * x": "", "@daily A=1 x": "", "#A=b": "",
	} {
		got := ""
		if m := variable.FindStringSubmatch(line); m != nil {
			got = m[1] + m[2] + m[3] + "|" + unquote(m[4])
		}
		if got != want {
			t.Errorf("%q is %q, want %q", line, got, want)
		}
	}
}

// TestPeel: only what qsuper has a key for comes off, and never a part of
// something else.
func TestPeel(t *testing.T) {
	for text, want := range map[string]task{
		"cd /srv && ./run":                      {text: "./run", dir: "/srv"},
		"cd /srv && ./run || ./else":            {text: "cd /srv && ./run || ./else"},
		"cd srv && ./run":                       {text: "cd srv && ./run"},
		"cd $X && ./run":                        {text: "cd $X && ./run"},
		"./run >/dev/null 2>&1":                 {text: "./run", logs: "none"},
		"./run &> /dev/null":                    {text: "./run", logs: "none"},
		"./run 2>&1 >/dev/null":                 {text: "./run 2>&1 >/dev/null"},
		"./run > /dev/null":                     {text: "./run > /dev/null"},
		"./run >> /var/log/x 2>&1":              {text: "./run", logs: "/var/log/x"},
		"./a; ./b >> /var/log/x 2>&1":           {text: "./a; ./b >> /var/log/x 2>&1"},
		"./run >> /var/log/x-$(date) 2>&1":      {text: "./run >> /var/log/x-$(date) 2>&1"},
		"flock -n /l ./run":                     {text: "./run", lock: "/l"},
		"flock -xn /l ./run":                    {text: "./run", lock: "/l"},
		"flock --nonblock --exclusive /l ./run": {text: "./run", lock: "/l"},
		"flock /l ./run":                        {text: "flock /l ./run"},
		"flock -n -E 0 /l ./run":                {text: "flock -n -E 0 /l ./run"},
		"flock -s -n /l ./run":                  {text: "flock -s -n /l ./run"},
		"flock -n /l -c 'a | b'":                {text: "a | b", lock: "/l", nested: true},
		"flock -n /l ./run | tee x":             {text: "flock -n /l ./run | tee x"},
		"sudo -u app ./run":                     {text: "./run", user: "app"},
		"sudo -u app -i ./run":                  {text: "sudo -u app -i ./run"},
		"flock -n /l sudo -u app ./run":         {text: "./run", user: "app", lock: "/l"},
		`echo "a > b" >/dev/null 2>&1`:          {text: `echo "a > b"`, logs: "none"},
	} {
		if got := peel(text, true); got != want {
			t.Errorf("peel(%q) = %+v, want %+v", text, got, want)
		}
	}
}

// TestArgv: no shell where none is needed, and one wherever it would matter.
func TestArgv(t *testing.T) {
	for text, want := range map[string]string{
		"php x --a=b": "php x --a=b", `php "a b" 'c'`: "php a b c", "a | b": "", "a $X": "", "a *": "", "X=1 a": "", "cd /": "", "a ~/x": "", "a \\b": "", `a "$X"`: "", `a '$X'`: "a $X", "a {1,2}": "", "true": "", "": "", `a "b`: "",
	} {
		words, _ := argv(text)
		if got := strings.Join(words, " "); got != want {
			t.Errorf("argv(%q) = %q, want %q", text, got, want)
		}
	}
}
