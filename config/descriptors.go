package config

import (
	"fmt"
	"syscall"
)

// What the keeper holds open (counted in /proc/PID/fd): spareFiles for itself,
// for starts under way and for what a stop looks at, and for each slot a pidfd,
// the pipe of its output, and the file that this goes to.
const spareFiles = 64

// Descriptors is how many open files the keeper needs when all slots run.
func (c *Config) Descriptors() uint64 {
	need := uint64(spareFiles)
	for _, consumer := range c.Programs() {
		each := uint64(1)
		switch consumer.Logs.To {
		case "file", "both":
			each = 3
		case "stdout":
			each = 2
		}
		need += each * uint64(consumer.Instances.Max)
	}
	return need
}

// descriptors compares the need with what the kernel allows at most: the Go
// runtime raises the soft limit to the hard one when a program begins, and gives
// children the former one back.
func (h *host) descriptors(cfg *Config) {
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) != nil {
		return // the calls that need one will say so
	}
	if need := cfg.Descriptors(); need > lim.Max {
		h.problems = append(h.problems, Problem{File: cfg.Files[0], Path: "consumers", Message: fmt.Sprintf(
			"all instances together need %d open files, and this process may have %d; "+
				"raise its hard limit (LimitNOFILE=%[1]d in the unit, ulimit -Hn in a shell), or have fewer instances", need, lim.Max)})
	}
}
