package runner

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"qsuper/plan"
	"qsuper/slot"
)

// unstall asks one instance that seems deaf to finish and come back, if its
// output does not say otherwise.
func (c *consumer) unstall(now time.Time) {
	for _, n := range c.result.Deaf {
		if u := c.units[n]; !c.spoke(u, now) {
			c.memory.StalledAt = now
			c.step(u, now, slot.Finish{Reason: plan.StallReason(c.prog, c.observed)})
			break
		}
	}
	c.result.Deaf = nil
}

// spoke says whether a slot has had output within the last `stall`. Only its own
// file can tell, and is looked at only when everything else speaks against the
// instance; what is written elsewhere still costs the processor. The time of a
// file is of the wall clock: one that lies ahead counts as recent.
func (c *consumer) spoke(u *unit, now time.Time) bool {
	if to := c.cfg.Logs.To; to != "file" && to != "both" {
		return false
	}
	info, err := os.Stat(c.r.launcher().logPath(c.name, u.n))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) // not to know is no silence
	}
	return now.Sub(info.ModTime()) < c.cfg.Stall
}
