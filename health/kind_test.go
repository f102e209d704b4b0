package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"qsuper/internal/kind"
)

type plainConfig struct {
	URL kind.Secret `yaml:"url,required"`
}

type timedConfig struct {
	URL     string        `yaml:"url"`
	Timeout kind.Duration `yaml:"timeout"`
}

func (c *timedConfig) Validate() error {
	if c.URL == "bad" {
		return errors.New("url is bad")
	}
	return nil
}

type fakeConn struct{ Conn }

var opened any

func init() {
	Register(Kind{Type: "test-plain", QueueKeys: []string{"name"}}, plainConfig{}, func(c plainConfig) (Conn, error) { opened = c; return fakeConn{}, nil })
	Register(Kind{Type: "test-timed"}, timedConfig{URL: "default", Timeout: 7 * time.Second}, func(c timedConfig) (Conn, error) { opened = c; return fakeConn{}, nil })
}

func section(t *testing.T, text string) *kind.Node {
	t.Helper()
	n, problems := kind.Parse("f.yaml", []byte(text), nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return n
}

func TestDecodeAndOpen(t *testing.T) {
	for text, want := range map[string]struct {
		timeout time.Duration
		config  any
	}{
		"{type: test-timed}":                       {7 * time.Second, timedConfig{"default", 7 * time.Second}},
		"{type: test-timed, url: x, timeout: 1s}":  {time.Second, timedConfig{"x", time.Second}},
		"{type: test-plain, url: s3cret}":          {DefaultTimeout, nil},
		"{type: test-plain, url: s, timeout: 9ms}": {9 * time.Millisecond, nil},
	} {
		n := section(t, text)
		s, err := Decode(n.Get("type").Value.Value, n, "connections.c")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if _, err := s.Open(); err != nil {
			t.Errorf("%s: open: %v", text, err)
		}
		if Timeout(s) != want.timeout || want.config != nil && opened != want.config {
			t.Errorf("%s: timeout %s, opened %+v", text, Timeout(s), opened)
		}
	}
}

func TestDecodeProblems(t *testing.T) {
	for text, want := range map[string]string{
		"{type: test-timed, url: bad}":              "f.yaml:1:1: connections.c: url is bad",
		"{type: test-timed, timeout: 0}":            "f.yaml:1:29: connections.c.timeout: must be more than 0",
		"{type: test-timed, timeout: 5, ulr: x}":    "f.yaml:1:29: connections.c.timeout: duration \"5\" needs a unit, such as 5s or 5m\nf.yaml:1:32: connections.c.ulr: unknown key (did you mean \"url\"?)",
		"{type: test-plain}":                        "f.yaml:1:1: connections.c: url is missing",
		"{type: test-plian}":                        "f.yaml:1:8: connections.c.type: unknown type \"test-plian\" (did you mean \"test-plain\"?)",
		"{type: test-timed, url: bad, timeout: 0s}": "f.yaml:1:39: connections.c.timeout: must be more than 0",
	} {
		n := section(t, text)
		_, err := Decode(n.Get("type").Value.Value, n, "connections.c")
		if err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestSpecIsNotShown(t *testing.T) {
	n := section(t, "{type: test-timed, url: s3cret}")
	s, err := Decode("test-timed", n, "c")
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(asJSON), fmt.Sprintf("%v %+v %#v %s %q %d", s, s, s, s, s, s)} {
		if strings.Contains(text, "s3cret") || !strings.Contains(text, "test-timed connection") {
			t.Errorf("shown: %s", text)
		}
	}
}

func TestSame(t *testing.T) {
	one := func(text string) Spec {
		n := section(t, text)
		s, err := Decode(n.Get("type").Value.Value, n, "c")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a := one("{type: test-plain, url: a}")
	if !Same(a, one("{url: a, type: test-plain, timeout: 3s}")) || Same(a, one("{type: test-plain, url: b}")) || Same(a, one("{type: test-plain, url: a, timeout: 1s}")) || Same(a, one("{type: test-timed, url: a}")) {
		t.Error("Same is wrong")
	}
}

func TestKindsAreSorted(t *testing.T) {
	if k, ok := Lookup("test-plain"); !ok || k.QueueKeys[0] != "name" {
		t.Errorf("lookup: %+v, %v", k, ok)
	}
	if _, ok := Lookup("none"); ok {
		t.Error("found a type that does not exist")
	}
	last := ""
	for _, k := range Kinds() {
		if k.Type <= last {
			t.Errorf("%s after %s", k.Type, last)
		}
		last = k.Type
	}
	defer func() {
		if recover() == nil {
			t.Error("registering a type twice did not panic")
		}
	}()
	Register(Kind{Type: "test-plain"}, plainConfig{}, func(plainConfig) (Conn, error) { return nil, nil })
}
