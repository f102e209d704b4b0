package backends

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"qsuper/health"
)

// numbers are the names a user's own query or program may answer with.
var numbers = []string{"ready", "in_flight", "delayed", "oldest_seconds", "consumers"}

// readingOf makes a reading of answers by name; "" is an answer that says
// nothing. ready must be there.
func readingOf(answers map[string]string) (health.Reading, error) {
	r := counted(0)
	for name, text := range answers {
		if !slices.Contains(numbers, name) {
			return r, fmt.Errorf("%q is not one of %s", name, strings.Join(numbers, ", "))
		}
		if text == "" {
			continue
		}
		if name == "oldest_seconds" {
			age, err := strconv.ParseFloat(text, 64)
			if err != nil || math.IsNaN(age) {
				return r, fmt.Errorf("oldest_seconds is not a number: %.40q", text)
			}
			r.Oldest = seconds(age)
			continue
		}
		n, err := count(text)
		if err != nil {
			return r, fmt.Errorf("%s is %w", name, err)
		}
		switch name {
		case "ready":
			r.Ready = n
		case "in_flight":
			r.InFlight = n
		case "delayed":
			r.Delayed = n
		case "consumers":
			r.Consumers = n
		}
	}
	if answers["ready"] == "" {
		return r, errors.New("ready is missing")
	}
	return r, nil
}

// count reads a whole number; 12.0 is one, -1 is not a count.
func count(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(text, 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return 0, fmt.Errorf("not a whole number: %.40q", text)
		}
		n = int64(f)
	}
	if n < 0 {
		return 0, fmt.Errorf("negative: %d", n)
	}
	return n, nil
}

// parseAnswer reads what a program printed: a number, or a JSON object.
func parseAnswer(out string) (health.Reading, error) {
	out = strings.TrimSpace(out)
	if !strings.HasPrefix(out, "{") {
		n, err := count(out)
		if out == "" {
			err = errors.New("nothing")
		}
		return counted(n), err
	}
	value, err := decodeJSON(out)
	if err != nil {
		return health.Reading{}, err
	}
	answers := map[string]string{}
	for name, v := range value.(map[string]any) {
		switch v := v.(type) {
		case json.Number:
			answers[name] = v.String()
		case nil:
			answers[name] = ""
		default:
			return health.Reading{}, fmt.Errorf("%s is not a number", name)
		}
	}
	return readingOf(answers)
}

// decodeJSON reads exactly one value; numbers stay as they are written.
func decodeJSON(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("not JSON: something follows the value")
	}
	return v, nil
}

// jsonPath is a parsed path such as .queues[0].ready: a string is a key, an int
// an index.
type jsonPath []any

// parsePath reads a path. Keys hold anything but . [ ] or are written ["key"].
func parsePath(text string) (jsonPath, error) {
	var path jsonPath
	for rest := text; rest != ""; {
		switch {
		case strings.HasPrefix(rest, `["`):
			key, err := strconv.QuotedPrefix(rest[1:])
			if err != nil || !strings.HasPrefix(rest[1+len(key):], "]") {
				return nil, fmt.Errorf("value %q: a key in brackets is written [\"key\"]", text)
			}
			rest = rest[1+len(key)+1:]
			key, err = strconv.Unquote(key)
			if err != nil {
				return nil, fmt.Errorf("value %q: %w", text, err)
			}
			path = append(path, key)
		case strings.HasPrefix(rest, "["):
			digits, after, closed := strings.Cut(rest[1:], "]")
			i, err := strconv.Atoi(digits)
			if err != nil || !closed || i < 0 {
				return nil, fmt.Errorf("value %q: an index is written [0]", text)
			}
			path, rest = append(path, i), after
		case strings.HasPrefix(rest, "."):
			key := rest[1:]
			if end := strings.IndexAny(key, ".["); end >= 0 {
				key = key[:end]
			}
			if key == "" {
				return nil, fmt.Errorf("value %q: a key is missing after a dot", text)
			}
			path, rest = append(path, key), rest[1+len(key):]
		default:
			return nil, fmt.Errorf("value %q: a path starts with a dot, as in .messages_ready", text)
		}
	}
	return path, nil
}

// find follows the path; {queue} in a key stands for the queue's name.
func (p jsonPath) find(v any, queue string) (any, error) {
	for _, step := range p {
		switch step := step.(type) {
		case string:
			key := strings.ReplaceAll(step, "{queue}", queue)
			m, _ := v.(map[string]any)
			next, ok := m[key]
			if !ok {
				return nil, fmt.Errorf("the answer has no %q", key)
			}
			v = next
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil, fmt.Errorf("the answer has no [%d]", step)
			}
			v = list[step]
		}
	}
	return v, nil
}
