package keeper

import (
	"errors"
	"slices"
	"strings"
	"time"

	"qsuper/proc"
)

// Containment says how what a consumer starts is held together with it.
const (
	ByCgroup  = "cgroup"
	BySession = "session"
)

// staleTime is for how long another daemon's cgroup must have been left alone until it
// is taken for one that nobody will come back to.
const staleTime = time.Hour

// openTree finds out whether runs can have cgroups. Where they cannot, what a
// process starts is found by its session, by descent and by its mark, see
// proc.Process.Kin.
func (k *keeper) openTree() {
	k.contained = ByCgroup
	if k.opt.NoCgroups {
		k.contained = BySession + ": cgroups are switched off by QSUPER_CGROUPS"
		return
	}
	tree, err := proc.OpenCgroups(k.opt.StateDir)
	if err != nil {
		k.contained = BySession + ": " + err.Error()
		k.log.Info("no cgroups; what consumers start is found by session, descent and environment", "reason", err)
		return
	}
	k.tree = tree
	k.lookForCounts()
	if k.opt.Heir == nil { // the slots of an heir may still have theirs, empty as they are
		tree.Tidy(staleTime)
	}
}

// enclose has a group ready for the next process of the slot. It belongs to the
// slot and not to the run: a slot has one run at a time and is free when its group
// is empty, and making and removing groups is most of what they cost. Limits that do
// not hold are no reason not to start.
func (s *slot) enclose(r *run) error {
	l := r.spec.Limits
	switch {
	case s.k.tree == nil:
		if l != (Limits{}) {
			r.missed = strings.Join(l.names(), ", ") + ": there is no cgroup: " + s.k.contained
		}
		return nil
	case s.group != nil && (s.spent || s.limits != l):
		s.prune()
	case s.group != nil:
		if err := s.group.Hold(); err == nil && s.missed == "" {
			r.ooms = s.oomKills()
			return nil
		}
		s.prune() // somebody has removed it, or its limits may hold now
	}
	var err error
	if s.group, err = s.k.tree.New(s.name); err == nil { // nobody has been killed in it
		s.limits = l
		s.missed = s.limit()
		s.deaf = s.k.deaf
		r.missed = s.missed
	}
	return err
}

// prune removes the slot's group; one that is not empty stays.
func (s *slot) prune() {
	if s.group != nil {
		_ = s.group.Remove()
		s.group, s.spent, s.missed = nil, false, ""
	}
}

// alone says whether nothing is left of the run but its exit status. False may
// be wrong.
func (r *run) alone() bool {
	if g := r.slot.group; g != nil {
		lives, err := g.Populated()
		return err == nil && !lives
	}
	return !r.adopted && r.p.Alone() && len(r.slot.k.orphans()) == 0
}

// find holds what is left of the run beside its main process and its members.
func (r *run) find() []proc.Member {
	if g := r.slot.group; g != nil {
		return g.Members(r.known)
	}
	return r.kin(r.known)
}

// killTree kills what the run has, whether it is known or not.
func (r *run) killTree() {
	if g := r.slot.group; g != nil {
		// Linux (6.18 at least) kills whoever is cloned into a group that was killed
		// once, from one that was not: it compares the counts of both.
		r.slot.spent = true
		if err := g.Kill(); err != nil {
			r.slot.k.log.Error("cgroup not killed", "slot", r.slot.name, "error", err)
		}
	}
	if r.exit == nil {
		_ = r.p.SignalGroup(sigkill)
		_ = r.p.Signal(sigkill)
	}
	for _, m := range r.members {
		m.kill()
	}
}

// lookForCounts finds out whether groups count out-of-memory kills. To ask each of them
// for a file that it has not would cost every start. Groups that are there already begin
// to count when the controller is enabled.
func (k *keeper) lookForCounts() {
	deaf := !slices.Contains(k.tree.Controllers(), "memory")
	if k.deaf && !deaf {
		for _, s := range k.slots {
			s.deaf = false
		}
	}
	k.deaf = deaf
}

// oomKills is how many processes of the slot the kernel has killed for want of
// memory so far; 0 where nobody counts.
func (s *slot) oomKills() int {
	if s.group == nil || s.deaf {
		return 0
	}
	n, err := s.group.OOMKills()
	s.deaf = errors.Is(err, errors.ErrUnsupported)
	return n
}
