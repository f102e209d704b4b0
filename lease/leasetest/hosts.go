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
