package config

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

// hostFiles makes a directory with programs of all kinds.
func hostFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, f := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"ok":       {"#!/bin/sh\n", 0o755},
		"plain":    {"#!/bin/sh\n", 0o644},
		"crlf":     {"#!/bin/sh\r\n", 0o755},
		"nointerp": {"#!/no/such/interpreter -x\n", 0o755},
		"empty":    {"#!\n", 0o755},
		"elf":      {"\x7fELF", 0o755},
		"slot0":    {"#!/bin/sh\n", 0o755},
		"env":      {"A=1\n", 0o600},
		"badenv":   {"A=1\ns3cret line\n", 0o600},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(f.text), f.mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCheckHost(t *testing.T) {
	dir := hostFiles(t)
	t.Setenv("PATH", dir)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for keys, want := range map[string]string{
		"command: [ok]":                                    "",
		"command: [./ok], dir: DIR":                        "",
		"command: [DIR/elf]":                               "",
		"shell: exit":                                      "",
		"command: [ok], user: USER":                        "",
		"command: [ok], env_file: [-DIR/none, DIR/env]":    "",
		"command: [none]":                                  ":1:26: consumers.a.command: program none is not in PATH DIR; install it, or give its full path",
		"command: [ok], env: {PATH: /none}":                "command: program ok is not in PATH /none",
		"command: [DIR/none]":                              "command: program DIR/none does not exist",
		"command: [DIR/plain]":                             "command: program DIR/plain is not executable for this user; run chmod +x",
		"command: [DIR/folder]":                            "command: program DIR/folder is a directory",
		"command: [DIR/crlf]":                              "command: program DIR/crlf: its #! line ends with a carriage return",
		"command: [DIR/nointerp]":                          "command: program DIR/nointerp: interpreter /no/such/interpreter does not exist",
		"command: [DIR/empty]":                             "command: program DIR/empty: its #! line names no interpreter",
		"command: [ok], dir: DIR/none":                     "dir: directory DIR/none does not exist",
		"command: [ok], dir: DIR/ok":                       "dir: DIR/ok is not a directory",
		"command: [ok], user: no-such-user":                "user: user no-such-user does not exist",
		"command: [ok], user: 'USER:no-such-group'":        "user: group no-such-group does not exist",
		"command: [ok], env_file: [DIR/none]":              "env_file: env_file DIR/none cannot be read: no such file or directory",
		"command: [ok], env_file: [DIR/badenv]":            "env_file: env_file DIR/badenv:2: expected NAME=value",
		"command: [ok], stop: {command: [none]}":           "stop: command: program none is not in PATH",
		"command: ['DIR/slot{slot}'], instances: 3":        "command: program DIR/slot1 does not exist",
		"command: [ok], dir: 'DIR/{slot}', instances: 200": "dir: directory DIR/0 does not exist",
		"preset: symfony":                                  "preset: program php is not in PATH",
	} {
		fill := strings.NewReplacer("DIR", dir, "USER", me.Username)
		c := load(t, fill.Replace("consumers: {a: {"+keys+"}}\n"))
		problems := CheckHost(c)
		want = fill.Replace(want)
		switch {
		case want == "" && len(problems) > 0:
			t.Errorf("%s: %v", keys, problems)
		case want != "" && (len(problems) != 1 || !strings.Contains(problems[0].String(), want)):
			t.Errorf("%s:\n got %v\nwant %s", keys, problems, want)
		case want != "" && (problems[0].Line != 1 || problems[0].File != c.Path):
			t.Errorf("%s: has no place: %v", keys, problems[0])
		}
	}
	c := load(t, "daemon: {socket: {group: no-such-group}}\nconsumers: {}\n")
	if p := CheckHost(c); len(p) != 1 || !strings.Contains(p[0].String(), "daemon.socket.group: group no-such-group does not exist") {
		t.Errorf("socket group: %v", p)
	}
}

func TestMayExecute(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	for _, c := range []struct {
		mode os.FileMode
		who  Identity
		want bool
	}{
		{0o100, Identity{UID: uid, GID: -1}, true}, {0o011, Identity{UID: uid + 1, GID: -1, Groups: []int{gid}}, true}, {0o101, Identity{UID: uid + 1, GID: -1, Groups: []int{gid}}, false},
		{0o001, Identity{UID: uid + 1, GID: -1, Groups: []int{gid + 1}}, true}, {0o110, Identity{UID: uid + 1, GID: -1, Groups: []int{gid + 1}}, false}, {0o001, Identity{UID: 0, GID: -1}, true}, {0o600, Identity{UID: 0, GID: -1}, false},
	} {
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.who.mayExecute(info); got != c.want {
			t.Errorf("%o for %d %v: %v", c.mode, c.who.UID, c.who.Groups, got)
		}
	}
}

func TestParseEnv(t *testing.T) {
	got, err := parseEnv("\ufeff# comment\n; comment\n\nA=1\r\nexport B = two words \nC='a $x \"q\"' # rest\nD=\"a\\n\\\"b\\\" \\$x \\y\"\nE=\nF=a=b#c\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"A": "1", "B": "two words", "C": `a $x "q"`, "D": "a\n\"b\" $x \\y", "E": "", "F": "a=b#c"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	for text, want := range map[string]string{
		"A=1\ns3cret": "2: expected NAME=value", "1A=s3cret": "1: not a name", "=s3cret": "1: not a name", "A='s3cret": "1: A: the quote is not closed",
		"A=\"x\" s3cret": "1: A: text follows the closing quote", "A=s3cret\x00": "1: must not hold a NUL byte",
	} {
		if _, err := parseEnv(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestWithHost: what the host lacks is told together with what is wrong with the file,
// but for programs of which too much is wrong to look for them.
func TestWithHost(t *testing.T) {
	t.Setenv("PATH", hostFiles(t))
	for text, want := range map[string][]string{
		"consumers: {a: {command: [none], user: no-such-user, instances: {min: 4, max: 2}, max_messages: -1}}": {
			"consumers.a.command: program none is not in PATH", "consumers.a.user: user no-such-user does not exist", "min 4 is more than max 2", "must be at least 0"},
		"consumers: {a: {command: [ok], zzz: 1}, b: {command: [none]}}":                               {"consumers.a.zzz: unknown key", "consumers.b.command: program none"},
		"consumers: {a: {comand: [none], user: no-such-user}}":                                        {`did you mean "command"`},
		"consumers: {a: {command: 7, user: no-such-user}, b: {}}":                                     {"consumers.a.command", "consumers.b: "},
		"defaults: {user: 7:7:7}\nconsumers: {a: {command: [none]}}":                                  {"expected user or user:group"},
		"jobs: {a: {schedule: x, command: [none]}, b: {schedule: '@daily', shell: exit, dir: /none}}": {"jobs.a.schedule", "jobs.b.dir: directory /none does not exist"},
	} {
		_, err := Load(write(t, text), Options{})
		wrong, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatalf("%s: %v", text, err)
		}
		got := wrong.WithHost().Error()
		if strings.Count(got, "\n")+1 != len(want) {
			t.Errorf("%s:\n%s\nwant %q", text, got, want)
		}
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s:\n%s\nwant %s", text, got, w)
			}
		}
	}
}
