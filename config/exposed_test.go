package config

import (
	"strings"
	"testing"
)

// TestExposedSecrets: what is in the arguments of a command is warned of, each at its
// place, and never shown.
func TestExposedSecrets(t *testing.T) {
	c, err := Load("testdata/exposed.yaml", testOptions())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"consumers.option.command[1]: this looks", "consumers.next.command[2]: this looks", "consumers.next.stop.command[2]: this looks",
		"consumers.url.command[1]: this looks", "consumers.variable.command[1]: the value of ${DB_PASSWORD} looks", "consumers.shell.shell: this looks",
		"consumers.header.command[2]: this looks", "jobs.export.shell: this looks",
	}
	for i, w := range c.Warnings {
		text := w.String()
		if i >= len(want) || !strings.Contains(text, want[i]+" like a secret: every user of this host can read") || strings.Contains(text, "s3cret") {
			t.Errorf("warning %d: %s", i, text)
		}
	}
	if len(c.Warnings) != len(want) {
		t.Errorf("%d warnings, expected %d", len(c.Warnings), len(want))
	}
}
