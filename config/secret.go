package config

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
)

// Format prints a summary, whatever the verb. Without it, fmt would go on to the
// fields, and with a verb that does not fit them it shows maps as they are.
func (c Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "config %s (%d consumers, %d jobs, %d connections)", c.Path, len(c.Consumers), len(c.Jobs), len(c.Connections))
}

// Format prints all fields with the values of Env hidden, whatever the verb.
func (c Consumer) Format(f fmt.State, _ rune) {
	type fields Consumer // without this method
	shown := fields(c)
	shown.Env = c.Env.hidden()
	fmt.Fprintf(f, "%+v", shown)
}

// Env is an environment: names and values. It is an ordinary map to work with,
// but prints only its names, since the values are often passwords.
type Env map[string]string

// Format implements fmt.Formatter for every verb.
func (e Env) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.String()) }

// String lists the names: {APP_ENV:*** TOKEN:***}.
func (e Env) String() string {
	names := slices.Sorted(maps.Keys(e))
	for i := range names {
		names[i] += ":***"
	}
	return "{" + strings.Join(names, " ") + "}"
}

// LogValue implements slog.LogValuer.
func (e Env) LogValue() slog.Value { return slog.StringValue(e.String()) }

// MarshalJSON writes the names with *** as their values.
func (e Env) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string(e.hidden()))
}

// MarshalYAML writes the names with *** as their values.
func (e Env) MarshalYAML() (any, error) {
	return map[string]string(e.hidden()), nil
}

func (e Env) hidden() Env {
	shown := make(Env, len(e))
	for name := range e {
		shown[name] = "***"
	}
	return shown
}
