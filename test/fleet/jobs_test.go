package fleet

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"qsuper/test/rig"
	"qsuper/test/servers"
)

// heads are the lock stores of all types, each with a name space of its own.
var heads = map[string]func(t *testing.T, ttl string) string{
	"mysql": mysqlHead,
	"postgres": func(t *testing.T, ttl string) string {
		pg := servers.PostgreSQL(t)
		name, _ := pg.NewDatabase(t)
		return fmt.Sprintf("connections:\n  db: {type: postgres, url: %q}\nlocks:\n  fleet: {type: postgres, connection: db, ttl: %s}\n", pg.DSN(name), ttl)
	},
	"redis": func(t *testing.T, ttl string) string {
		server := servers.RedisServer(t)
		return fmt.Sprintf("connections:\n  cache: {type: redis, url: \"redis://%s/%d\"}\nlocks:\n  fleet: {type: redis, connection: cache, ttl: %s}\n",
			server.Addr, 100+rand.IntN(800), ttl)
	},
	"zookeeper": func(t *testing.T, ttl string) string {
		return fmt.Sprintf("locks:\n  fleet: {type: zookeeper, servers: [%q], ttl: %s, chroot: /%s}\n", servers.ZooKeeperServer(t).Addr, ttl, strings.ReplaceAll(t.Name(), "/", "-"))
	},
	"etcd": func(t *testing.T, ttl string) string {
		// Daemons of all tests have one name, and this server knows no databases.
		return fmt.Sprintf("locks:\n  fleet: {type: etcd, endpoints: [%q], ttl: %s}\n", servers.Etcd(t), ttl)
	},
}

// jobsFile is a host with two jobs, which note each run.
func jobsFile(host string, ran, head string) string {
	return head + fmt.Sprintf(`
jobs:
  second: {schedule: "* * * * * *", lock: fleet, overlap: allow, shell: 'echo "second $QSUPER_FIRE %[1]s $QSUPER_FENCE_TOKEN" >> %[2]s', logs: {to: none}}
  third: {schedule: "*/3 * * * * *", lock: fleet, shell: 'echo "third $QSUPER_FIRE %[1]s $QSUPER_FENCE_TOKEN" >> %[2]s', logs: {to: none}}
`, host, ran)
}

// runs counts what has run, by job and fire, and which hosts have run something.
func runs(t *testing.T, ran string) (fires map[string]int, by map[string]int) {
	t.Helper()
	fires, by = map[string]int{}, map[string]int{}
	f, err := os.Open(ran)
	if os.IsNotExist(err) {
		return fires, by
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		if len(w) != 4 {
			t.Fatalf("a run without its fire or token: %q", s.Text())
		}
		at, err := time.Parse(time.RFC3339, w[1])
		if err != nil {
			t.Fatal(err)
		}
		fires[w[0]+" "+at.UTC().Format(time.TimeOnly)]++
		by[w[2]]++
	}
	return fires, by
}

// Three daemons have the same jobs: each fire runs once over all, also while daemons
// are killed, both of their processes at once.
func TestFiresRunOnceOverHosts(t *testing.T) {
	for typ, head := range heads {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			store, ran := head(t, "7s"), filepath.Join(t.TempDir(), "ran")
			var hosts []*rig.Daemon
			for _, name := range []string{"a", "b", "c"} {
				hosts = append(hosts, rig.StartDaemon(t, jobsFile(name, ran, store)))
			}
			began := time.Now()
			const kills = 4
			for n := range kills {
				want := 6 * (n + 1)
				rig.Eventually(t, rig.Patience, "jobs run", func() bool { fires, _ := runs(t, ran); return len(fires) >= want })
				victim := hosts[rand.IntN(len(hosts))]
				for pid := range rig.ProcessesOf(victim.Dir) {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
				<-time.After(time.Duration(rand.IntN(1500)) * time.Millisecond)
				victim.Start()
			}
			killed := time.Now()
			rig.Eventually(t, rig.Patience, "jobs go on", func() bool {
				fires, _ := runs(t, ran)
				return fires["second "+killed.Add(8*time.Second).UTC().Format(time.TimeOnly)] > 0
			})
			judgeFires(t, ran, began, killed, kills)
			if out := hosts[0].Must("jobs").Stdout + hosts[1].Must("jobs").Stdout + hosts[2].Must("jobs").Stdout; !strings.Contains(out, "on ") {
				t.Errorf("nobody says that another host has a fire:\n%s", out)
			}
			for _, d := range hosts {
				d.StopAll()
			}
		})
	}
}

// judgeFires looks at the fires between two moments. A kill may cost what its host
// had taken and not begun, and what came while it still had the slot.
func judgeFires(t *testing.T, ran string, began, until time.Time, kills int) {
	t.Helper()
	fires, by := runs(t, ran)
	for fire, n := range fires {
		if n > 1 {
			t.Errorf("%s ran %d times", fire, n)
		}
	}
	var lost []string
	n := 0
	for at := began.Truncate(time.Second).Add(time.Second); at.Before(until); at = at.Add(time.Second) {
		for _, job := range []string{"second", "third"} {
			if job == "third" && at.Second()%3 != 0 {
				continue
			}
			n++
			if name := job + " " + at.UTC().Format(time.TimeOnly); fires[name] == 0 {
				lost = append(lost, name)
			}
		}
	}
	if len(lost) > n/2 {
		t.Errorf("%d of %d fires did not run", len(lost), n)
	}
	t.Logf("%d fires, %d kills: %d did not run %v; runs by host %v", n, kills, len(lost), lost, by)
}
