package keeper

import (
	"strings"

	"qsuper/pidfile"
)

// A run that must not be started a second time is in the record before its
// process is there: a keeper that is killed between the two leaves behind that
// it may have been started.

func once(tag string) bool { return strings.HasPrefix(tag, OnceTag) }

// foretell records that the process of a run is about to be started.
func (r *run) foretell() {
	if !once(r.spec.Tag) {
		return
	}
	if err := r.slot.k.runs.Put(pidfile.Run{Slot: r.slot.name, Run: r.id, Tag: r.spec.Tag}); err != nil {
		r.slot.k.log.Warn("run not recorded; a later daemon may start it again", "slot", r.slot.name, "error", err)
	}
}

// unsay takes it back: nothing was started.
func (r *run) unsay() {
	if once(r.spec.Tag) {
		_ = r.slot.k.runs.Put(pidfile.Run{Slot: r.slot.name}) // a line that says nothing; at worst the old one stays
	}
}
