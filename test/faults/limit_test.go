package faults

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"qsuper/test/rig"
)

// Cases of consumers that take all there is. Limits of the kernel's version 2 of control
// groups are there in a machine of its own, whatever the host has.
var limitFaults = []fault{
	{name: "F028_ForkBombUnderALimit", score: 16, kind: slow, run: inMachine("F028_ForkBombUnderALimit", boundedBomb)},
	{name: "F075_KilledForMemoryOfItsOwn", score: 12, kind: slow, run: inMachine("F075_KilledForMemoryOfItsOwn", ownMemory)},
	{name: "F034_TenThousandZombies", score: 9, kind: slow, run: zombies},
}

// A bomb of twenty thousand is bounded by pids_max: it has that many processes, the
// others and the daemon notice nothing, and a stop ends all of it.
func boundedBomb(t *testing.T) {
	const most = 40
	f := startFleet(t, talkers(2), crew("bomb", "bomb 20000 ignore", fmt.Sprintf("limits: {pids_max: %d}", most), "stop: {grace: 1s}"))
	f.begun(2)
	talk := fmt.Sprint(f.UntilRunning("talk", 2).PIDs())
	bomb := func() (n int) {
		for _, p := range f.processes() {
			if strings.HasPrefix(p.slot, "bomb/") {
				n++
			}
		}
		return n
	}
	eventually(t, rig.Patience, "it has forked what it may", func() bool { return bomb() > most/2 })
	ticks := len(f.journal.of(t, "tick"))
	eventually(t, rig.Patience, "others go on", func() bool {
		if n := bomb(); n > most {
			t.Fatalf("it has %d processes, and may have %d", n, most)
		}
		return len(f.journal.of(t, "tick")) > ticks+2*20
	})
	f.alive()
	f.Run("stop", "bomb")
	if n := bomb(); n > 0 {
		t.Errorf("O2 left behind: %d processes of the bomb", n)
	}
	if now := fmt.Sprint(f.UntilRunning("talk", 2).PIDs()); now != talk {
		t.Errorf("O5 fleet: it was %s and is %s", talk, now)
	}
	f.quiesce(0)
	f.linesWhole(false)
}

// memory_max has the kernel kill in the group that has too much, and the cause of
// death is known, also when it was a child that died and a shell that tells so.
func ownMemory(t *testing.T) {
	f := startFleet(t, talkers(2),
		crew("fat", "memory 200", "limits: {memory_max: 48MiB}", "backoff: {initial: 300ms, max: 1s}"),
		"  wrapped: {command: [/bin/sh, -c, 'tail /dev/zero; exit $?'], spawn: always, limits: {memory_max: 32MiB}, backoff: {initial: 300ms, max: 1s}}\n",
		"  crash: {command: [/bin/sh, -c, 'sleep 1; exit 5'], spawn: always, limits: {memory_max: 32MiB}, backoff: {initial: 300ms, max: 1s}}\n")
	f.begun(2)
	talk := fmt.Sprint(f.UntilRunning("talk", 2).PIDs())
	for name, class := range map[string]string{"fat": "oom", "wrapped": "oom", "crash": "crashed"} {
		var c rig.ConsumerStatus
		eventually(t, rig.Patience, name+" has ended twice", func() bool {
			c = f.Consumer(name)
			return c.Exits >= 2 && c.Slots[0].LastExit != nil
		})
		if e := c.Slots[0].LastExit; e.Class != class {
			t.Errorf("%s: last exit %+v, expected %s", name, e, class)
		}
	}
	if now := fmt.Sprint(f.UntilRunning("talk", 2).PIDs()); now != talk {
		t.Errorf("O5 fleet: it was %s and is %s", talk, now)
	}
	f.quiesce(0)
	f.linesWhole(false)
}

// A consumer that waits for none of its children leaves ten thousand zombies. While it
// lives they are nobody's business; when it ends they are the keeper's, who buries them.
func zombies(t *testing.T) {
	const n = 10_000
	f := startFleet(t, talkers(4), crew("careless", fmt.Sprintf("zombies %d lines 5", n), "stop: {grace: 60s}"))
	eventually(t, 3*rig.Patience, "all have begun", func() bool { return len(f.journal.begins(t)) == 5 })
	before := f.pids()
	st := f.alive()
	keeper := usageOf(st.Daemon.KeeperPID)
	careless := f.UntilRunning("careless", 1).PIDs()[0]
	if z := zombiesOf(careless); z < n {
		t.Errorf("it has %d zombies, expected %d", z, n)
	}
	f.truth()
	f.samePIDs(before)
	f.Must("stop", "careless")
	eventually(t, rig.Patience, "all are buried", func() bool { return zombiesOf(careless)+zombiesOf(st.Daemon.KeeperPID) == 0 })
	f.alive()
	f.flat("the keeper", st.Daemon.KeeperPID, keeper, 10)
	f.quiesce(0)
	f.linesWhole(false)
}

// zombiesOf counts the dead children of a process.
func zombiesOf(parent int) (n int) {
	all, _ := os.ReadDir("/proc")
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && statField(pid, 4) == strconv.Itoa(parent) && statField(pid, 3) == "Z" {
			n++
		}
	}
	return n
}
