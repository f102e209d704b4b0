package hosts

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestRounds lets random faults befall random hosts, for a while or for
// QSUPER_SOAK, with each lock type, and judges what has acted at the end. The seed
// decides what is done; the moments it meets are the machine's own.
func TestRounds(t *testing.T) {
	length := 20 * time.Second
	if text := os.Getenv("QSUPER_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("QSUPER_SOAK: %v", err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("QSUPER_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("QSUPER_SEED: %v", err)
		}
	}
	t.Logf("seed %d (QSUPER_SEED=%d does it again), %s", seed, seed, length)
	var all reports
	t.Run("types", func(t *testing.T) {
		for i, kind := range lockTypes {
			t.Run(kind.name, func(t *testing.T) {
				t.Parallel()
				a := newArena(t, kind, 2)
				defer all.add(a.report)
				a.settle()
				a.rounds(rand.New(rand.NewPCG(seed, uint64(i))), time.Now().Add(length))
				a.end()
			})
		}
	})
	all.show(t)
}

// rounds goes on until a moment. A fault lasts shorter than a lease or longer, and
// the next may come before the host has found itself again.
func (a *arena) rounds(r *rand.Rand, until time.Time) {
	a.t.Helper()
	for time.Now().Before(until) {
		f, h := faults[r.IntN(len(faults))], a.hosts[r.IntN(len(a.hosts))]
		long := ttl / 3
		if r.IntN(3) == 0 {
			long = 2 * ttl
		}
		d := time.Duration(r.Int64N(int64(long)))
		a.t.Logf("%s: %s for %s", h.name, f.name, d.Round(time.Millisecond))
		a.report.rounds++
		w := a.strike(f, h)
		<-after(d)
		a.heal(w, h)
		<-after(time.Duration(r.Int64N(int64(2 * time.Second))))
	}
}
