package runner

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"qsuper/lease"
)

// A fleet in which nothing changes goes on knowing its hosts: each look says anew
// how long they and their slots are there.
func TestCensusOfAFleetThatStandsStill(t *testing.T) {
	look := func(at time.Duration) *lease.View {
		return &lease.View{Known: true, At: at, Records: []lease.Record{
			{Key: "host/web2/b/x", Owner: "web2/b/x", Value: []byte(`{"version":1,"consumers":{"work":{"able":true,"slots":1}}}`), Left: 6 * time.Second},
			{Key: "slot/work/0", Owner: "web2/b/x", Token: 7, Left: 6 * time.Second},
			{Key: "host/web3/b/x", Owner: "web3/b/x", Value: []byte(`not understood`), Left: 6 * time.Second},
		}}
	}
	c := count(look(0), &census{}, true)
	for at := 2 * time.Second; at < time.Minute; at += 2 * time.Second {
		before := c
		c = count(look(at), before, false)
		web2, known := c.hosts["web2/b/x"]
		if !known || web2.expires != at+6*time.Second || !web2.Consumers["work"].Able {
			t.Fatalf("at %s: %+v", at, c.hosts)
		}
		if h := c.slots["slot/work/0"]; h.expires != at+6*time.Second || h.token != 7 {
			t.Fatalf("at %s: %+v", at, h)
		}
		if before.hosts["web2/b/x"].expires == web2.expires {
			t.Fatal("a census that others read has been changed")
		}
	}
	if len(c.hosts) != 1 {
		t.Errorf("%+v", c.hosts)
	}
}

// When a store ceases to answer and when it is back is said once each.
func TestLockStoreThatDoesNotAnswerIsLogged(t *testing.T) {
	var said strings.Builder
	f := &lockStore{name: "fleet", r: &Runner{log: slog.New(slog.NewTextHandler(&said, nil))}}
	down := &lease.View{Err: errors.New("connection refused"), Since: time.Now()}
	up := &lease.View{Since: down.Since}
	for _, c := range []struct {
		view *lease.View
		want string
	}{
		{up, ""},
		{down, `level=WARN msg="lock store does not answer" lock=fleet error="connection refused"`},
		{down, ""},
		{up, `level=INFO msg="lock store answers again" lock=fleet seconds=`},
		{up, ""},
	} {
		said.Reset()
		f.note(c.view)
		if got := said.String(); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("logged %q, expected %q", got, c.want)
		}
	}
}
