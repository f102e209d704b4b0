package keeper

import (
	"bytes"
	"strings"

	"qsuper/pidfile"
)

// The memos that the engine leaves with its slots are in the state directory as well:
// a keeper that is killed must not end every wait after a failure and every hold, or
// all that they hold back would start at once. One that ends leaves none.

// openMemos hands on what the keeper before has been left with, unless that itself
// does, or everything is to be stopped.
func (k *keeper) openMemos() {
	memos, left, err := pidfile.OpenMemos(k.opt.StateDir, k.runs)
	if err != nil {
		k.log.Warn("waits after failures will not outlive this daemon if it is killed", "error", err)
		return
	}
	k.memos = memos
	if h := k.opt.Heir; h != nil && h.err == nil || k.opt.Ending {
		left = nil
		k.clearMemos()
	}
	for slot, memo := range left {
		if strings.IndexByte(slot, '/') > 0 && len(memo) <= MaxMemo {
			k.slotOf(slot).memo = memo
		}
	}
}

func (k *keeper) clearMemos() {
	if k.memos == nil {
		return
	}
	if err := k.memos.Clear(); err != nil {
		k.log.Warn("the next daemon may remember failures of this one", "error", err)
	}
}

// keepMemo takes a memo of the engine.
func (s *slot) keepMemo(memo []byte) {
	if bytes.Equal(s.memo, memo) {
		return
	}
	s.memo = memo
	if s.k.memos == nil {
		return
	}
	if err := s.k.memos.Put(s.name, memo); err != nil {
		s.k.log.Debug("memo not kept", "slot", s.name, "error", err)
	}
}
