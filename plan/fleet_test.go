package plan

import (
	"math/rand/v2"
	"testing"
	"time"
)

// fleetHost is one host of a simulated fleet.
type fleetHost struct {
	here   int
	able   bool // says that it could run the consumer
	broken bool // but takes nothing
	memory Memory
	target int
}

// fleetTurn has every host decide and do what it has decided: it takes what is free
// up to its target. ends is how many instances of each host end; beyond the target
// they are not replaced.
func fleetTurn(hosts []*fleetHost, total int, patience time.Duration, now time.Time, ends func(h *fleetHost) int) {
	for i, h := range hosts {
		f := Fleet{Lock: "fleet", Known: true, Patience: patience, Here: h.here, Hosts: 1, Least: h.here}
		for j, o := range hosts {
			if i == j {
				continue
			}
			f.Elsewhere += o.here
			if o.able {
				f.Hosts++
				f.Least = min(f.Least, o.here)
				if j < i {
					f.Rank++
				}
			}
		}
		r := Result{Memory: h.memory}
		h.target, h.memory = local(&r, &f, total, now), r.Memory
		if n := ends(h); h.here > h.target {
			h.here = max(h.target, h.here-n)
		}
		if !h.broken {
			h.here = max(h.here, min(h.target, total-f.Elsewhere))
		}
	}
}

// A host that joins gets its part as the instances of the others end, however long
// that takes, and one that takes nothing is stood in for by the others, for good.
func TestSlotsEvenOut(t *testing.T) {
	const total, patience = 8, 7 * time.Second
	r := rand.New(rand.NewPCG(1, 2))
	nothing := func(*fleetHost) int { return 0 }
	for range 500 {
		hosts := []*fleetHost{{able: true}}
		now := noonOfFleet
		turn := func(n int, ends func(*fleetHost) int) {
			for range n {
				now = now.Add(time.Second)
				fleetTurn(hosts, total, patience, now, ends)
			}
		}
		turn(20, nothing)
		for joining := range 1 + r.IntN(3) {
			hosts = append(hosts, &fleetHost{able: true, broken: joining == 0 && r.IntN(3) == 0})
		}
		turn(10+r.IntN(100), nothing) // busy for long after the others have joined
		if hosts[0].here != total {
			t.Fatalf("%d of %d are left where they were busy", hosts[0].here, total)
		}
		turn(100, func(*fleetHost) int { return r.IntN(2) })
		sum, least, most := 0, total, 0
		for _, h := range hosts {
			sum += h.here
			if !h.broken {
				least, most = min(least, h.here), max(most, h.here)
			}
		}
		if sum != total || most-least > total/len(hosts)+1 || len(hosts) > 1 && !hosts[1].broken && most-least > 1 {
			for i, h := range hosts {
				t.Logf("host %d: %+v", i, *h)
			}
			t.Fatalf("%d of %d run, %d to %d on each", sum, total, least, most)
		}
	}
}

var noonOfFleet = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
