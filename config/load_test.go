package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// write makes a file qsuper.yaml in a directory of its own.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qsuper.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, text string) *Config {
	t.Helper()
	c, err := Load(write(t, text), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func consumer(t testing.TB, c *Config, name string) *Consumer {
	t.Helper()
	i := slices.IndexFunc(c.Consumers, func(c *Consumer) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no consumer %s", name)
	}
	return c.Consumers[i]
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	here, there := filepath.Join(dir, "here.yaml"), filepath.Join(dir, "there.yaml")
	places := []string{here, there}
	if _, err := find("", "", places); err == nil || !strings.Contains(err.Error(), here) || !strings.Contains(err.Error(), there) {
		t.Errorf("without any file: %v", err)
	}
	for _, step := range []struct{ create, flag, env, want string }{
		{there, "", "", there}, {here, "", "", here}, {here, "", "env.yaml", "env.yaml"}, {here, "flag.yaml", "env.yaml", "flag.yaml"},
	} {
		if err := os.WriteFile(step.create, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := find(step.flag, step.env, places); got != step.want || err != nil {
			t.Errorf("find(%q, %q) = %q, %v, want %q", step.flag, step.env, got, err, step.want)
		}
	}
	t.Chdir(dir)
	t.Setenv("QSUPER_CONFIG", "x.yaml")
	if got, err := Find(""); got != "x.yaml" || err != nil {
		t.Errorf("Find = %q, %v", got, err)
	}
}

func TestLoadWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo, big := filepath.Join(dir, "fifo.yaml"), filepath.Join(dir, "big.yaml")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(big, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir: "is not a regular file but a directory", fifo: "is not a regular file but a FIFO", big: "larger than 1048576 bytes",
		filepath.Join(dir, "none.yaml"): "no such file or directory", "/dev/null": "is not a regular file but a device",
	} {
		_, err := Load(path, testOptions())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("Load(%s): %v, want %q", path, err, want)
		}
	}
}

