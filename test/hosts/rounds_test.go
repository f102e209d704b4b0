package hosts

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestRounds lets random faults befall random hosts of two or three, one or two at a
// time, for a while or for QSUPER_SOAK, with each lock type, and judges what has
// acted at the end. The seed decides what is done; the moments it meets are the
// machine's own.
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
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				a := newArena(t, kind, 2+r.IntN(2))
				defer all.add(a.report)
				a.settle()
				a.rounds(r, time.Now().Add(length))
				a.end()
			})
		}
	})
	all.show(t)
}

// rounds goes on until a moment. A fault lasts shorter than a lease or longer, and
// the next may come before the host has found itself again, or the fault is over.
func (a *arena) rounds(r *rand.Rand, until time.Time) {
	a.t.Helper()
	for time.Now().Before(until) {
		first := a.befall(r, nil)
		if r.IntN(3) == 0 {
			second := a.befall(r, first)
			if r.IntN(2) == 0 {
				first, second = second, first
			}
			a.heal(second.harm, second.host)
			<-after(time.Duration(r.Int64N(int64(ttl / 3))))
		}
		a.heal(first.harm, first.host)
		<-after(time.Duration(r.Int64N(int64(2 * time.Second))))
	}
}

// blow is a fault that lasts, and the host to heal.
type blow struct {
	harm *harm
	host *host
}

// befall lets a random fault befall a random host, and waits for as long as it is to
// last. Beside another one it is of somebody else.
func (a *arena) befall(r *rand.Rand, beside *blow) *blow {
	a.t.Helper()
	f, h := faults[r.IntN(len(faults))], a.hosts[r.IntN(len(a.hosts))]
	for beside != nil && !canBeBeside(f, h, beside) {
		f, h = faults[r.IntN(len(faults))], a.hosts[r.IntN(len(a.hosts))]
	}
	long := ttl / 3
	if r.IntN(3) == 0 {
		long = 2 * ttl
	}
	d := time.Duration(r.Int64N(int64(long)))
	a.t.Logf("%s: %s for %s, beside another: %v", h.name, f.name, d.Round(time.Millisecond), beside != nil)
	a.report.rounds++
	b := &blow{a.strike(f, h), h}
	<-after(d)
	return b
}

// canBeBeside keeps two faults from the same victim, and a keeper that is stopped from
// a store that does not answer: nobody could end what runs on that host then, which
// docs/shared-slots.md admits.
func canBeBeside(f fault, h *host, other *blow) bool {
	if f.server || other.harm.server {
		return f.server != other.harm.server && !f.renewed && !other.harm.renewed
	}
	return h != other.host
}
