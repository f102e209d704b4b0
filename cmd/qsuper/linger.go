package main

import (
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/keeper"
)

// lingerTime is how long an engine without its keeper holds the consumers' pipes.
const lingerTime = 30 * time.Second

// pipes are held open while there is no keeper: what a consumer has printed is
// gone when it exits and nobody else has its pipe.
type pipes []int

// holdPipes opens the pipes of all slots.
func holdPipes(stateDir string) (held pipes) {
	names, _ := filepath.Glob(filepath.Join(stateDir, keeper.FIFODir, "*"))
	for _, name := range names {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == nil {
			held = append(held, fd)
		}
	}
	return held
}

// linger waits for the next keeper, whose engine ends this process once the
// pipes are in its keeper's hands.
func (p pipes) linger() {
	if len(p) > 0 {
		time.Sleep(lingerTime)
	}
}
