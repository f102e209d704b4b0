package runner

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/slot"
)

// TestRandomOutages runs fleets through a broker that comes and goes, sickness that comes and goes, and crashes of
// the engine, without a person who helps: what runs is never ended by qsuper, and when all is well again everything
// is up by itself.
func TestRandomOutages(t *testing.T) {
	for seed := range uint64(*rounds) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 11))
			f := newFleet(t)
			defer f.end()
			b := &broker{}
			lives := rand.New(rand.NewPCG(seed, 12)) // guarded by the keeper's lock
			sick := 0
			f.k.behave = func(string, uint64) (time.Duration, int) {
				code := 0
				if lives.IntN(100) < sick {
					code = 1
				}
				return time.Duration(lives.Int64N(int64(20 * time.Second))), code
			}
			f.cfg = onBroker(f, b, conf("a", 1+rnd.IntN(8)), conf("b", 2+rnd.IntN(20)), conf("c", 1))
			f.cfg.Daemon.StartRate = []int{0, 5, 50}[rnd.IntN(3)]
			total := 0
			for _, c := range f.cfg.Consumers {
				total += c.Instances.Max
			}
			f.r.Apply(f.cfg)
			for range 150 {
				switch rnd.IntN(4) {
				case 0:
					b.down.Store(!b.down.Load())
				case 1:
					f.k.set(func() { sick = []int{0, 5, 50, 100}[rnd.IntN(4)] })
				case 2:
					if rnd.IntN(4) == 0 {
						f.crash()
						f.boot()
					}
				}
				time.Sleep(time.Duration(rnd.Int64N(int64(10 * time.Second))))
			}
			for _, c := range f.cfg.Consumers {
				for _, s := range f.snapshot(c.Name).Slots {
					for _, e := range s.Exits {
						if e.Class == slot.ClassStopped || e.Class == slot.ClassRecycled {
							t.Errorf("qsuper ended %s/%d: %+v", c.Name, s.Slot, e)
						}
					}
				}
			}
			b.down.Store(false)
			f.k.well()
			time.Sleep(4 * time.Minute)
			f.wantLive(total)
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
