package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"qsuper/control"
)

// TestCommandLines: what each command line asks of the daemon.
func TestCommandLines(t *testing.T) {
	d := scenario("fleet", noon)
	d.do = nil
	path := filepath.Join(t.TempDir(), "q.sock")
	t.Cleanup(serveAt(t, d, path))
	for line, want := range map[string][]control.Command{
		"stop orders mails":                            {{Verb: "stop", Names: []string{"orders", "mails"}, Wait: true}},
		"stop --no-wait --now @mail":                   {{Verb: "stop", Names: []string{"@mail"}, Now: true}},
		"stop --timeout 90s orders/0":                  {{Verb: "stop", Names: []string{"orders/0"}, Wait: true, Timeout: "1m30s"}},
		"start orders":                                 {{Verb: "start", Names: []string{"orders"}, Wait: true, Timeout: "30s"}},
		"start --no-wait orders":                       {{Verb: "start", Names: []string{"orders"}}},
		"restart":                                      {{Verb: "restart", Wait: true}},
		"restart --rolling --surge 1 orders":           {{Verb: "restart", Names: []string{"orders"}, Wait: true, Rolling: true, Surge: "1"}},
		"restart --rolling --max-unavailable 2 orders": {{Verb: "restart", Names: []string{"orders"}, Wait: true, Rolling: true, MaxUnavailable: "2"}},
		"stop-workers":                                 {{Verb: "stop-workers"}},
		"stop-workers --wait m*":                       {{Verb: "stop-workers", Names: []string{"m*"}, Wait: true}},
		"pause --timeout 5s mails":                     {{Verb: "pause", Names: []string{"mails"}, Wait: true, Timeout: "5s"}},
		"resume mails":                                 {{Verb: "resume", Names: []string{"mails"}}},
		"scale orders=0 mails=12":                      {{Verb: "scale", Names: []string{"orders"}}, {Verb: "scale", Names: []string{"mails"}, Count: 12}},
	} {
		d.commands = nil
		code, _, stderr := run(map[string]string{"QSUPER_SOCKET": path}, strings.Fields(line)...)
		if code != 0 || stderr != "" {
			t.Errorf("%s: exit %d, %s", line, code, stderr)
		}
		if diff := cmp.Diff(want, d.commands, cmpopts.IgnoreFields(control.Command{}, "By"), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for line, want := range map[string]string{
		"frobnicate":                    `unknown command "frobnicate"`,
		"statsu":                        "did you mean status?",
		"status --frob":                 "unknown flag: --frob",
		"explain":                       "needs 1 argument",
		"explain a b":                   `takes no "b"`,
		"reload now":                    `takes no "now"`,
		"upgrade now":                   `takes no "now"`,
		"scale orders":                  "orders=4",
		"scale orders=many":             "orders=4",
		"scale orders=-1":               "orders=4",
		"scale =1":                      "orders=4",
		"scale mails 6":                 "mails=6",
		"stop --timeout -1s a":          "negative",
		"stop --timeout 60 a":           "invalid argument",
		"stop --no-wait --timeout 1s a": "exclude each other",
		"restart --max-unavailable 2 a": "--rolling",
		"restart --surge 1 a":           "--rolling",
		"restart --rolling --surge 1 --max-unavailable 1 a": "--surge alone",
		"logs -n -1":           "negative",
		"events -n x":          "invalid argument",
		"--color pink version": "pink",
		"completion tcsh":      "tcsh",
	} {
		code, stdout, stderr := run(nil, append([]string{"--socket", "/nonexistent/q.sock"}, strings.Fields(line)...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) || strings.Count(stderr, "qsuper: ") != 1 {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", line, code, stdout, stderr)
		}
	}
}

// TestNoDaemonIsFour for every command that needs one.
func TestNoDaemonIsFour(t *testing.T) {
	for _, line := range []string{
		"status", "status --watch", "status --json", "explain a", "stop", "stop a", "restart", "stop-workers", "pause", "resume", "scale a=1", "reload",
		"logs", "logs -f", "events", "events -f", "start a",
	} {
		code, stdout, stderr := run(nil, append([]string{"--socket", "/nonexistent/q.sock"}, strings.Fields(line)...)...)
		want := "qsuper: no daemon answers at /nonexistent/q.sock\nhint: start it with \"qsuper start\", or give --socket\n"
		if code != exitNoDaemon || stdout != "" || stderr != want {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", line, code, stdout, stderr)
		}
	}
}

// TestEveryReadingCommandHasJSON and prints one document or JSON lines.
func TestEveryReadingCommandHasJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.sock")
	t.Cleanup(serveAt(t, scenario("fleet", noon), path))
	for _, line := range []string{"status", "explain mails", "logs", "events", "reload", "version", "resume mails"} {
		_, stdout, stderr := run(map[string]string{"QSUPER_SOCKET": path}, append(strings.Fields(line), "--json")...)
		dec := json.NewDecoder(strings.NewReader(stdout))
		n := 0
		for dec.More() {
			var v map[string]any
			if err := dec.Decode(&v); err != nil {
				t.Errorf("%s: %v in %q", line, err, stdout)
				break
			}
			n++
		}
		if n == 0 || stderr != "" {
			t.Errorf("%s: %d documents, stderr %q", line, n, stderr)
		}
	}
}

func TestReload(t *testing.T) {
	d := scenario("one", noon)
	c := serve(t, d)
	d.reload = control.ReloadReply{Added: []string{"mails"}, Changed: []string{"orders"}, Removed: []string{"old"}, Unchanged: 12, Warnings: []string{"a: careful"}}
	out, text, errs := paper(80)
	if err := runReload(t.Context(), c, out); err != nil {
		t.Fatal(err)
	}
	want := "warning: a: careful\nadded    mails\nchanged  orders\nremoved  old\n12 consumers and jobs unchanged\n"
	if text.String() != want || errs.String() != "" {
		t.Errorf("got:\n%s%s", text, errs)
	}
	d.reload = control.ReloadReply{Problems: []string{"q.yaml:3: x: no", "q.yaml:9: y: no"}}
	out, text, errs = paper(80)
	err := runReload(t.Context(), c, out)
	if exitCode(err) != exitConfig || text.String() != "" {
		t.Errorf("exit %d, stdout %q", exitCode(err), text)
	}
	if want := "q.yaml:3: x: no\nq.yaml:9: y: no\nqsuper: the file is refused with 2 problems; nothing has changed\n"; errs.String() != want {
		t.Errorf("stderr:\n%s", errs)
	}
}

func TestPlan(t *testing.T) {
	d := scenario("one", noon)
	c := serve(t, d)
	d.reload = control.ReloadReply{
		Added: []string{"mails"}, Changed: []string{"orders", "sms"}, Replaced: []string{"orders"}, Removed: []string{"old"}, Unchanged: 12,
		Connections: []string{"db"}, Settings: []string{"daemon.interval"}, Warnings: []string{"a: careful"},
	}
	out, text, errs := paper(80)
	if err := runPlan(t.Context(), c, out); err != nil {
		t.Fatal(err)
	}
	want := `warning: a: careful
add     mails
change  orders: running instances finish and come back
change  sms: what runs goes on
remove  old: running instances finish
change  connection db
change  daemon.interval
12 consumers and jobs unchanged
`
	if text.String() != want || errs.String() != "" {
		t.Errorf("got:\n%s%s", text, errs)
	}
	d.reload = control.ReloadReply{Problems: []string{"q.yaml:3: x: no"}}
	out, text, errs = paper(80)
	err := runPlan(t.Context(), c, out)
	if exitCode(err) != exitConfig || text.String() != "" || errs.String() != "q.yaml:3: x: no\nqsuper: a reload would refuse the file, with 1 problem\n" {
		t.Errorf("exit %d, stdout %q, stderr %q", exitCode(err), text, errs)
	}
}

func TestStartDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.sock")
	d := scenario("one", noon)
	out, text, _ := paper(80)
	start := func() error { t.Cleanup(serveAt(t, d, path)); return nil }
	for _, want := range []string{"the daemon shop started: pid 812, 1 consumer of /etc/qsuper/qsuper.yaml\n", "the daemon shop runs already: pid 812"} {
		text.Reset()
		if err := runStartDaemon(t.Context(), control.New(path), start, out); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(text.String(), want) {
			t.Errorf("got %q, want %q", text, want)
		}
	}
}
