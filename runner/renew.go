package runner

import (
	"log/slog"
	"time"

	"qsuper/slot"
)

// siftTime lies between the two looks at the processor's use. It ticks every 10 ms.
const siftTime = 250 * time.Millisecond

// renewOutdated asks those slots to finish and come back whose turn it is because of
// restart_on.
func (c *consumer) renewOutdated(now time.Time) {
	if c.result.Sift {
		c.sift()
	}
	why := c.result.Renewed
	if len(c.result.Outdated) == 0 {
		return
	}
	if !c.wave.Equal(c.memory.Renewal.At) {
		c.wave = c.memory.Renewal.At
		c.r.journal.add(Event{At: now, Consumer: c.name, Slot: -1, Reason: why})
		c.r.log.Info("replaced, idle instances first", slog.String("consumer", c.name), slog.String("code", string(why.Code)), slog.String("reason", why.Text))
	}
	for _, n := range c.result.Outdated {
		u := c.units[n]
		u.renewing = true
		c.step(u, now, slot.Finish{Reason: why})
	}
	c.result.Outdated = nil
}

// sift looks at the processor's use twice, so that idle processes can be told from
// others.
func (c *consumer) sift() {
	if c.sifting {
		return
	}
	c.sifting = true
	var pids []int
	for _, u := range c.units {
		if u.state.PID != 0 {
			pids = append(pids, u.state.PID)
		}
	}
	c.r.loops.Go(func() {
		c.box.put(measured{c.r.usage(pids)})
		timer := time.NewTimer(siftTime)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.r.ctx.Done():
			return
		}
		c.box.put(measured{c.r.usage(pids)})
		c.box.put(ask{func(c *consumer) { c.sifted, c.sifting, c.replan = time.Now(), false, true }})
	})
}

// reckon brings what a slot knows of schedules and of its renewal up to date.
func (c *consumer) reckon(u *unit) {
	if s := &u.state; u.renewing && s.Phase == slot.Running && s.Again.Code == "" && time.Since(s.Started) >= c.cfg.Backoff.MinUptime {
		u.renewing = false
	}
	is := reckoning{c.cfg, u.launched}
	if u.reckoned == is || len(c.watched) == 0 && u.expires.IsZero() {
		return
	}
	u.reckoned, u.expires = is, time.Time{}
	for _, s := range c.cfg.RestartOn {
		if s.Schedule == nil || u.launched.IsZero() {
			continue
		}
		if at := s.Schedule.Next(u.launched).At; !at.IsZero() && (u.expires.IsZero() || at.Before(u.expires)) {
			u.expires = at
		}
	}
}
