package keeper

import (
	"syscall"
	"time"

	"qsuper/proc"
)

// timer is the keeper as the source of its deadlines.
type timer keeper

func (t *timer) ready(uint32) {
	k := (*keeper)(t)
	k.poll.fired()
	now := proc.Boottime()
	due := func(at *time.Duration) bool {
		if *at > now {
			k.poll.at(*at)
			return false
		}
		*at = never
		return true
	}
	if due(&k.engine.startAt) && !k.closing {
		k.engine.start()
	}
	k.sweepDue = due(&k.sweepAt) || k.sweepDue
	if due(&k.answerBy) {
		k.takeOver("the engine does not answer")
	}
	if due(&k.closeBy) && k.engine.p != nil {
		_ = k.engine.p.SignalGroup(syscall.SIGKILL) // gone already is as good
	}
	k.engine.beat(now)
	if due(&k.upgrade.by) {
		k.upgrade.expire(k)
	}
	if due(&k.store.again) {
		k.store.retry()
	}
	for _, s := range k.slots {
		if s.run != nil {
			s.run.expire(now)
		}
	}
}
