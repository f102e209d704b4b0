package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"
)

// ReadEnvFiles reads the env_file list of a consumer in order; a later file
// wins. It looks at the disk, so that what it returns is as new as the start it
// is used for. Its errors name file and line, never a value.
func (c *Consumer) ReadEnvFiles() (map[string]string, error) {
	env := map[string]string{}
	for _, name := range c.EnvFile {
		path, optional := strings.CutPrefix(name, "-")
		if _, err := os.Stat(path); optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		data, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("env_file %s %w", path, err)
		}
		values, err := parseEnv(string(data))
		if err != nil {
			return nil, fmt.Errorf("env_file %s:%w", path, err)
		}
		maps.Copy(env, values)
	}
	return env, nil
}

// parseEnv reads lines NAME=value as systemd's EnvironmentFile= and .env files
// have them: # and ; start a comment line, `export ` is skipped, a value may
// stand in single quotes (taken as it is) or in double quotes (\" \\ \$ \` \n).
func parseEnv(text string) (map[string]string, error) {
	env := map[string]string{}
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		name = strings.TrimSpace(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("%d: expected NAME=value", i+1)
		case !envName().MatchString(name):
			return nil, fmt.Errorf("%d: not a name for an environment variable in front of the =", i+1)
		case strings.ContainsRune(value, 0):
			return nil, fmt.Errorf("%d: must not hold a NUL byte", i+1)
		}
		value, err := unquoteEnv(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("%d: %s: %w", i+1, name, err)
		}
		env[name] = value
	}
	return env, nil
}

func unquoteEnv(value string) (string, error) {
	if value == "" || value[0] != '"' && value[0] != '\'' {
		return value, nil
	}
	quote := value[0]
	var b strings.Builder
	for i := 1; i < len(value); i++ {
		switch c := value[i]; {
		case c == quote:
			rest := strings.TrimSpace(value[i+1:])
			if rest != "" && rest[0] != '#' {
				return "", errors.New("text follows the closing quote")
			}
			return b.String(), nil
		case c == '\\' && quote == '"' && i+1 < len(value):
			i++
			switch value[i] {
			case 'n':
				b.WriteByte('\n')
			case '"', '\\', '$', '`':
				b.WriteByte(value[i])
			default:
				b.WriteByte('\\')
				b.WriteByte(value[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("the quote is not closed on this line")
}
