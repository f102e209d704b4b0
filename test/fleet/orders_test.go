package fleet

import (
	"strings"
	"syscall"
	"testing"

	"qsuper/test/rig"
)

// What is asked of the fleet is done by every host, and told of each; a host that
// does not answer is named.
func TestCommandsReachEveryHost(t *testing.T) {
	head, j := mysqlHead(t, "7s"), newJournal(t)
	keys := "    instances: 2"
	a := rig.StartDaemon(t, file("a", j, head, keys))
	b := rig.StartDaemon(t, file("b", j, head, keys))
	rig.Eventually(t, rig.Patience, "each knows of the other", func() bool {
		return strings.Contains(a.Run("explain", "work").Stdout, "2 hosts share") && strings.Contains(b.Run("explain", "work").Stdout, "2 hosts share")
	})
	if out := a.Must("pause", "--fleet").Stdout; strings.Count(out, "accepted") != 2 {
		t.Errorf("%s", out)
	}
	rig.Eventually(t, rig.Patience, "nothing runs", func() bool { return len(j.holders(t)) == 0 })
	if out := b.Run("explain", "work").Stdout; !strings.Contains(out, "paused by root on") {
		t.Errorf("%s", out)
	}
	b.Must("resume", "--fleet", "work")
	rig.Eventually(t, rig.Patience, "both slots run", func() bool { return len(j.holders(t)) == 2 })
	if r := a.Run("pause", "--fleet", "nobody"); r.Code == 0 {
		t.Errorf("%+v", r)
	}
	stopped := engine(t, b)
	if err := syscall.Kill(stopped, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	r := a.Run("stop-workers", "--fleet")
	if err := syscall.Kill(stopped, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if r.Code != 1 || strings.Count(r.Stdout, "accepted") != 1 || !strings.Contains(r.Stdout, "no answer yet") {
		t.Errorf("%+v", r)
	}

	a.StopAll()
	b.StopAll()
}
