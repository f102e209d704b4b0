package config

import "qsuper/internal/kind"

// Footprint is what one instance may take of `budget: {memory}`, in bytes: the first
// of memory_limit, memory_hard and limits.memory_max that is set; 0 = none is.
func (c *Consumer) Footprint() int64 {
	for _, n := range []int64{c.MemoryLimit, c.MemoryHard, c.Limits.MemoryMax} {
		if n > 0 {
			return n
		}
	}
	return 0
}

// budget checks that what shares a budget fits into it. Its place is that of the
// daemon's section.
func (l *loader) budget(daemon *kind.Node) {
	b := l.cfg.Daemon.Budget
	var processes int
	var memory int64
	for _, c := range l.cfg.Programs() {
		each := c.Footprint()
		at := Problem{File: c.At.File, Line: c.At.Line, Column: c.At.Column, Path: c.section + "." + c.Name}
		switch {
		case b.Memory > 0 && each == 0:
			at.Message, at.Hint = "has no memory_limit, and daemon.budget.memory must know what an instance may take", "give memory_limit"
			l.decoder.Problems = append(l.decoder.Problems, at)
		case b.Memory > 0 && each > b.Memory:
			at.Message = "one instance may take more than daemon.budget.memory, so that it would never start"
			l.decoder.Problems = append(l.decoder.Problems, at)
		}
		if c.section == "consumers" {
			processes += c.Instances.Min
			memory += int64(c.Instances.Min) * each
		}
	}
	if b.Processes > 0 && processes > b.Processes {
		l.warnings.Add(place(daemon, "budget", "processes"), "daemon.budget.processes", "is less than the %d that `min` of all consumers together guarantee: those of the lowest priority get less", processes)
	}
	if b.Memory > 0 && memory > b.Memory {
		l.warnings.Add(place(daemon, "budget", "memory"), "daemon.budget.memory", "is less than the %d MiB that `min` of all consumers together may take: those of the lowest priority get less", memory>>20)
	}
}
