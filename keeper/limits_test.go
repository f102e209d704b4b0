package keeper

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"qsuper/proc"
)

// Limits that cannot be kept are named with the reason, and keep nothing from
// running. Where the machine has the controllers they hold: too much memory is seen
// as the cause of death, also through a shell.
func TestLimits(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, way.env)
			l, _ := r.connect()
			spec := r.spec(slot0, "echo up; exec sleep 1000")
			spec.Limits = Limits{PIDs: 50, Memory: 64 << 20, CPU: 50}
			st := l.start(slot0, 1, spec)
			r.says(slot0, "up")
			for _, key := range []string{"pids_max", "memory_max", "cpu_weight"} {
				if st.Missed != "" && !strings.Contains(st.Missed, key) {
					t.Errorf("nothing is said of %s: %s", key, st.Missed)
				}
			}
			if at := l.list()[slot0]; at.Missed != st.Missed {
				t.Errorf("a later engine learns %q, not %q", at.Missed, st.Missed)
			}
			if st.Missed != "" {
				t.Logf("only the refusal is tested: %s", st.Missed)
				return
			}
			if way.name == "session" {
				t.Fatal("limits are said to hold without cgroups")
			}
			r.holds(l)
		})
	}
}

func (r *rig) holds(l *link) {
	r.t.Helper()
	c, err := proc.OpenCgroups(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	for file, want := range map[string]string{"pids.max": "50", "memory.max": "67108864", "cpu.weight": "50"} {
		if got, err := os.ReadFile(filepath.Join(c.Find(slot0).Path(), file)); strings.TrimSpace(string(got)) != want {
			r.t.Errorf("%s is %s, %v", file, got, err)
		}
	}
	const takesAll = "tail /dev/zero"
	for i, script := range []string{"exec " + takesAll, takesAll + "; exit $?"} {
		slot := "eager/" + itoa(i)
		spec := r.spec(slot, script)
		spec.Limits.Memory = 32 << 20
		l.start(slot, 1, spec)
		e := get[Exited](l)
		if !e.OOM || e.Signal != int(syscall.SIGKILL) && e.Code != shellKilled {
			r.t.Errorf("%s: %+v", script, e)
		}
		spec = r.spec(slot, "cat /proc/self/cgroup >/dev/null; exit 5") // the next has none
		l.start(slot, 2, spec)
		if e := get[Exited](l); e.Code != 5 || e.OOM {
			r.t.Errorf("%+v", e)
		}
		if got, _ := os.ReadFile(filepath.Join(c.Find(slot).Path(), "memory.max")); strings.TrimSpace(string(got)) != "max" {
			r.t.Errorf("the next has a limit of %s", got)
		}
	}
}
