package backends_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"qsuper/health"
	"qsuper/health/healthtest"
	"qsuper/lease"
	"qsuper/test/servers"
)

func TestZooKeeperConnection(t *testing.T) {
	server := servers.ZooKeeperServer(t)
	healthtest.Run(t, healthtest.Suite{Addr: server.Addr, Spec: func(t *testing.T, addr, _ string) health.Spec {
		return connection(t, "zookeeper", fmt.Sprintf("type: zookeeper\nservers: [%q]", addr))
	}})
}

// Nodes that are there and nodes that are not, by the eyes of a connection that lasts
// and of one whose server has been started again.
func TestZooKeeperNodes(t *testing.T) {
	server := servers.ZooKeeperServer(t)
	locks := store(t, "zookeeper", fmt.Sprintf("type: zookeeper\nservers: [%q]\nchroot: /nodes", server.Addr), lease.Place{Namespace: "shop", TTL: 20 * time.Second})
	defer locks.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if a, err := locks.Take(ctx, "web1/b/x", 20*time.Second, []lease.Ask{{Key: "slot/a/0"}}); err != nil || !a[0].Granted {
		t.Fatal(a, err)
	}
	conn, err := connection(t, "zookeeper", fmt.Sprintf("type: zookeeper\nservers: [\"127.0.0.1:1\", %q]\nchroot: /nodes", server.Addr)).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	look := func() []health.Answer {
		t.Helper()
		answers, err := conn.(health.Teller).Tell(ctx, []health.Question{
			{Node: "/qsuper/shop/leases/slot%2Fa%2F0/holder"}, {Node: "/qsuper"}, {Node: "/qsuper/shop/none"}, {Node: "/none/at/all"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return answers
	}
	check := func() {
		t.Helper()
		got := look()
		for i, want := range []health.State{health.OK, health.OK, health.Missing, health.Missing} {
			if got[i].State != want || (want == health.OK) != (got[i].Text != "") {
				t.Errorf("%d: %+v, want %s", i, got[i], want)
			}
		}
	}
	check()
	check()
	server.Kill(t)
	if _, err := conn.(health.Teller).Tell(ctx, []health.Question{{Node: "/qsuper"}}); err == nil {
		t.Error("a server that is gone has answered")
	}
	server.Start(t)
	check()
}
