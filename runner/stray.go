package runner

import (
	"strings"
	"time"

	"qsuper/keeper"
)

// strayStop is the ladder of what is not in the file.
var strayStop = keeper.Stop{Signal: 15, Scope: "process", Grace: 30 * time.Second}

// stray ends what runs for a consumer that is no longer in the file, because
// the file changed while no engine was there to see it.
func (r *Runner) stray(m keeper.SlotInfo) {
	if name, _, _ := strings.Cut(m.Slot, "/"); m.Adopted {
		if n, ok := slotNumber(m.Slot); ok { // what it has printed is still in its pipe
			spec := r.launcher().remains(name, n)
			spec.Tag = m.Tag
			if err := r.keeper.Adopt(keeper.AdoptRequest{Slot: m.Slot, Run: m.Run, Spec: spec}); err != nil {
				r.log.Error("keep the output of what is no longer in the file", "slot", m.Slot, "error", err)
			}
		}
	}
	if m.PID == 0 {
		r.strayGone(keeper.Exited{Slot: m.Slot, Run: m.Run})
		return
	}
	r.log.Warn("stopping what is no longer in the file", "slot", m.Slot, "pid", m.PID)
	if err := r.keeper.Stop(keeper.StopRequest{Slot: m.Slot, Run: m.Run, Stop: strayStop}); err != nil {
		r.log.Error("stop what is no longer in the file", "slot", m.Slot, "error", err)
	}
}

func (r *Runner) strayGone(e keeper.Exited) {
	err := r.keeper.Ack(keeper.AckRequest{Slot: e.Slot, Run: e.Run})
	if err == nil {
		err = r.keeper.Drop(keeper.DropRequest{Slot: e.Slot})
	}
	if err != nil {
		r.log.Error("forget a slot that is no longer in the file", "slot", e.Slot, "error", err)
	}
}
