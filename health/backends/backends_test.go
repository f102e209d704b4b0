package backends_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"qsuper/health"
	_ "qsuper/health/backends"
	"qsuper/health/healthtest"
	"qsuper/internal/kind"
)

// decode reads a section as the configuration file does.
func decode(t testing.TB, typ, section string, args ...any) (health.Spec, error) {
	t.Helper()
	n, problems := kind.Parse(t.TempDir()+"/test.yaml", []byte(fmt.Sprintf(section, args...)), nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return health.Decode(typ, n, "connections.c")
}

func spec(t testing.TB, typ, section string, args ...any) health.Spec {
	t.Helper()
	s, err := decode(t, typ, section, args...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// look makes one look with a probe of its own.
func look(t testing.TB, s health.Spec, queues ...health.Queue) health.Observation {
	t.Helper()
	p := health.NewProbe("c", s, health.Timeout(s))
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	return p.Look(t.Context(), queues)
}

// reading looks at one queue of a connection that must be up.
func reading(t testing.TB, s health.Spec, q health.Queue) health.Reading {
	t.Helper()
	o := look(t, s, q)
	if !o.Up {
		t.Fatalf("down: %s", o.Err)
	}
	return o.Readings[0]
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// refused are sections that must not be accepted, with a part of the reason; no
// reason may show the word "hidden".
func refused(t *testing.T, typ string, sections map[string]string) {
	t.Helper()
	for section, reason := range sections {
		_, err := decode(t, typ, "%s", section)
		if err == nil || !strings.Contains(err.Error(), reason) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: got %v, want a reason with %q", section, err, reason)
		}
	}
}

// refusedQueues are queues that CheckQueue must refuse.
func refusedQueues(t *testing.T, typ string, queues map[string]health.Queue) {
	t.Helper()
	k, ok := health.Lookup(typ)
	if !ok {
		t.Fatalf("%s is not registered", typ)
	}
	for reason, q := range queues {
		if err := k.CheckQueue(q); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%+v: got %v, want a reason with %q", q, err, reason)
		}
	}
}

// The tests that docs/backends.md names are there.
func TestDocsNameTests(t *testing.T) {
	text, err := os.ReadFile("../../docs/backends.md")
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob("*_test.go")
	var source []byte
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, b...)
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)").FindAllSubmatch(text, -1)
	if len(named) < 20 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, m := range named {
		if !bytes.Contains(source, []byte("func "+string(m[1])+"(t *testing.T)")) {
			t.Errorf("there is no %s", m[1])
		}
	}
}

// Every type has its row in docs/backends.md, and every layout; that they say what
// the suites show is the suites' own check.
func TestDocsHaveEveryType(t *testing.T) {
	page, err := os.ReadFile(healthtest.Page)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range health.Kinds() {
		rows := []string{k.Type}
		for _, layout := range k.Layouts {
			if len(k.Layouts) > 1 {
				rows = append(rows, k.Type+"/"+layout)
			}
		}
		for _, row := range rows {
			if healthtest.Row(string(page), row) == nil {
				t.Errorf("%s: no row for %s", healthtest.Page, row)
			}
		}
	}
}
