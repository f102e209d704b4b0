package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"qsuper/control"
	"qsuper/slot"
)

const referenceFile = "../../docs/reference.md"

// TestReference: docs/reference.md is what the code says; -update writes it anew.
func TestReference(t *testing.T) {
	want := reference(t)
	if *update {
		if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Error("docs/reference.md is stale: go test ./cmd/qsuper -run TestReference -update")
	}
}

// documents are what --json prints, and what the socket answers.
var documents = []struct {
	title string
	value any
}{
	{"`qsuper status --json`, GET /v1/status", control.Status{}},
	{"`qsuper explain --json`, GET /v1/explain", control.Explain{}},
	{"`qsuper events --json`, a line each", control.Event{}},
	{"`qsuper logs --json`, a line each", control.LogLine{}},
	{"`--json` of start, stop, restart, stop-workers, pause, resume, scale", control.CommandReply{}},
	{"`qsuper reload --json`, `qsuper plan --json`, GET /v1/plan", control.ReloadReply{}},
	{"`qsuper upgrade --json`", control.UpgradeReply{}},
	{"`qsuper jobs run --json`, POST /v1/jobs/run", control.JobReply{}},
	{"`qsuper jobs explain --json`, GET /v1/jobs/explain", control.JobExplain{}},
	{"An entry of GET /v1/alerts", control.AlertStatus{}},
	{"An error over the socket", control.Failure{}},
}

func reference(t *testing.T) string {
	var b strings.Builder
	b.WriteString("# Reference\n\nMade from the code (`make generate`). Every key of the file: [configuration](configuration.md).\n")
	b.WriteString("\n## Exit codes\n\n| code | meaning |\n|---|---|\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", c.code, c.meaning)
	}
	b.WriteString("\n## Reason codes\n\nThe same word in status, explain, events, logs and metrics. New ones may be added.\n\n| code | meaning |\n|---|---|\n")
	for _, c := range slot.Codes {
		fmt.Fprintf(&b, "| `%s` | %s |\n", c.Code, inRow(c.Text))
	}
	b.WriteString("\n## The API of the socket\n\nHTTP over `daemon.socket.path`. *operate* is for whom the socket lets in, *admin* for root and the daemon's own user.\n\n| | access | |\n|---|---|---|\n")
	for _, r := range control.Routes {
		fmt.Fprintf(&b, "| `%s %s` | %s | %s |\n", r.Method, r.Path, r.Access, inRow(r.Doc))
	}
	b.WriteString("\n## JSON\n\nFields are only ever added. Times are RFC 3339 with fractions. *absent* marks a field that is left out when it has nothing to say:\na number that is not there is not known, which is not zero.\n")
	comments := fieldComments(t)
	done := map[reflect.Type]bool{}
	for _, d := range documents {
		fmt.Fprintf(&b, "\n### %s\n", d.title)
		tables(&b, reflect.TypeOf(d.value), comments, done)
	}
	return b.String()
}

// tables writes a type's fields, and then those of the types in it that have not
// been shown yet.
func tables(b *strings.Builder, t reflect.Type, comments map[string]string, done map[reflect.Type]bool) {
	done[t] = true
	fmt.Fprintf(b, "\n| %s | | |\n|---|---|---|\n", t.Name())
	var more []reflect.Type
	var rows func(t reflect.Type)
	rows = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Anonymous {
				rows(f.Type)
				continue
			}
			name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			kind, inner := jsonType(f.Type)
			if option != "" {
				kind += ", absent"
			}
			fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, kind, inRow(comments[t.Name()+"."+f.Name]))
			if inner != nil && !done[inner] {
				done[inner] = true
				more = append(more, inner)
			}
		}
	}
	rows(t)
	for _, inner := range more {
		tables(b, inner, comments, done)
	}
}

// jsonType names a type as JSON has it; inner is the struct within, if any.
func jsonType(t reflect.Type) (name string, inner reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer:
		return jsonType(t.Elem())
	case reflect.Slice:
		name, inner = jsonType(t.Elem())
		return "list of " + name, inner
	case reflect.Map:
		name, inner = jsonType(t.Elem())
		return "map to " + name, inner
	case reflect.Struct:
		if t.PkgPath() == "time" {
			return "time", nil
		}
		return t.Name(), t
	case reflect.String:
		return "text", nil
	case reflect.Bool:
		return "true or false", nil
	case reflect.Float32, reflect.Float64:
		return "number", nil
	default:
		return "whole number", nil
	}
}

func inRow(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

// fieldComments are the comments of the wire types' fields, by Type.Field.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../control/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	comments := map[string]string{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		addFieldComments(comments, file, "")
	}
	return comments
}
