package keeper

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// Memory is given back once after each burst, not during it, and not after a few.
func TestBurst(t *testing.T) {
	forced := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumForcedGC
	}
	synctest.Test(t, func(t *testing.T) {
		var b Burst
		for _, x := range []struct {
			starts int
			each   time.Duration
			want   uint32
		}{
			{burstSize - 1, 0, 0},
			{1000, burstLull / 2, 1},
			{burstSize - 2, burstLull, 0}, // the first of these is what ends the burst before
			{burstSize, 0, 1},
		} {
			before := forced()
			for range x.starts {
				b.Started()
				time.Sleep(x.each)
			}
			time.Sleep(burstLull)
			synctest.Wait()
			if n := forced() - before; n != x.want {
				t.Errorf("%d starts, one in %s: %d times, not %d", x.starts, x.each, n, x.want)
			}
		}
	})
}
