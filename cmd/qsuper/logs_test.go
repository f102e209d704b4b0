package main

import (
	"context"
	"strings"
	"testing"
)

func TestLogs(t *testing.T) {
	c := serve(t, scenario("fleet", noon))
	for _, tc := range []struct {
		name   string
		names  []string
		change func(*screen, *logsOptions)
		want   string
	}{
		{"everything", nil, nil, "orders/0   | [OK] Consuming messages from transport \"orders\".\norders/1   | handled\t4711 \x1b[2J\x07\nmails/0    | PHP Fatal error: Uncaught Exception\n"},
		{"one slot", []string{"orders/1"}, nil, "[OK] Consuming messages from transport \"orders\".\nhandled\t4711 \x1b[2J\x07\nPHP Fatal error: Uncaught Exception\n"},
		{"terminal", []string{"orders/1"}, func(s *screen, _ *logsOptions) { s.live = true }, "[OK] Consuming messages from transport \"orders\".\nhandled\t4711 \\x1b[2J\\x07\nPHP Fatal error: Uncaught Exception\n"},
		{"terminal, raw", []string{"orders/1"}, func(s *screen, o *logsOptions) { s.live, o.raw = true, true }, "[OK] Consuming messages from transport \"orders\".\nhandled\t4711 \x1b[2J\x07\nPHP Fatal error: Uncaught Exception\n"},
		{"json", nil, func(s *screen, o *logsOptions) { s.json, o.lines = true, 1 }, `{"consumer":"mails","slot":0,"text":"PHP Fatal error: Uncaught Exception"}` + "\n"},
		{"two lines", []string{"ticker"}, func(_ *screen, o *logsOptions) { o.lines = 2 }, "handled\t4711 \x1b[2J\x07\nPHP Fatal error: Uncaught Exception\n"},
	} {
		out, text, _ := paper(0)
		o := logsOptions{names: tc.names, lines: 100}
		if tc.change != nil {
			tc.change(out, &o)
		}
		if err := runLogs(context.Background(), c, o, out); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if text.String() != tc.want {
			t.Errorf("%s:\n got %q\nwant %q", tc.name, text, tc.want)
		}
	}
}

// TestFollowSurvivesTheEngine: a stream that breaks is picked up again without
// its history; Ctrl-C ends it with success.
func TestFollowSurvivesTheEngine(t *testing.T) {
	d := scenario("fleet", noon)
	d.cuts = 1
	c := serve(t, d)
	var text, errs lockedBuffer
	out := &screen{Writer: &text, stderr: &errs}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- runLogs(ctx, c, logsOptions{follow: true, lines: 100, names: []string{"orders"}}, out)
	}()
	eventually(t, "the reconnection", func() bool { return strings.Count(errs.String(), "following again") == 1 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := strings.Count(text.String(), "PHP Fatal"); n != 1 {
		t.Errorf("the history was printed %d times", n)
	}
}

func TestEvents(t *testing.T) {
	c := serve(t, scenario("fleet", noon))
	out, text, _ := paper(0)
	if err := runEvents(context.Background(), c, eventsOptions{lines: 3}, out); err != nil {
		t.Fatal(err)
	}
	want := `2026-03-14 11:59:00 UTC  orders/0          spawning → running    ready 12 >= 1 (pid 4242, run 17)
2026-03-14 11:59:52 UTC  mails/1           running → waiting     exit 255 after 0.2 s \x1b[2J; next start in 12 s
2026-03-14 12:00:00 UTC  ticker/0          running → draining    paused by anna (pid 999, run 3)
`
	if text.String() != want {
		t.Errorf("got:\n%s", text)
	}
}
