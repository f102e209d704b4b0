package fleet

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"qsuper/test/rig"
	"qsuper/test/servers"
)

// mysqlHead is a store in a database of its own.
func mysqlHead(t *testing.T, ttl string) string {
	m := servers.MariaDB(t)
	name, _ := m.NewDatabase(t)
	return fmt.Sprintf("connections:\n  db: {type: mysql, dsn: %q}\nlocks:\n  fleet: {type: mysql, connection: db, ttl: %s}\n", m.DSN(name), ttl)
}

// Eight slots are eight over all hosts, spread; a host that joins is given its
// part without a process being interrupted; one that dies is replaced.
func TestSlotsAreShared(t *testing.T) {
	const ttl = 7 * time.Second
	head, j := mysqlHead(t, "7s"), newJournal(t)
	keys := "    instances: 8\n    stop: {grace: 5s}"
	a := rig.StartDaemon(t, file("a", j, head, keys))
	rig.Eventually(t, rig.Patience, "a runs all eight", func() bool { return j.count(t, "a") == 8 })
	b := rig.StartDaemon(t, file("b", j, head, keys))
	c := rig.StartDaemon(t, file("c", j, head, keys))
	rig.Eventually(t, rig.Patience, "a knows of the others", func() bool {
		return strings.Contains(a.Run("explain", "work").Stdout, "3 hosts share them")
	})
	if out := a.Must("locks").Stdout; !strings.Contains(out, "work/7") || !strings.Contains(out, "(here)") {
		t.Errorf("%s", out)
	}
	if n := j.count(t, "a"); n != 8 {
		t.Errorf("%d instances were left where they were busy", n)
	}
	a.Must("stop-workers")
	rig.Eventually(t, rig.Patience, "they are spread", func() bool {
		return j.count(t, "a") <= 3 && j.count(t, "b") >= 2 && j.count(t, "c") >= 2 && len(j.holders(t)) == 8
	})
	// A host dies: its processes, its engine and its keeper.
	had := j.count(t, "c")
	died := boottime()
	for pid := range rig.ProcessesOf(c.Dir) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	rig.Eventually(t, rig.Patience, "all eight run on two hosts", func() bool { return j.count(t, "a")+j.count(t, "b") == 8 })
	took := boottime() - died
	t.Logf("%d slots of a dead host were taken over after %s (ttl %s)", had, took, ttl)
	if took > 3*ttl { // a second more than one, on a machine that has the time
		t.Errorf("only after %s", took)
	}
	j.judge(t)
	for _, d := range []*rig.Daemon{a, b} {
		d.StopAll()
	}
}
