package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"qsuper/test/rig"
	"qsuper/test/servers"
)

// A failover that loses everything: the hold-off of whoever takes the slot next is
// longer than the one before may go on.
func TestRedisLosesTheKeys(t *testing.T) {
	server, j := servers.RedisServer(t), newJournal(t)
	head := fmt.Sprintf("connections:\n  cache: {type: redis, url: \"redis://%s/0\"}\nlocks:\n  fleet: {type: redis, connection: cache, ttl: 7s}\n", server.Addr)
	a := rig.StartDaemon(t, file("a", j, head, exclusive))
	rig.Eventually(t, rig.Patience, "a runs it", func() bool { return j.count(t, "a") == 1 })
	b := rig.StartDaemon(t, file("b", j, head, exclusive))
	for range 2 {
		before := len(j.lives(t))
		server.Kill(t)
		server.Start(t) // empty
		rig.Eventually(t, rig.Patience, "another process runs, whoever has it", func() bool { return len(j.lives(t)) > before })
	}
	rig.Eventually(t, rig.Patience, "it runs, and is known to", func() bool {
		return len(j.holders(t)) == 1 && strings.Contains(a.Run("locks").Stdout, "work/0")
	})
	j.judge(t)
	a.StopAll()
	b.StopAll()
}

// The store goes away: exclusive processes end before their leases do, others stay;
// when it is back everything runs again.
func TestAStoreThatGoesAway(t *testing.T) {
	maria, j, shared := servers.MariaDB(t), newJournal(t), newJournal(t)
	head := mysqlHead(t, "7s")
	a := rig.StartDaemon(t, file("a", j, head, exclusive)+strings.ReplaceAll(
		file("a", shared, "", "    instances: 2\n")[len("\nconsumers:\n"):], "  work:", "  shared:"))
	rig.Eventually(t, rig.Patience, "all run", func() bool { return j.count(t, "a") == 1 && shared.count(t, "a") == 2 })
	maria.Kill(t)
	killed := boottime()
	rig.Eventually(t, rig.Patience, "the exclusive one has ended", func() bool { return j.count(t, "a") == 0 })
	last := j.lives(t)[0].to
	t.Logf("it acted for the last time %s after the store had gone (ttl 7s)", last-killed)
	if last-killed > 7*time.Second {
		t.Error("it has outlived its lease")
	}
	if n := shared.count(t, "a"); n != 2 {
		t.Errorf("%d of 2 that need not be exclusive run", n)
	}
	if out := a.Run("status").Stdout; !strings.Contains(out, "does not answer") {
		t.Errorf("%s", out)
	}
	maria.Start(t)
	rig.Eventually(t, rig.Patience, "all run again", func() bool { return j.count(t, "a") == 1 && shared.count(t, "a") == 2 })
	j.judge(t)
	if n := len(shared.lives(t)); n != 2 {
		t.Errorf("%d processes have had the two shared slots", n)
	}
	a.StopAll()
}
