package main

import (
	"errors"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/keeper"
)

// lingerTime is how long an engine without its keeper holds the consumers' pipes.
const lingerTime = 30 * time.Second

// pipes are those of all slots, held open for the time without a keeper: what a
// consumer has printed is gone when it exits and nobody else has its pipe. They
// are held all the time, because a consumer may end in the moment of its keeper.
type pipes struct {
	stateDir string

	mu   sync.Mutex
	held map[string]int // by path
}

// connect greets the keeper, with the pipes held before anything else can happen to it.
func (p *pipes) connect() (*keeper.Client, keeper.Hello, error) {
	conn, err := keeper.Inherited()
	if err != nil {
		return nil, keeper.Hello{}, err
	}
	p.holdAll()
	client, hello, err := keeper.Connect(conn)
	if errors.Is(err, keeper.ErrGone) {
		p.linger()
	}
	return client, hello, err
}

// holdAll holds the pipes that are there, and lets go of those that are not there
// any more, or are others by now.
func (p *pipes) holdAll() {
	names, _ := filepath.Glob(filepath.Join(p.stateDir, keeper.FIFODir, "*"))
	p.mu.Lock()
	defer p.mu.Unlock()
	now := make(map[string]int, len(names))
	for _, name := range names {
		fd, ok := p.held[name]
		if ok && samePipe(fd, name) {
			delete(p.held, name)
		} else if fd = openPipe(name); fd < 0 {
			continue
		}
		now[name] = fd
	}
	for _, fd := range p.held {
		unix.Close(fd)
	}
	p.held = now
}

// hold holds the pipe of a slot in which something has been started.
func (p *pipes) hold(slot string) {
	name := keeper.FIFOPath(p.stateDir, slot)
	p.mu.Lock()
	defer p.mu.Unlock()
	if fd, ok := p.held[name]; ok {
		if samePipe(fd, name) {
			return
		}
		unix.Close(fd) // of a slot that was dropped in between
		delete(p.held, name)
	}
	if fd := openPipe(name); fd >= 0 {
		p.held[name] = fd
	}
}

func openPipe(name string) int {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil { // the slot has none
		return -1
	}
	return fd
}

func samePipe(fd int, name string) bool {
	var mine, there unix.Stat_t
	return unix.Fstat(fd, &mine) == nil && unix.Lstat(name, &there) == nil && mine.Ino == there.Ino && mine.Dev == there.Dev
}

// linger waits for the next keeper, whose engine ends this process once the
// pipes are in its keeper's hands.
func (p *pipes) linger() {
	p.holdAll()
	p.mu.Lock()
	n := len(p.held)
	p.mu.Unlock()
	if n > 0 {
		time.Sleep(lingerTime)
	}
}
