package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"qsuper/test/rig"
	"qsuper/test/servers"
)

// One of three members may hang or die, the leader or the one that a host asks, and
// nobody notices; without two of them an exclusive process ends before its lease does.
func TestEtcdLosesMembers(t *testing.T) {
	const ttl = 21 * time.Second
	members, j := servers.EtcdCluster(t), newJournal(t)
	var urls []string
	for _, m := range members {
		urls = append(urls, fmt.Sprintf("%q", "http://"+m.Addr))
	}
	head := fmt.Sprintf("locks:\n  fleet: {type: etcd, endpoints: [%s], ttl: %s}\n", strings.Join(urls, ", "), ttl)
	a := rig.StartDaemon(t, file("a", j, head, exclusive))
	rig.Eventually(t, rig.Patience, "a runs it", func() bool { return j.count(t, "a") == 1 })
	notices := func(what string) {
		t.Helper()
		began := boottime() // a lease that is not renewed does not last so long
		rig.Eventually(t, 2*ttl, what, func() bool { return boottime()-began > ttl+ttl/3 })
		if n := len(j.lives(t)); n != 1 || j.count(t, "a") != 1 {
			t.Fatalf("%s: %d processes have run, and now %d do\n%s", what, n, j.count(t, "a"), a.Run("explain", "work").Stdout)
		}
	}
	members[0].Pause(t, true) // the first of the list hangs, and accepts connections all the same
	notices("one hangs")
	members[0].Pause(t, false)
	leader := servers.EtcdLeader(t, members)
	members[leader].Kill(t)
	notices("the leader dies")
	members[leader].Start(t)
	leader = servers.EtcdLeader(t, members)

	members[leader].Kill(t)
	members[(leader+1)%3].Kill(t)
	killed := boottime()
	rig.Eventually(t, rig.Patience, "it has ended", func() bool { return j.count(t, "a") == 0 })
	if last := j.lives(t)[0].to; last-killed > ttl {
		t.Errorf("it has outlived its lease by %s", last-killed-ttl)
	}
	members[leader].Start(t)
	members[(leader+1)%3].Start(t)
	rig.Eventually(t, 2*rig.Patience, "it runs again", func() bool { return j.count(t, "a") == 1 })
	j.judge(t)
	a.StopAll()
}
