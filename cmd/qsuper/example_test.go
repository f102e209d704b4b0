package main

import (
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
