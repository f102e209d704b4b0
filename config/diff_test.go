package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const diffBase = `
connections: {db: {type: mysql, dsn: "u:${DB_PASSWORD}@h"}, mq: {type: rabbitmq, url: x}}
consumers:
  a: {command: [x, "{max_messages}", "{slot}", "{instances}"], max_messages: 5, instances: 2, env: {A: "1"}, active: "* 1 * * *", timezone: Europe/Berlin}
  b: {command: [y]}
`

// TestDiff changes one thing at a time.
func TestDiff(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Change
	}{
		"nothing": {diffBase, Change{Unchanged: 2}},
		"comments and order": {`# new
connections: {mq: {type: rabbitmq, url: x}, db: {type: mysql, dsn: "u:${DB_PASSWORD}@h"}}
consumers:
  b: {command: [y]}

  a: {timezone: Europe/Berlin, command: [x, "{max_messages}", "{slot}", "{instances}"], max_messages: 5, instances: 2, env: {A: "1"}, active: "* 1 * * *"}
`, Change{Unchanged: 2}},
		"added and removed": {diffBase[:len(diffBase)-len("  b: {command: [y]}\n")] + "  c: {command: [z]}\n", Change{Added: []string{"c"}, Removed: []string{"b"}, Unchanged: 1}},
	} {
		got := Diff(load(t, diffBase), load(t, c.text))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, c := range []struct {
		from, to string
		replace  bool
	}{
		{"instances: 2", "instances: 7", false},
		{"instances: 2", "instances: {min: 0, max: 9}, queue: {connection: db}", false},
		{"max_messages: 5", "max_messages: 6", true}, // is in the command line
		{"[y]", "[y], max_messages: 6", false},       // is not
		{"[y]", "[y, z]", true},
		{"command: [y]", "shell: y", true},
		{`"1"`, `"2"`, true},
		{`"1"`, `"1", B: ""`, true},
		{"* 1 * * *", "* 2 * * *", false},
		{"Europe/Berlin", "Europe/Paris", false},
		{"[y]", "[y], user: root", true},
		{"[y]", "[y], dir: /", true},
		{"[y]", "[y], umask: 022", true},
		{"[y]", "[y], limits: {nice: 1}", true},
		{"[y]", "[y], limits: {no_new_privs: true}", true},
		{"[y]", "[y], limits: {memory_max: 1GiB}", true},
		{"[y]", "[y], limits: {pids_max: 6}", true},
		{"[y]", "[y], limits: {cpu_weight: 50}", true},
		{"[y]", "[y], env_file: [-x]", true},
		{"[y]", "[y], memory_limit: 1GiB, time_limit: 1h, stop: {signal: INT}, backoff: {max: 5m}, logs: {to: none}, autostart: false", false},
		{"{max_messages}\"", "{max_messages}\", \"{slot:02}\"", true},
		{"{slot}", "{slot1}", true},
	} {
		text := strings.Replace(diffBase, c.from, c.to, 1)
		got := Diff(load(t, diffBase), load(t, text))
		if len(got.Changed) != 1 || got.Unchanged != 1 || len(got.Replace) == 1 != c.replace {
			t.Errorf("%s -> %s: %+v", c.from, c.to, got)
		}
	}
}

func TestDiffOfDaemonAndConnections(t *testing.T) {
	base := load(t, diffBase)
	other := load(t, "daemon: {name: n, state_dir: /s, log_dir: /l, socket: {mode: \"0600\"}, interval: 5s, start_rate: 1, log: {level: debug}, budget: {processes: 1}}\n"+
		"connections: {db: {type: mysql, dsn: \"u:other@h\"}, new: {type: tcp, address: x}}\nconsumers: {}\n")
	want := Change{
		Removed: []string{"a", "b"}, Connections: []string{"db", "new", "mq"},
		Daemon:  []string{"daemon.log", "daemon.interval", "daemon.start_rate", "daemon.budget"},
		Restart: []string{"daemon.name", "daemon.state_dir", "daemon.log_dir", "daemon.socket"},
	}
	if diff := cmp.Diff(want, Diff(base, other)); diff != "" {
		t.Error(diff)
	}
	if !Diff(base, base).Empty() || Diff(base, other).Empty() {
		t.Error("Empty is wrong")
	}
}

// TestMagentoChangesItsLockName: from one instance to several Magento takes
// other locks, so that the running one must go first; from two to three not.
func TestMagentoChangesItsLockName(t *testing.T) {
	one, two, three := load(t, "consumers: {m: {preset: magento}}\n"), load(t, "consumers: {m: {preset: magento, instances: 2}}\n"), load(t, "consumers: {m: {preset: magento, instances: 3}}\n")
	if len(Diff(one, two).Replace) != 1 || len(Diff(two, three).Replace) != 0 {
		t.Error("Replace is wrong")
	}
}

// TestFingerprintIsStable pins the value: a new release must not replace every
// process that runs. If this has to change, count up the "v1" in Fingerprint.
func TestFingerprintIsStable(t *testing.T) {
	c := newConsumer("orders")
	c.Command, c.Env, c.Dir, c.User = []string{"php", "{slot:02}"}, Env{"B": "2", "A": "1"}, "/srv", "www-data"
	umask := uint32(0o22)
	c.Umask = &umask
	if got, want := c.Fingerprint(), "b5259d87650f4176c10740bfbaa06cd3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestCopy loads a configuration again after its files have changed.
func TestCopy(t *testing.T) {
	c, err := Load("testdata/good/reference.yaml", testOptions())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.json")
	if err := c.SaveCopy(path); err != nil {
		t.Fatal(err)
	}
	again, err := LoadCopy(path, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(c, again); !d.Empty() || d.Unchanged != len(c.Consumers) {
		t.Errorf("the copy differs: %+v", d)
	}
	if diff := cmp.Diff(c.Files, again.Files); diff != "" {
		t.Error(diff)
	}
}
