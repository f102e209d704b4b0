package keeper

import (
	"runtime/debug"
	"time"

	"qsuper/proc"
)

const (
	burstSize = 64                     // starts
	burstLull = 300 * time.Millisecond // without one
)

// Burst gives memory back to the system when many processes have been started and
// no more follow: a process that has done so keeps what it took, and most of its
// life it does nothing. The zero value is ready. It is for one goroutine.
type Burst struct {
	n     int
	timer *time.Timer
}

// Started counts a start.
func (b *Burst) Started() {
	switch b.n++; {
	case b.n < burstSize:
	case b.timer == nil:
		b.timer = time.AfterFunc(burstLull, func() {
			debug.FreeOSMemory()
			proc.ReleaseText()
		})
	case !b.timer.Reset(burstLull) && b.n > burstSize: // it has fired: the next burst begins
		b.timer.Stop()
		b.n = 1
	}
}
