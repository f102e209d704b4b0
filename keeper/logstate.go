package keeper

import (
	"sync/atomic"

	"qsuper/logs"
)

// LogTrouble tells that output of a slot is not kept any more, why that is so
// now, or that it is kept again.
type LogTrouble struct {
	Slot string   `json:"slot"`
	Log  LogState `json:"log"`
}

// watchLogs has the engine told when the state of a log changes. A full disk
// changes that of all slots at once: they are gone through once for all.
func (k *keeper) watchLogs() {
	var due atomic.Bool
	k.pump.Trouble = func() {
		if due.Swap(true) {
			return
		}
		k.poll.post(func() {
			due.Store(false)
			for _, s := range k.slots {
				s.tellLog()
			}
		})
	}
}

// tellLog tells the engine unless it knows.
func (s *slot) tellLog() {
	if now := logState(s.stream); now.Degraded != s.told {
		s.told = now.Degraded
		s.k.engine.tell(frameLogTrouble, LogTrouble{s.name, now})
	}
}

func logState(s *logs.Stream) LogState {
	if s == nil {
		return LogState{}
	}
	st := s.Stats()
	return LogState{Dropped: int64(st.DroppedBytes), Degraded: st.Degraded, Since: st.Since}
}
