package supervisor

import (
	"errors"
	"fmt"
	"math/big"
	"os/user"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// integer is int(text, base) of Python: blanks around it, a sign, underscores
// between digits.
func integer(text string, base int) (int64, error) {
	s := strip(text)
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) <= 1 && base == 8 && len(digits) > 2 && strings.EqualFold(digits[:2], "0o") {
		digits = strings.TrimPrefix(digits[2:], "_")
	}
	wrong := fmt.Errorf("%q is no whole number", text)
	if len(s)-len(strings.TrimLeft(s, "+-")) > 1 || digits == "" || digits[0] == '_' || strings.HasSuffix(digits, "_") || strings.Contains(digits, "__") {
		return 0, wrong
	}
	n, ok := new(big.Int).SetString(strings.ReplaceAll(digits, "_", ""), base)
	if !ok || strings.ContainsAny(digits, "+-") {
		return 0, wrong
	}
	if s[0] == '-' {
		n.Neg(n)
	}
	if !n.IsInt64() {
		return 0, fmt.Errorf("number %q is too large for anything", text)
	}
	return n.Int64(), nil
}

func boolean(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "yes", "true", "on", "1":
		return true, nil
	case "no", "false", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}

// byteSize reads 50MB, in units of 1024; 10M and 1KiB are mistakes.
func byteSize(text string) (int64, error) {
	s, unit := strings.ToLower(text), int64(1)
	for i, suffix := range []string{"kb", "mb", "gb"} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = rest, 1<<(10*(i+1))
			break
		}
	}
	n, err := integer(s, 10)
	if err != nil {
		return 0, fmt.Errorf("%q is no size; Supervisor knows KB, MB and GB", text)
	}
	return n * unit, nil
}

// The attributes of Python's signal module that Supervisor takes for signals.
var oddSignals = map[string]int64{"SIG_DFL": 0, "SIG_IGN": 1, "SIG_BLOCK": 0, "SIG_UNBLOCK": 1, "SIG_SETMASK": 2, "SIGRTMIN": 34, "SIGRTMAX": 64, "SIGCLD": 17, "SIGIOT": 6, "SIGPOLL": 29}

func signalNumber(text string) (int, error) {
	n, err := integer(text, 10)
	if err != nil {
		name := strings.ToUpper(strip(text))
		if !strings.HasPrefix(name, "SIG") {
			name = "SIG" + name
		}
		odd, isOdd := oddSignals[name]
		switch n = int64(unix.SignalNum(name)); {
		case isOdd:
			n = odd
		case n == 0:
			return 0, fmt.Errorf("%q is no signal", text)
		}
	}
	if n < 0 || n > 31 && n != 34 && n != 64 {
		return 0, fmt.Errorf("%q is no signal", text)
	}
	return int(n), nil
}

// The values of autorestart.
const (
	restartAlways     = "true"
	restartUnexpected = "unexpected"
	restartNever      = "false"
)

func autoRestart(text string) (string, error) {
	if strings.ToLower(text) == restartUnexpected {
		return restartUnexpected, nil
	}
	on, err := boolean(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("autorestart %q is none of true, false, unexpected", text)
	case on:
		return restartAlways, nil
	}
	return restartNever, nil
}

func exitCodes(text string) ([]int, error) {
	codes := []int{}
	if text == "" {
		return codes, nil
	}
	for _, part := range strings.Split(text, ",") {
		n, err := integer(part, 10)
		if err != nil || n < 0 || n > 255 {
			return nil, fmt.Errorf("%q is no list of exit codes from 0 to 255", text)
		}
		codes = append(codes, int(n))
	}
	return codes, nil
}

func octalNumber(text string) (int64, error) {
	n, err := integer(text, 8)
	if err != nil {
		return 0, fmt.Errorf("%q is no octal number", text)
	}
	return n, nil
}

// processName is a name of a program or group: blanks around it do not count.
func processName(text string) (string, error) {
	if s := strip(text); !strings.ContainsAny(s, " :/") {
		return s, nil
	}
	return "", fmt.Errorf("name %q must not hold a blank, : or /", text)
}

func listOf(text string) []string {
	if text == "" {
		return nil
	}
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = strip(parts[i])
	}
	return parts
}

var logLevels = []string{"critical", "error", "warn", "info", "debug", "trace", "blather"}

func logLevel(text string) (string, error) {
	if s := strings.ToLower(text); slices.Contains(logLevels, s) {
		return s, nil
	}
	return "", fmt.Errorf("loglevel %q is none of %s", text, strings.Join(logLevels, ", "))
}

// home expands ~ and ~user in front of a path, where that is known.
func home(path string, lookup func(string) (string, bool)) string {
	if !strings.HasPrefix(path, "~") {
		return path
	}
	name, rest, _ := strings.Cut(path[1:], "/")
	if rest != "" || strings.HasSuffix(path, "/") {
		rest = "/" + rest
	}
	dir, ok := "", false
	if name == "" {
		dir, ok = lookup("HOME")
	}
	if !ok {
		who, err := user.Current()
		if name != "" {
			who, err = user.Lookup(name)
		}
		if err != nil {
			return path
		}
		dir = who.HomeDir
	}
	dir = strings.TrimRight(dir, "/")
	if dir+rest == "" {
		return "/"
	}
	return dir + rest
}

var errNoCommand = errors.New("there is no command")
