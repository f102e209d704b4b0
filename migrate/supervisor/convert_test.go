package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"qsuper/migrate"
	"qsuper/migrate/migratetest"
)

// TestConvert: each file of the project's own, in both modes, with its report.
func TestConvert(t *testing.T) {
	for _, file := range corpus(t) {
		if !migratetest.Own(file) {
			continue
		}
		for _, mode := range []migrate.Mode{migrate.Modern, migrate.Compat} {
			name := strings.TrimSuffix(filepath.Base(file), ".conf") + "." + string(mode)
			t.Run(name, func(t *testing.T) {
				cfg, err := readWith(t, map[string]string{"HOME": "/root", "APP_USER": "shop"}, file)
				if err != nil {
					migratetest.Golden(t, name, fmt.Sprintf("refused: %v\n", err))
					return
				}
				r := Convert(cfg, ConvertOptions{Mode: mode})
				migratetest.Same(t, r, cfg.LookupEnv)
				migratetest.Golden(t, name, migratetest.Text(r))
			})
		}
	}
}

// TestWhatIsConvertedIsWhatSupervisorStarts compares the loaded YAML with
// Supervisor's own view, instance by instance, and counts (see docs/corpus.md).
func TestWhatIsConvertedIsWhatSupervisorStarts(t *testing.T) {
	o := startOracle(t)
	var table strings.Builder
	for _, file := range corpus(t) {
		env := environmentFor(t, file)
		theirs := o.ask(t, mainFor(t, file), env)
		row := fmt.Sprintf("| %s | %s |", strings.TrimSuffix(filepath.Base(file), ".conf"), verdictOf(theirs))
		cfg, err := readWith(t, env, file)
		if err != nil {
			row += " refused | | | | | |"
		} else {
			row += " " + judge(t, file, theirs, cfg)
		}
		t.Log(row)
		if strings.Contains(file, "/supervisor/") && !strings.HasPrefix(file, "testdata") {
			fmt.Fprintln(&table, row)
		}
	}
	if migratetest.Updating() && table.Len() > 0 {
		if err := os.WriteFile("../../docs/corpus.md", []byte(corpusHead+table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const corpusHead = `# What became of real files of Supervisor

Written by ` + "`QSUPER_CORPUS=DIR go test ./migrate/supervisor -run WhatIsConverted -update`" + ` over configuration files
from public repositories, which are named but not kept here. Supervisor 4.2.5 reads each of them in its own Python process
(users and directories that a file names are taken to exist; a part of a ` + "`conf.d`" + ` is included by a main file), and every
instance it would start is compared with what qsuper starts from the converted file: argv, environment, directory, user, umask.

"same" is the number of instances that agree in all of that; "told" those that differ in a way the report tells of. Consumers
are exact, changed (most often: another log file) or with losses; "refused" are sections that were not converted.

| file | Supervisor | exit | same | told | exact | changed | losses | refused |
|---|---|---|---|---|---|---|---|---|
`

func verdictOf(a answer) string {
	if a.Error != "" {
		return "refuses it"
	}
	listeners := 0
	for _, p := range a.Processes {
		if p.Kind != "ProcessConfig" {
			listeners++
		}
	}
	if listeners > 0 {
		return fmt.Sprintf("%d processes, %d other", len(a.Processes)-listeners, listeners)
	}
	return fmt.Sprintf("%d processes", len(a.Processes))
}

// judge compares one file and returns the rest of its row.
func judge(t *testing.T, file string, theirs answer, cfg *Config) string {
	t.Helper()
	r := Convert(cfg, ConvertOptions{Mode: migrate.Modern})
	own := map[string]process{}
	for _, p := range theirs.Processes {
		name := p.Name
		if p.Group != p.Name {
			name = p.Group + ":" + p.Name
		}
		own[name] = p
	}
	var expected []migrate.Instance
	for _, in := range r.Expected { // where it went is ours to say, what it is Supervisor's
		p, ok := own[in.Name]
		switch {
		case theirs.Error != "": // it refuses other programs of this file
			expected = append(expected, in)
			continue
		case !ok:
			t.Errorf("%s: Supervisor has no %s", file, in.Name)
			continue
		}
		in.Argv, in.Env, in.Dir, in.User, in.Log = p.Argv, p.Environment, "", "", ""
		if p.Directory != nil {
			in.Dir = *p.Directory
		}
		if in.User = cfg.inheritedUser(); p.User != nil {
			in.User = *p.User
		}
		if p.Umask != nil {
			mask := uint32(*p.Umask)
			in.Umask = &mask
		}
		expected = append(expected, in)
	}
	found, err := migrate.Verify(r.Document.Bytes(), expected, r.Report.Items, cfg.LookupEnv)
	if err != nil {
		t.Errorf("%s: %v", file, err)
	}
	told := map[string]bool{}
	for _, d := range found {
		if told[d.Name] = true; !d.Known {
			t.Errorf("%s: %s", file, d)
		}
	}
	levels := map[migrate.Level]int{}
	for _, name := range r.Report.Converted {
		levels[r.Report.Of(name)]++
	}
	return fmt.Sprintf("%d | %d | %d | %d | %d | %d | %d |", r.Report.Code(), len(expected)-len(told), len(told),
		levels[migrate.Exact], levels[migrate.Changed], levels[migrate.Lost], len(r.Report.Refused))
}
