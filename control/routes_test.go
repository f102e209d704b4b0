package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestEveryRouteHasAClientMethod calls every method of Client and compares the
// routes that were asked with the table.
func TestEveryRouteHasAClientMethod(t *testing.T) {
	asked := map[string]bool{}
	d := &fakeDaemon{}
	r := newTestServer(t, d, "")
	r.start(t)
	c := New(r.path)
	seen := c.http
	c.http = roundTrip(func(req *http.Request) (*http.Response, error) {
		asked[req.Method+" "+req.URL.Path] = true
		return seen.RoundTrip(req)
	})
	ctx := context.Background()
	_, e1 := c.Status(ctx, StatusQuery{})
	_, e2 := c.Explain(ctx, "orders")
	_, e3 := c.Do(ctx, Command{Verb: VerbStop})
	_, e4 := c.Shutdown(ctx, Shutdown{})
	_, e5 := c.Reload(ctx)
	e6 := c.Events(ctx, Stream{Last: 1, Follow: false, Names: nil}, func(Event) error { return nil })
	e7 := c.Logs(ctx, Stream{Last: 1, Follow: false, Names: nil}, func(LogLine) error { return nil })
	_, e8 := c.Upgrade(ctx, Upgrade{Binary: "/usr/bin/qsuper"})
	_, e9 := c.RunJob(ctx, JobRun{Name: "reindex"})
	_, e10 := c.Alerts(ctx)
	_, e11 := c.TestAlert(ctx, "orders-late")
	from := time.Date(2026, 3, 29, 0, 0, 0, 5, time.UTC)
	x, e12 := c.ExplainJob(ctx, JobSpan{Name: "reindex", From: from, For: 72 * time.Hour, Limit: 3})
	_, e13 := c.Plan(ctx)
	if err := errors.Join(e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13); err != nil {
		t.Fatal(err)
	}
	if x.Job != "reindex" || !x.From.Equal(from) || !x.Until.Equal(from.Add(72*time.Hour)) || len(x.Fires) != 3 {
		t.Errorf("asked for fires, answered %+v", x)
	}
	for _, route := range Routes {
		if !asked[route.Method+" "+route.Path] {
			t.Errorf("no client method asks %s %s", route.Method, route.Path)
		}
		if route.Doc == "" || strings.Contains(route.Doc, "\n") {
			t.Errorf("%s needs one line of documentation", route.Path)
		}
		if (route.Access == Read) == (route.Method == "POST") {
			t.Errorf("%s %s has access %q: what changes something is a POST, and only that", route.Method, route.Path, route.Access)
		}
	}
	if len(asked) != len(Routes) {
		t.Errorf("asked %d routes, the table has %d", len(asked), len(Routes))
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestArgumentsArrive(t *testing.T) {
	var q StatusQuery
	var got []any
	d := &fakeDaemon{
		status: func(in StatusQuery) (Status, error) { q = in; return Status{Version: 1}, nil },
		do: func(_ context.Context, c Command) (CommandReply, error) {
			got = append(got, c)
			return CommandReply{}, nil
		},
		shutdown: func(_ context.Context, s Shutdown) (CommandReply, error) {
			got = append(got, s)
			return CommandReply{}, nil
		},
		events: func(_ context.Context, n int, follow bool, names []string, emit func(Event) error) error {
			got = append(got, n, follow, names)
			return emit(Event{Seq: 7})
		},
	}
	c := New(serve(t, d).path)
	ctx := context.Background()
	want := StatusQuery{Names: []string{"a/1", "@mail", "x*&?"}, Slots: true, Usage: true}
	if _, err := c.Status(ctx, want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, q); diff != "" {
		t.Errorf("status query (-sent +got):\n%s", diff)
	}
	cmd := Command{Verb: VerbRestart, Names: []string{"a"}, Now: true, Wait: true, Timeout: "3s", Rolling: true, Surge: "50%"}
	if _, err := c.Do(ctx, cmd); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Shutdown(ctx, Shutdown{Now: true, NoWait: true}); err != nil {
		t.Fatal(err)
	}
	var events []Event
	err := c.Events(ctx, Stream{Last: 12, Follow: false, Names: []string{"a"}}, func(e Event) error { events = append(events, e); return nil })
	if err != nil || len(events) != 1 || events[0].Seq != 7 {
		t.Errorf("events: %v, %v", events, err)
	}
	me := Peer{UID: processOwner()}.Name()
	cmd.By = me
	wanted := []any{cmd, Shutdown{Now: true, NoWait: true, By: me}, 12, false, []string{"a"}}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

func TestErrorsKeepTheirMeaning(t *testing.T) {
	cases := []struct {
		err    error
		status int
		hint   string
	}{
		{&NotFound{Name: "oders", Suggestion: "orders"}, 404, `did you mean "orders"?`},
		{&NotFound{Name: "zzz"}, 404, `see all names with "qsuper status"`},
		{&Invalid{Problem: "no", Advice: "yes"}, 400, "yes"},
		{&Conflict{Problem: "stopping", Advice: "wait"}, 409, "wait"},
		{errors.New("disk on fire"), 500, ""},
	}
	for _, tc := range cases {
		d := &fakeDaemon{explain: func(string) (Explain, error) { return Explain{}, tc.err }}
		_, err := New(serve(t, d).path).Explain(context.Background(), "x")
		got, ok := errors.AsType[*Rejected](err)
		if !ok {
			t.Fatalf("%v arrived as %T %v", tc.err, err, err)
		}
		want := &Rejected{Status: tc.status, Message: tc.err.Error(), Advice: tc.hint}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	called := false
	d := &fakeDaemon{do: func(context.Context, Command) (CommandReply, error) { called = true; return CommandReply{}, nil }}
	path := serve(t, d).path
	long := strings.Repeat("x", 10_000)
	cases := []struct {
		method, target, body string
		status               int
	}{
		{"GET", "/", "", 404},
		{"GET", "/v1/status.__proto__", "", 404},
		{"GET", "/v1/" + long, "", 404},
		{"GET", "/v1/%2e%2e/etc/passwd", "", 404},
		{"POST", "/v1/status", "", 405},
		{"GET", "/v1/shutdown", "", 405},
		{"GET", "/v1/status?slots=perhaps", "", 400},
		{"GET", "/v1/status?slot=1", "", 400},
		{"GET", "/v1/status?name=", "", 400},
		{"GET", "/v1/status?name=a%00b", "", 400},
		{"GET", "/v1/explain", "", 400},
		{"GET", "/v1/explain?name=a&name=b", "", 400},
		{"GET", "/v1/logs?n=-1", "", 400},
		{"GET", "/v1/logs?n=99999999999999999999", "", 400},
		{"POST", "/v1/command", "", 400},
		{"POST", "/v1/command", "{", 400},
		{"POST", "/v1/command", "[]", 400},
		{"POST", "/v1/command", `{"verb":"stop"} {"verb":"stop"}`, 400},
		{"POST", "/v1/command", `{"verb":"stop","nmaes":["a"]}`, 400},
		{"POST", "/v1/command", `{"verb":"exec.Command"}`, 400},
		{"POST", "/v1/command", `{"verb":"` + long + `"}`, 400},
		{"POST", "/v1/command", `{"verb":"stop","names":["` + long + `"]}`, 400},
		{"POST", "/v1/command", `{"verb":"stop","names":["\u001b[2J"]}`, 400},
		{"POST", "/v1/command", `{"verb":"stop","timeout":"60"}`, 400},
		{"POST", "/v1/command", `{"verb":"stop","timeout":"-1s"}`, 400},
		{"POST", "/v1/command", `{"verb":"stop","rolling":true}`, 400},
		{"POST", "/v1/command", `{"verb":"restart","max_unavailable":"0"}`, 400},
		{"POST", "/v1/command", `{"verb":"restart","max_unavailable":"101%"}`, 400},
		{"POST", "/v1/command", `{"verb":"restart","surge":"1"}`, 400},
		{"POST", "/v1/command", `{"verb":"restart","rolling":true,"surge":"0"}`, 400},
		{"POST", "/v1/command", `{"verb":"restart","rolling":true,"surge":"1","max_unavailable":"1"}`, 400},
		{"POST", "/v1/command", `{"verb":"stop-workers","surge":"1"}`, 400},
		{"POST", "/v1/command", `{"verb":"scale","count":3}`, 400},
		{"POST", "/v1/command", `{"verb":"scale","names":["a"],"count":-1}`, 400},
		{"POST", "/v1/command", `{"verb":"scale","names":["a"],"count":1e300}`, 400},
		{"POST", "/v1/command", strings.Repeat(`{"verb":`, 7000), 400},
		{"POST", "/v1/reload", `{"force":true}`, 400},
	}
	c := New(path)
	for _, tc := range cases {
		req, err := http.NewRequest(tc.method, "http://qsuper"+tc.target, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s %s: %v", tc.method, clip(tc.target), err)
		}
		var f Failure
		err = json.NewDecoder(resp.Body).Decode(&f)
		resp.Body.Close()
		if resp.StatusCode != tc.status || err != nil || f.Error == "" || len(f.Error) > 300 {
			t.Errorf("%s %s %s: status %d, want %d; error %q, %v", tc.method, clip(tc.target), clip(tc.body), resp.StatusCode, tc.status, f.Error, err)
		}
	}
	if called {
		t.Error("one of them reached the daemon")
	}
}

func TestBatch(t *testing.T) {
	cases := []struct {
		text            string
		instances, want int
	}{
		{"", 4, 1}, {"", 100, 25}, {"25%", 3, 1}, {"50%", 5, 2}, {"100%", 7, 7}, {"2", 7, 2}, {"1", 0, 1}, {"10", 3, 10},
	}
	for _, tc := range cases {
		c := Command{Verb: VerbRestart, Rolling: true, MaxUnavailable: tc.text}
		if err := c.Validate(); err != nil {
			t.Errorf("%q: %v", tc.text, err)
		}
		if got := c.Batch(tc.instances); got != tc.want {
			t.Errorf("%q of %d = %d, want %d", tc.text, tc.instances, got, tc.want)
		}
	}
	if got := (Command{Verb: VerbRestart}).Batch(9); got != 9 {
		t.Errorf("not rolling: %d at once, want all 9", got)
	}
	if !slices.Equal(verbs, slices.Compact(slices.Clone(verbs))) {
		t.Error("a verb is listed twice")
	}
}
