package keeper

import (
	"runtime/debug"
	"time"

	"qsuper/proc"
)

const (
	burstSize = 32                     // starts, each within burstLull of the one before
	burstLull = 300 * time.Millisecond // without one

	// How much the heap may grow until garbage is collected, in percent: keeper and
	// engine are idle most of their life and must be small then; in a burst the
	// processors are what is short.
	gcIdle  = 50
	gcBurst = 300
)

// Burst collects less garbage while many processes are being started, and gives the
// memory back to the system when no more follow: a process that has done so keeps
// what it took, and most of its life it does nothing. It is for one goroutine; the
// zero value is ready for Begin.
type Burst struct {
	n     int
	last  time.Time
	timer *time.Timer
}

// Begin begins a burst with the process itself: to get ready and to start the first
// consumers is work on which somebody waits. What that took is given back likewise.
func (b *Burst) Begin() {
	b.n, b.last = burstSize-1, time.Now()
	b.Started()
}

// Started counts a start.
func (b *Burst) Started() {
	now := time.Now()
	if now.Sub(b.last) >= burstLull {
		b.n = 0
	}
	b.last = now
	switch b.n++; {
	case b.n < burstSize:
		return
	case b.n == burstSize:
		debug.SetGCPercent(gcBurst)
	}
	if b.timer == nil {
		b.timer = time.AfterFunc(burstLull, b.end)
	} else {
		b.timer.Reset(burstLull)
	}
}

// end may come while the next burst begins, which collects as usual then.
func (*Burst) end() {
	debug.SetGCPercent(gcIdle)
	debug.FreeOSMemory()
	proc.ReleaseText()
}
