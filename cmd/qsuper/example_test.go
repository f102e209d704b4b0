package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"qsuper/config"
)

// The example is right for the real connection types, too, whose checks the
// configuration's own tests do not know.
func TestExampleSuitsTheConnectionTypes(t *testing.T) {
	o := config.Options{LookupEnv: func(string) (string, bool) { return "x", true }, EUID: func() int { return 0 }}
	cfg, err := config.Load("../../config.example.yaml", o)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, c := range cfg.Connections {
		shown[c.Type] = true
	}
	for _, typ := range []string{
		"beanstalkd", "exec", "http", "kafka", "mysql", "nats", "postgres", "prometheus", "rabbitmq", "redis", "sqlite", "sqs", "tcp",
	} {
		if !shown[typ] {
			t.Errorf("the example shows no connection of type %s", typ)
		}
	}
}

// TestTheDemoStaysAtHome: it writes nothing but into its own directory, whoever runs it.
func TestTheDemoStaysAtHome(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "qsuper.yaml")
	if err := os.WriteFile(file, []byte(fmt.Sprintf(demoConfig, "/bin/true", filepath.Join(dir, "queue.db"))), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, config.Options{EUID: func() int { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{cfg.Daemon.StateDir, cfg.Daemon.LogDir, cfg.Daemon.Socket.Path} {
		if !strings.HasPrefix(path, dir+"/") {
			t.Errorf("%s is not in %s", path, dir)
		}
	}
}
