package runner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v3/mem"

	"qsuper/health"
	"qsuper/plan"
	"qsuper/proc"
	"qsuper/slot"
)

// procUsage is what the processes of one slot use.
type procUsage = proc.Usage

// sampleEvery is how often watched processes are looked at, at least; a host
// with many processes is looked at less often, so that it never costs more
// than a fiftieth of one processor.
const sampleEvery = time.Second

// sample watches memory and processor use of the consumers that need it, and
// wakes those that wait for the host's budget. Without any it does nothing.
func (r *Runner) sample(ctx context.Context) {
	wait := sampleEvery
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		if r.measureAll() {
			wait = max(sampleEvery, 50*time.Since(began))
		} else {
			wait = 5 * sampleEvery
		}
		if r.memory.bounded() || r.permits.bounded() {
			for _, c := range r.ordered() {
				c.box.put(observed{})
			}
			wait = min(wait, sampleEvery)
		}
		timer.Reset(wait)
	}
}

// measureAll looks at every process that is watched; false: there is none.
func (r *Runner) measureAll() bool {
	var pids []int
	var watched []*consumer
	for _, c := range r.ordered() {
		if !r.watches(c) {
			continue
		}
		before := len(pids)
		r.query(c, func(c *consumer) {
			for _, u := range c.units {
				if u.state.PID != 0 {
					pids = append(pids, u.state.PID)
				}
			}
		})
		if len(pids) > before {
			watched = append(watched, c)
		}
	}
	if len(pids) == 0 {
		return false
	}
	use := r.usage(pids)
	for _, c := range watched {
		c.box.put(measured{use})
	}
	return true
}

// watches says whether a consumer's processes must be looked at: it has a
// memory limit, or only their own idleness can tell that they are idle or deaf.
func (r *Runner) watches(c *consumer) bool {
	cfg := c.shared.Load()
	if cfg.MemoryLimit > 0 || cfg.MemoryHard > 0 || c.uneven.Load() {
		return true
	}
	if cfg.Queue == nil || cfg.IdleTimeout <= 0 && cfg.Stall <= 0 {
		return false
	}
	reading, ok := r.board.latest(cfg.Queue.Connection).readings[cfg.Queue.Queue]
	if !ok || reading.State != health.OK {
		return false
	}
	return cfg.IdleTimeout > 0 && reading.InFlight == health.NotKnown || cfg.Stall > 0 && reading.Ready > 0
}

// measure applies the memory limits and notes who is busy.
func (c *consumer) measure(m measured, now time.Time) {
	for _, u := range c.units {
		use, ok := m.usage[u.state.PID]
		if u.state.PID == 0 || !ok {
			continue
		}
		wasQuiet := !u.usage.quiet.IsZero()
		u.seen(now, use.RSS, use.CPU)
		if wasQuiet != !u.usage.quiet.IsZero() {
			c.replan = true
		}
		if u.state.Phase != slot.Running {
			if u.state.Phase == slot.Draining && c.over(use.RSS, c.cfg.MemoryHard) {
				c.step(u, now, slot.KillNow{Reason: limitReason(slot.MemoryHard, use.RSS, c.cfg.MemoryHard)})
			}
			continue
		}
		switch {
		case c.over(use.RSS, c.cfg.MemoryHard):
			c.step(u, now, slot.KillNow{Reason: limitReason(slot.MemoryHard, use.RSS, c.cfg.MemoryHard)})
		case c.over(use.RSS, c.cfg.MemoryLimit):
			c.step(u, now, slot.Finish{Reason: limitReason(slot.MemoryLimit, use.RSS, c.cfg.MemoryLimit)})
		}
	}
}

func (c *consumer) over(rss, limit int64) bool { return limit > 0 && rss > limit }

func limitReason(code slot.Code, rss, limit int64) slot.Reason {
	what := "memory_limit"
	if code == slot.MemoryHard {
		what = "memory_hard"
	}
	return slot.Reason{Code: code, Text: fmt.Sprintf("%d MiB resident > %s %d MiB", rss>>20, what, limit>>20)}
}

// memory knows how much the host has left, for the budget.
type memory struct {
	mu        sync.Mutex
	reserve   int64
	at        time.Time
	available int64
	known     bool
}

func (m *memory) configure(reserve int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reserve, m.at = reserve, time.Time{}
}

func (m *memory) bounded() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reserve > 0
}

// look reads MemAvailable, at most twice a second.
func (m *memory) look() (available, reserve int64, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reserve == 0 {
		return 0, 0, false
	}
	if now := time.Now(); now.Sub(m.at) >= 500*time.Millisecond {
		m.at = now
		v, err := mem.VirtualMemory()
		m.known = err == nil
		if m.known {
			m.available = int64(v.Available)
		}
	}
	return m.available, m.reserve, m.known
}

// budget is what the host has left now.
func (r *Runner) budget() plan.Budget {
	b := plan.Budget{}
	b.Running, b.Promised, b.Limits = r.permits.inUse()
	b.Available, b.Reserve, b.MemoryKnown = r.memory.look()
	return b
}
