package leasetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"qsuper/lease"
)

func namespaces(t *testing.T, s Subject) {
	a, b := s.user(t, "shop-1", "web1"), s.user(t, "shop-10", "web1")
	a.gets("slot/orders/0")
	b.gets("slot/orders/0")
	if got := b.lists(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// contenders: however many ask at once, one gets it.
func contenders(t *testing.T, s Subject) {
	const hosts, rounds = 8, 10
	var users []*user
	for i := range hosts {
		users = append(users, s.user(t, "race", fmt.Sprintf("web%d", i)))
	}
	for round := range rounds {
		key := fmt.Sprintf("slot/race/%d", round)
		granted, claimed := make([]bool, hosts), make([]bool, hosts)
		var all sync.WaitGroup
		begin := make(chan struct{})
		for i, u := range users {
			all.Go(func() {
				<-begin
				ctx := u.ctx()
				answers, err := u.store.Take(ctx, u.owner, time.Minute, []lease.Ask{{Key: key}, {Key: key + "x"}})
				if err != nil {
					t.Error(err)
					return
				}
				granted[i] = answers[0].Granted
				by, err := u.store.Claim(ctx, u.owner, lease.Claim{Key: "job/" + key, Keep: time.Hour})
				if err != nil {
					t.Error(err)
				}
				claimed[i] = by == u.owner
			})
		}
		close(begin)
		all.Wait()
		for what, list := range map[string][]bool{"granted": granted, "claimed": claimed} {
			n := 0
			for _, yes := range list {
				if yes {
					n++
				}
			}
			if n != 1 {
				t.Errorf("round %d: %s to %d of %d hosts", round, what, n, hosts)
			}
		}
	}
}

// successor: another engine of the same host goes on with its leases, and they end
// with their time if none does.
func successor(t *testing.T, s Subject) {
	a, b := s.user(t, "successor", "web1"), s.user(t, "successor", "web2")
	h, host := a.gets("slot/orders/0"), a.gets(lease.HostPrefix+a.owner)
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	next := s.user(t, "successor", "web1")
	b.refused("slot/orders/0", a)
	next.renews(true, h, host)
	b.refused("slot/orders/0", a)
	began := time.Now()
	for tick := time.NewTicker(next.ttl / 10); time.Since(began) < 2*next.ttl; <-tick.C {
		next.renews(true, h, host)
	}
	again := next.gets("slot/orders/0") // it has forgotten its token
	if again.Token < h.Token {
		t.Errorf("token %d follows %d", again.Token, h.Token)
	}
	_ = next.store.Close()
	if taken := b.outlives("slot/orders/0", next); taken.Token <= again.Token {
		t.Errorf("token %d follows %d", taken.Token, again.Token)
	}
}

// restart: the server comes back. A lease that it still knows is still held, with
// its token; what it has lost is given to whoever asks, with a larger one.
func restart(t *testing.T, s Subject) {
	a, b := s.user(t, "restart", "web1"), s.user(t, "restart", "web2")
	h := a.gets("slot/orders/0")
	s.Restart(t)
	var held bool
	eventually(t, "the server answers", func() bool {
		ok, err := a.store.Renew(a.ctx(), a.owner, a.ttl, []lease.Held{h})
		held = err == nil && ok[0]
		return err == nil
	})
	switch {
	case held && s.Loses:
		t.Error("a server that knows nothing has renewed a lease")
	case held:
		eventually(t, "the server answers the other", func() bool {
			answers, err := b.store.Take(b.ctx(), b.owner, b.ttl, []lease.Ask{{Key: "slot/orders/0"}})
			if err == nil && answers[0].Granted {
				t.Error("taken while another host has it")
			}
			return err == nil
		})
		a.renews(true, h)
		a.releases(h)
	}
	// One whose time was over when the server was back is nobody's any more.
	taken := b.outlives("slot/orders/0", a)
	if taken.Token <= h.Token {
		t.Errorf("token %d follows %d", taken.Token, h.Token)
	}
	a.renews(false, h)
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !cond(); <-tick.C {
		if time.Since(began) > limit {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}
