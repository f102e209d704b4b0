package plan

import (
	"math"
	"time"
)

// StepTime is how often the number of instances may grow by step_up.
const StepTime = 5 * time.Second

// calm lets the number grow at once, by step_up at a time, and shrink only when
// fewer have been enough throughout the cooldown: to the most that were needed in
// it, by step_down at a time.
func calm(r *Result, p Program, o Observed, target int, slots []Slot, now time.Time) int {
	m := &r.Memory
	if target >= m.Target {
		m.FewerSince = time.Time{}
		return rise(r, p, o, target, slots, now)
	}
	if m.FewerSince.IsZero() {
		m.FewerSince, m.FewerMost = now, 0
		m.Pace.Load, m.Pace.Loaded = 0, 0
	}
	m.FewerMost = max(m.FewerMost, target)
	until := m.FewerSince.Add(p.Cooldown)
	if now.Before(until) {
		r.Next = Sooner(r.Next, until)
		return min(m.Target, p.Max)
	}
	target, m.FewerSince = m.FewerMost, time.Time{}
	if p.MaxWait > 0 {
		target = max(target, m.Pace.load(o, slots))
	}
	if p.StepDown > 0 {
		target = max(target, m.Target-p.StepDown)
	}
	return min(target, m.Target, p.Max)
}

// load is how many instances have had work, on average over the cooldown.
func (c *Pace) load(o Observed, slots []Slot) int {
	busy := float64(atWork(o.Queue, c.N, slots))
	if c.Loaded > 0 {
		busy = c.Load / c.Loaded.Seconds()
	}
	n := int(math.Ceil(busy - 0.05))
	if c.Ceiling.N > 0 {
		n = min(n, c.Ceiling.N)
	}
	return n
}

// rise keeps to step_up: what is more than there is, or was wanted, comes little by
// little.
func rise(r *Result, p Program, o Observed, target int, slots []Slot, now time.Time) int {
	m := &r.Memory
	n, _ := staff(o, slots)
	have := max(m.Target, n, p.Min)
	if p.StepUp <= 0 || target <= have {
		return target
	}
	if until := m.RoseAt.Add(StepTime); now.Before(until) {
		r.Next = Sooner(r.Next, until)
		return have
	}
	m.RoseAt = now
	return min(target, have+p.StepUp)
}
