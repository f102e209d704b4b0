// Package systemd reads service units, templates among them, and converts them.
//
// The rules are those of systemd.syntax(7), systemd.service(5), systemd.exec(5)
// and systemd.kill(5).
package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Unit is one service with its drop-ins, for one instance.
type Unit struct {
	Path     string
	Files    []string // with the drop-ins
	Name     string   // without .service, with the instance
	Template string   // the part in front of the @; "" = no template
	Instance string   // "" = none, or not known
	settings []setting
}

// setting is one assignment.
type setting struct {
	section, key, value string
	file                string
	line                int
}

// Read reads a unit and the drop-ins beside it (NAME.service.d/*.conf). The name
// is that of the file; what may stand behind .service is left out.
func Read(path string) (*Unit, error) {
	base := filepath.Base(path)
	if at := strings.Index(base, ".service"); at >= 0 {
		base = base[:at]
	}
	u := &Unit{Path: path, Name: base}
	if front, instance, ok := strings.Cut(base, "@"); ok {
		u.Template, u.Instance = front, instance
	}
	if err := u.add(path); err != nil {
		return nil, err
	}
	dirs := []string{path + ".d"}
	if u.Instance != "" {
		dirs = append([]string{filepath.Join(filepath.Dir(path), u.Template+"@.service.d")}, dirs...)
	}
	for _, dir := range dirs {
		found, err := filepath.Glob(filepath.Join(dir, "*.conf"))
		if err != nil {
			return nil, err
		}
		for _, name := range found {
			if err := u.add(name); err != nil {
				return nil, err
			}
		}
	}
	return u, nil
}

// add reads one file. Lines that end in \ go on in the next one; comments in
// between are left out.
func (u *Unit) add(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	u.Files = append(u.Files, path)
	section, held, start := "", "", 0
	for i, line := range strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n") {
		text := strings.TrimLeft(line, " \t")
		if strings.HasPrefix(text, "#") || strings.HasPrefix(text, ";") {
			continue
		}
		if held == "" {
			start = i + 1
		}
		if rest, more := strings.CutSuffix(strings.TrimRight(line, " \t"), `\`); more {
			held += rest + " "
			continue
		}
		text = strings.TrimSpace(held + line)
		held = ""
		switch {
		case text == "":
		case text[0] == '[' && strings.HasSuffix(text, "]"):
			section = text[1 : len(text)-1]
		default:
			key, value, ok := strings.Cut(text, "=")
			if !ok || section == "" {
				return fmt.Errorf("%s:%d: expected [Section] or Key=value", path, start)
			}
			u.settings = append(u.settings, setting{section, strings.TrimSpace(key), strings.TrimSpace(value), path, start})
		}
	}
	return nil
}

// list returns the values of a key that may be given more than once; an empty one
// forgets those before.
func (u *Unit) list(key string) []setting {
	var all []setting
	for _, s := range u.settings {
		if s.section != "Service" || s.key != key {
			continue
		}
		if s.value == "" {
			all = nil
			continue
		}
		all = append(all, s)
	}
	return all
}

// one returns the last value of a key.
func (u *Unit) one(keys ...string) (setting, bool) {
	var last setting
	found := false
	for _, s := range u.settings {
		if s.section == "Service" && slices.Contains(keys, s.key) {
			last, found = s, s.value != ""
		}
	}
	return last, found
}

func (u *Unit) text(key, otherwise string) string {
	if s, ok := u.one(key); ok {
		return s.value
	}
	return otherwise
}

// truth is a boolean of systemd.
func truth(text string) bool {
	return slices.Contains([]string{"1", "yes", "y", "true", "t", "on"}, strings.ToLower(text))
}
