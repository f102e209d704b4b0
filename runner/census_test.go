package runner

import (
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
