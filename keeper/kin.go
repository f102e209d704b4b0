package keeper

import (
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"qsuper/proc"
)

// runVariable tells a process, and whoever looks for what is left of a run, which
// run it belongs to.
const runVariable = "QSUPER_RUN_ID"

// kinRounds bounds how often a run is searched again because somebody ended while he
// was looked at.
const kinRounds = 5

// kin is what one turn of the loop has found out about processes that belong to no
// cgroup: a fleet that is being stopped asks for each of its runs.
type kin struct {
	orphans []int            // processes whose parent has died, whoever's they are; nil: not looked for
	marks   map[int]string   // of those that were looked at
	all     map[string][]int // the processes of the host, by their mark; nil: not looked for
}

func (k *keeper) orphans() []int {
	if k.kin.orphans == nil {
		k.kin.orphans = append([]int{}, proc.Orphans(func(pid int) bool { _, ok := k.pids[pid]; return ok })...)
	}
	return k.kin.orphans
}

// carriers are the orphans that have a mark.
func (k *keeper) carriers(mark string) (list []int) {
	for _, pid := range k.orphans() {
		m, ok := k.kin.marks[pid]
		if !ok {
			if k.kin.marks == nil {
				k.kin.marks = map[int]string{}
			}
			m = proc.MarkOf(pid, runVariable)
			k.kin.marks[pid] = m
		}
		if m == mark {
			list = append(list, pid)
		}
	}
	return list
}

// everywhere is all processes of the host that have a mark.
func (k *keeper) everywhere(mark string) []int {
	if k.kin.all == nil {
		k.kin.all = map[string][]int{}
		for _, pid := range proc.Everybody() {
			if m := proc.MarkOf(pid, runVariable); m != "" {
				k.kin.all[m] = append(k.kin.all[m], pid)
			}
		}
	}
	return k.kin.all[mark]
}

// mark is the entry of the environment that all processes of the run inherit.
func (r *run) mark() proc.Mark {
	m := proc.Mark{UID: r.uid}
	if r.serial != "" {
		m.Entry = runVariable + "=" + runID(r.slot.name, r.id, r.serial)
	}
	return m
}

func runID(slot string, run uint64, serial string) string {
	return slot + "." + strconv.FormatUint(run, 10) + "." + serial
}

// kin holds what belongs to the run where it has no cgroup, apart from its main
// process and what is known. What has lost its parent becomes a child of the keeper
// that has started the run; who has adopted a run has to look everywhere.
func (r *run) kin(known func(pid int) bool) []proc.Member {
	k, m := r.slot.k, r.mark()
	marked := func() []int {
		if r.adopted {
			return k.everywhere(m.Entry)
		}
		if r.exit == nil { // they may have become orphans just now
			k.kin.orphans = nil
		}
		return k.carriers(m.Entry)
	}
	for round := 1; ; round++ {
		found, sure := r.p.Kin(m, marked, known)
		if sure || round == kinRounds {
			return found
		}
		for _, m := range found {
			m.Close()
		}
		k.kin = kin{}
	}
}

// known says whether a process is the main one, one of the members, or of the stop
// command's own. To look whether the main one is gone would take its exit status.
func (r *run) known(pid int) bool {
	if r.members[pid] != nil || r.exit == nil && pid == r.p.PID {
		return true
	}
	if r.command == nil {
		return false
	}
	sid, err := unix.Getsid(pid)
	return err == nil && sid == r.command.PID
}

// signalTree sends the stop signal to all processes of the run, in one round: a
// second would take what their handlers start for what was forked meanwhile. Who
// was missed is ended with what is left over.
func (r *run) signalTree(sig syscall.Signal) {
	found := r.find()
	_ = r.p.Signal(sig) // one that is gone already will be seen
	for _, m := range found {
		r.told = append(r.told, m.PID)
		_ = m.Signal(sig)
		m.Close()
	}
}

// wakeTree continues all processes of the run.
func (r *run) wakeTree() {
	_ = r.p.Signal(syscall.SIGCONT)
	for _, m := range r.find() {
		_ = m.Signal(syscall.SIGCONT)
		m.Close()
	}
}
