package config

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/internal/kind"
	"qsuper/internal/pattern"
)

// formats are the ways of writing a scalar that the `format:` tags name.
var formats = map[string]kind.Format{
	"size":    func(text string) (any, error) { return kind.ParseSize(text) },
	"octal":   func(text string) (any, error) { return parseOctal(text) },
	"percent": func(text string) (any, error) { return parsePercent(text) },
	"signal":  func(text string) (any, error) { return parseSignal(text) },
	"wait_for": func(text string) (any, error) {
		if text != "" && text != WaitIdle {
			return "", fmt.Errorf("expected idle or nothing, got %s", kind.Quote(text))
		}
		return text, nil
	},
	"scope": func(text string) (any, error) { return parseScope(text) },
}

var octal = pattern.Lazy(`^(0o)?[0-7]{1,4}$`)

// parseOctal reads permission bits. YAML's own reading of 022 differs between
// its versions, so the text as written counts: 022, "022", 0o22 and 22 are one.
func parseOctal(text string) (uint32, error) {
	bits, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if !octal().MatchString(text) || err != nil || bits > 0o777 {
		return 0, fmt.Errorf("expected octal permission bits from 000 to 777, got %s", kind.Quote(text))
	}
	return uint32(bits), nil
}

// parsePercent returns a share from 0 to 1.
func parsePercent(text string) (float64, error) {
	number, isPercent := strings.CutSuffix(text, "%")
	value, err := strconv.ParseUint(number, 10, 8)
	if err != nil || value > 100 || !isPercent && value != 0 {
		return 0, fmt.Errorf("expected a percentage from 0%% to 100%%, got %s", kind.Quote(text))
	}
	return float64(value) / 100, nil
}

// parseSignal reads TERM, SIGTERM or 15. Signals that only stop or continue a
// process are refused: they end nothing.
func parseSignal(text string) (syscall.Signal, error) {
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	signal := unix.SignalNum(name)
	if number, err := strconv.Atoi(text); err == nil && number > 0 && number <= 64 {
		signal = syscall.Signal(number)
	}
	switch signal {
	case 0:
		return 0, fmt.Errorf("unknown signal %s; use a name such as TERM, INT, QUIT or USR1", kind.Quote(text))
	case unix.SIGSTOP, unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCHLD, unix.SIGURG:
		return 0, fmt.Errorf("signal %s does not end a process", kind.Quote(text))
	}
	return signal, nil
}

func parseScope(text string) (string, error) {
	switch text {
	case "process", "group", "tree":
		return text, nil
	}
	return "", fmt.Errorf("expected one of process, group, tree, got %s", kind.Quote(text))
}

// minWait is the shortest max_wait: queues are looked at once a second or so.
const minWait = time.Second

// UnmarshalNode reads a number, or a map with min and max.
func (i *Instances) UnmarshalNode(d *kind.Decoder, n *kind.Node, path string) {
	if n.Shape == kind.Scalar {
		*i = Instances{}
		d.Value(n, path, &i.Min, `min:"0" max:"10000"`)
		i.Max = i.Min
		return
	}
	type keys Instances
	k := keys(defaultRange)
	before := len(d.Problems)
	d.Decode(n, path, &k)
	switch {
	case len(d.Problems) > before:
	case n.Get("max") == nil:
		d.Problems.Add(n, path, "max is missing")
	case k.Min > k.Max:
		d.Problems.Add(place(n, "min"), path+".min", "min %d is more than max %d", k.Min, k.Max)
	case n.Get("max_wait") != nil && n.Get("per_instance") != nil:
		d.Problems.Add(place(n, "max_wait"), path+".max_wait", "cannot be combined with per_instance: either says how many are needed")
	case n.Get("max_wait") != nil && k.MaxWait < minWait:
		d.Problems.Add(place(n, "max_wait"), path+".max_wait", "must be at least %s", minWait)
	case k.Min == k.Max:
		k = keys{Min: k.Min, Max: k.Max}
	case k.MaxWait > 0:
		k.PerInstance = 0
	}
	*i = Instances(k)
}

// envFile is an entry of env_file: a path, with "-" in front when it may be missing.
type envFile string

// UnmarshalNode implements kind.Unmarshaler.
func (f *envFile) UnmarshalNode(d *kind.Decoder, n *kind.Node, path string) {
	var text string
	before := len(d.Problems)
	d.Value(n, path, &text, "")
	if len(d.Problems) > before {
		return
	}
	name, optional := strings.CutPrefix(text, "-")
	if name == "" {
		d.Problems.Add(n, path, "must not be empty")
		return
	}
	*f = envFile(kind.Resolve(n, name))
	if optional {
		*f = "-" + *f
	}
}
