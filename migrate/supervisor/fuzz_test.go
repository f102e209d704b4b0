package supervisor

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Python writes the whole environment in place of these.
var unnamed = regexp.MustCompile(`%[-#0 +]*[0-9]*(\.[0-9]*)?[hlL]?[sra]`)

// FuzzReadAgreesWithSupervisor changes files at random: whatever comes out,
// Supervisor and Read say the same of it.
func FuzzReadAgreesWithSupervisor(f *testing.F) {
	for _, file := range corpus(f) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	o := startOracle(f)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "[include]") || unnamed.MatchString(text) || len(text) > 8000 {
			return
		}
		if !strings.Contains(text, "[supervisord]") {
			text = "[supervisord]\n" + text
		}
		file := filepath.Join(dir, "supervisord.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		env := environmentFor(t, file)
		delete(env, "")
		cfg, err := readWith(t, env, file)
		if tooMuch(cfg) {
			return
		}
		agree(t, file, o.ask(t, file, env), cfg, err)
		if t.Failed() {
			t.Logf("%q", text)
		}
	})
}

// tooMuch is what Supervisor would take minutes for.
func tooMuch(cfg *Config) bool {
	if cfg == nil {
		return false
	}
	for _, r := range cfg.Refusals {
		if strings.Contains(r.Text, "too many") || strings.Contains(r.Text, "not looked at") || strings.Contains(r.Text, "too large") {
			return true
		}
	}
	return false
}
