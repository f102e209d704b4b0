package plan

import (
	"fmt"

	"qsuper/slot"
)

// Foreign is what is known of the application's own lock of a slot. The zero value is
// a lock that keeps nobody from starting: nobody has it, there is none, or it is the
// slot's own process that has it.
type Foreign struct {
	Code  slot.Code // ForeignLock: somebody else has it; ForeignUnsure: nobody knows
	Text  string    // evidence, without which there is no code
	Fresh bool      // it has not been looked at since the slot's last process ended, or at all
}

// foreign holds back the slots whose lock somebody else has, or may have: nobody must
// work twice.
func foreign(r *Result, slots []Slot) {
	wanted, held := 0, -1
	for i := range slots {
		s := &slots[i]
		if r.Decisions[i].Want != slot.Up {
			continue
		}
		wanted++
		if s.Foreign.Code == "" || s.Phase.Alive() {
			continue
		}
		wanted--
		if held < 0 || s.Foreign.Code == slot.ForeignUnsure {
			held = i
		}
		r.Decisions[i] = Decision{slot.Hold, slot.Reason{Code: s.Foreign.Code, Text: s.Foreign.Text}}
	}
	if held >= 0 && wanted == 0 {
		r.Reason = r.Decisions[held].Reason
	}
}

// ForeignGate is the gate of the application's own locks, in one row for all slots.
func ForeignGate(given bool, slots []Slot) Gate {
	g := Gate{Name: "foreign_lock", State: Skipped, Evidence: "no `foreign_lock` of the application is given"}
	if !given {
		return g
	}
	g.State, g.Evidence = Open, "no other process has the application's own lock"
	shut := 0
	for i := range slots {
		f := slots[i].Foreign
		if f.Code == "" || slots[i].Phase.Alive() {
			continue
		}
		if shut++; shut == 1 || f.Code == slot.ForeignUnsure && g.State == Closed {
			g.State, g.Evidence = Closed, fmt.Sprintf("slot %d: %s", i, f.Text)
			if f.Code == slot.ForeignUnsure {
				g.State = Unknown
			}
		}
	}
	if shut > 1 {
		g.Evidence = fmt.Sprintf("%d of %d slots, such as %s", shut, len(slots), g.Evidence)
	}
	return g
}
