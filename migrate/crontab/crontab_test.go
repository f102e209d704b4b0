package crontab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"qsuper/migrate"
	"qsuper/migrate/migratetest"
)

// TestConvert: each table in both modes, with its report. What is written loads,
// and starts what the line says.
func TestConvert(t *testing.T) {
	for _, file := range migratetest.Corpus(t, "testdata/tables/*.crontab", "crontab") {
		for _, mode := range []migrate.Mode{migrate.Modern, migrate.Compat} {
			name := strings.TrimSuffix(filepath.Base(file), ".crontab") + "." + string(mode)
			t.Run(name, func(t *testing.T) {
				table, err := Read(file, Guess, "")
				if err != nil {
					t.Fatal(err)
				}
				if migratetest.Own(file) && !table.System {
					table.User = "root" // who has a home everywhere
				}
				r := Convert([]*Table{table}, mode)
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
		if m := variable().FindStringSubmatch(line); m != nil {
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
