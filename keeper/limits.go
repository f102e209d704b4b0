package keeper

import (
	"strings"
	"time"

	"qsuper/proc"
)

// limit sets the limits of the slot's new group.
func (s *slot) limit() string {
	l := s.limits
	if l == (Limits{}) {
		return ""
	}
	why := map[string]error{}
	for _, x := range limits {
		if x.of(l) != 0 {
			why[x.name] = s.k.enable(x.controller)
		}
	}
	for _, m := range s.group.Set(proc.Limits{Pids: l.PIDs, Memory: l.Memory, CPUWeight: l.CPU}) {
		if why[m.Limit] == nil {
			why[m.Limit] = m.Err
		}
	}
	var texts []string
	for _, name := range l.names() {
		if why[name] != nil {
			texts = append(texts, name+": "+why[name].Error())
		}
	}
	return strings.Join(texts, "; ")
}

// limits are the keys of the file, with what the kernel needs for them.
var limits = []struct {
	name, controller string
	of               func(Limits) int64
}{
	{"pids_max", "pids", func(l Limits) int64 { return int64(l.PIDs) }},
	{"memory_max", "memory", func(l Limits) int64 { return l.Memory }},
	{"cpu_weight", "cpu", func(l Limits) int64 { return int64(l.CPU) }},
}

// names are the keys that are set.
func (l Limits) names() (list []string) {
	for _, x := range limits {
		if x.of(l) != 0 {
			list = append(list, x.name)
		}
	}
	return list
}

// enable asks for a controller, again only after a time: it takes some looking.
func (k *keeper) enable(controller string) error {
	if f, ok := k.refused[controller]; ok && proc.Boottime() < f.until {
		return f.why
	}
	err := k.tree.Enable(controller)
	k.lookForCounts()
	delete(k.refused, controller)
	if err != nil {
		if k.refused == nil {
			k.refused = map[string]refusal{}
		}
		k.refused[controller] = refusal{err, proc.Boottime() + enableAgain}
		k.log.Warn("limits do not hold", "controller", controller, "reason", err)
	}
	return err
}

const enableAgain = time.Minute

type refusal struct {
	why   error
	until time.Duration // CLOCK_BOOTTIME
}
