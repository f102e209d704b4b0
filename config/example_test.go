package config

import (
	"os"
	"slices"
	"strings"
	"testing"

	"qsuper/internal/kind"
)

const exampleFile = "../config.example.yaml"

// TestExampleFile proves that the example loads and shows every key there is.
func TestExampleFile(t *testing.T) {
	if _, err := Load(exampleFile, testOptions()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	root, problems := kind.Parse(exampleFile, data, testOptions().LookupEnv)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, key := range kind.Keys(mainKeys{}) {
		if !shows(root, key) {
			t.Errorf("%s is missing", key)
		}
	}
	consumers := []*kind.Node{root.Get("defaults").Value}
	for _, e := range root.Get("consumers").Value.Entries {
		consumers = append(consumers, e.Value)
	}
	keys := slices.Concat(kind.Keys(Consumer{}), kind.Keys(consumerKeys{}))
	for _, name := range []string{"type", "php", "console", "receivers", "args"} {
		keys = append(keys, "preset."+name)
	}
	for _, key := range keys {
		if !slices.ContainsFunc(consumers, func(n *kind.Node) bool { return shows(n, key) }) {
			t.Errorf("consumer key %s is missing", key)
		}
	}
	job := root.Get("jobs").Value.Entries[0].Value
	for _, key := range append(kind.Keys(jobKeys{}), "retries.times", "retries.initial", "retries.factor", "retries.max", "retries.jitter") {
		if key != "env_file" && !shows(job, key) {
			t.Errorf("job key %s is missing", key)
		}
	}
}

// shows reports whether a key path is written below n.
func shows(n *kind.Node, path string) bool {
	key, rest, more := strings.Cut(path, ".")
	e := n.Get(key)
	return e != nil && (!more || shows(e.Value, rest))
}

// TestExampleShowsDefaults proves that the values in `daemon` and `defaults` of
// the example are the built-in ones.
func TestExampleShowsDefaults(t *testing.T) {
	example, err := Load(exampleFile, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	short := write(t, "consumers: {emails: {preset: symfony, dir: /srv/shop}}\n")
	plain, err := Load(short, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	example.Alerts = nil
	example.Daemon.HTTP.TokenFile = ""
	example.Daemon.Socket.Group = ""                                      // the example names one
	consumer(t, example, "emails").Dir = consumer(t, plain, "emails").Dir // written the same, read from two places
	example.Jobs = nil
	change := Diff(plain, example)
	if len(change.Daemon)+len(change.Restart) > 0 || slices.Contains(change.Changed, "emails") {
		t.Errorf("the example differs from the defaults: %+v", change)
	}
}