func TestIncludesAreSortedAndRegular(t *testing.T) {
	dir := t.TempDir()
	part := filepath.Join(dir, "part")
	if err := os.MkdirAll(filepath.Join(part, "folder.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(part, "fifo.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"c.yaml", "a.yml", "b.yaml", "ignored.yaml.bak", ".hidden.yaml"} {
		text := "consumers: {" + name[:1] + ": {command: [x]}}"
		if err := os.WriteFile(filepath.Join(part, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	main := filepath.Join(dir, "qsuper.yaml")
	text := "include: [part/b.yaml, \"part/*\", \"*.yaml\", \"nothing/*.yaml\"]\nconsumers: {main: {command: [x]}}\n"
	if err := os.WriteFile(main, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(main, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, consumer := range c.Consumers {
		names = append(names, consumer.Name)
	}
	if want := []string{"main", "b", "a", "c"}; !slices.Equal(names, want) {
		t.Errorf("consumers %v, want %v", names, want)
	}
	if len(c.Warnings) != 2 || !strings.Contains(c.Warnings[0].Message, "FIFO") || !strings.Contains(c.Warnings[1].Message, "directory") {
		t.Errorf("warnings: %v", c.Warnings)
	}
}

func TestDefaultPaths(t *testing.T) {
	file := write(t, "consumers: {}\n")
	for _, c := range []struct {
		uid              int
		env              map[string]string
		state, log, sock string
	}{
		{0, nil, "/var/lib/qsuper", "/var/log/qsuper", "/run/qsuper/qsuper.sock"},
		{1000, map[string]string{"HOME": "/home/u"}, "/home/u/.local/state/qsuper", "/home/u/.local/state/qsuper/logs", "/home/u/.local/state/qsuper/qsuper.sock"},
		{1000, map[string]string{"XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/run/user/1000", "HOME": "/h"}, "/s/qsuper", "/s/qsuper/logs", "/run/user/1000/qsuper/qsuper.sock"},
		{1000, map[string]string{"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/qsuper", "/h/.local/state/qsuper/logs", "/h/.local/state/qsuper/qsuper.sock"},
	} {
		o := Options{EUID: func() int { return c.uid }, LookupEnv: func(n string) (string, bool) { v, ok := c.env[n]; return v, ok }}
		got, err := Load(file, o)
		if err != nil {
			t.Fatal(err)
		}
		if d := got.Daemon; d.StateDir != c.state || d.LogDir != c.log || d.Socket.Path != c.sock {
			t.Errorf("%d %v: %s %s %s", c.uid, c.env, d.StateDir, d.LogDir, d.Socket.Path)
		}
	}
	_, err := Load(file, Options{EUID: func() int { return 1 }, LookupEnv: func(string) (string, bool) { return "", false }})
	if err == nil || !strings.Contains(err.Error(), "daemon.state_dir: cannot be guessed") {
		t.Errorf("without HOME: %v", err)
	}
}

func TestRelativePathsStartAtTheFile(t *testing.T) {
	c := load(t, "daemon: {state_dir: s, log_dir: l, socket: {path: q.sock}}\nconsumers: {a: {command: [./x], dir: app, env_file: [e, -f, /g]}}\n")
	dir := filepath.Dir(c.Path)
	got := append([]string{c.Daemon.StateDir, c.Daemon.LogDir, c.Daemon.Socket.Path, c.Consumers[0].Dir}, c.Consumers[0].EnvFile...)
	want := []string{dir + "/s", dir + "/l", dir + "/q.sock", dir + "/app", dir + "/e", "-" + dir + "/f", "/g"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoSecretIsShown(t *testing.T) {
	c := load(t, `
connections:
  a: {type: rabbitmq, url: "amqp://u:${RABBIT_PASSWORD}@h", timeout: 1s}
  b: {type: mysql, dsn: "u:s3cret-literal@h"}
consumers:
  x: {command: [x], env: {TOKEN: "${DB_PASSWORD}", LITERAL: s3cret-literal}}
`)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(map[string]any{"env": c.Consumers[0].Env})
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{string(asJSON), string(asYAML), c.Consumers[0].Env.LogValue().String(), c.Consumers[0].Fingerprint()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts = append(texts, fmt.Sprintf(verb, c), fmt.Sprintf(verb, *c), fmt.Sprintf(verb, c.Consumers[0]), fmt.Sprintf(verb, *c.Consumers[0]),
			fmt.Sprintf(verb, c.Connections[0]), fmt.Sprintf(verb, *c.Connections[1]), fmt.Sprintf(verb, c.Connections))
	}
	for _, text := range texts {
		if strings.Contains(text, "s3cret") || strings.Contains(text, fmt.Sprintf("%x", "s3cret")) {
			t.Errorf("shows a secret: %s", text)
		}
	}
	if got := c.Consumers[0].Env["TOKEN"]; got != "s3cret-db" {
		t.Errorf("TOKEN is %q", got)
	}
	if want := []string{"RABBIT_PASSWORD"}; !slices.Equal(c.EnvUsed, want) {
		t.Errorf("EnvUsed is %v, want %v", c.EnvUsed, want)
	}
}

func TestErrorIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("consumers:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, " c%d: {command: [x], instnaces: 5, max_mesages: 3, zzzzzzzz: 1, stop: {grase: 5}}\n", i)
	}
	_, err := Load(write(t, b.String()), testOptions())
	var e *Error
	if !errors.As(err, &e) || len(e.Problems) < 4000 {
		t.Fatalf("got %d problems", len(e.Problems))
	}
	if lines := strings.Count(err.Error(), "\n"); lines != maxShown || !strings.HasSuffix(err.Error(), "more") {
		t.Errorf("%d lines", lines)
	}
}

func TestAliasesInEveryConsumer(t *testing.T) {
	text := "defaults: {stop: {command: &l [" + strings.Repeat("x,", 1000) + "x]}}\nconsumers:\n"
	for i := range 190 {
		text += fmt.Sprintf("  c%d: {command: *l}\n", i)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Load(write(t, text), testOptions()); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 100 {
		t.Errorf("took %d MiB", used)
	}
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.yaml", exampleFile} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "include") {
			return // would read other files of this host
		}
		path := filepath.Join(dir, "qsuper.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path, testOptions())
		if err != nil {
			if text := err.Error(); text == "" || strings.Contains(text, "s3cret-") && !strings.Contains(string(data), "s3cret-") {
				t.Errorf("message: %q", text)
			}
			return
		}
		if d := Diff(c, c); !d.Empty() {
			t.Errorf("differs from itself: %+v", d)
		}
		for _, consumer := range c.Consumers {
			for _, slot := range []int{0, max(consumer.Instances.Max-1, 0)} {
				if l, err := consumer.Expand(slot); err != nil || len(l.Argv) == 0 || l.Argv[0] == "" {
					t.Errorf("%s: launch %q, %v", consumer.Name, l.Argv, err)
				}
			}
			if consumer.Fingerprint() != consumer.Fingerprint() {
				t.Error("the fingerprint is not stable")
			}
		}
	})
}
