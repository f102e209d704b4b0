package simulate

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Poisson are messages that come by chance, `rate` a second at each moment.
func Poisson(r *rand.Rand, from, to time.Duration, rate func(at time.Duration) float64) []time.Duration {
	most := 0.0
	for at := from; at < to; at += time.Minute {
		most = math.Max(most, rate(at))
	}
	var list []time.Duration
	for at := from; most > 0; {
		at += time.Duration(r.ExpFloat64() / most * float64(time.Second))
		if at >= to {
			break
		}
		if r.Float64()*most < rate(at) {
			list = append(list, at)
		}
	}
	return list
}

// Steady is a rate that does not change.
func Steady(rate float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return rate }
}

// Typical is a day of a shop: next to nothing at night, a few messages a second
// by day, sixteen mails to everybody at once, an import from two to half past two,
// and an outage of the broker for twenty minutes in the afternoon.
func Typical(seed uint64) Day {
	r := rand.New(rand.NewPCG(seed, 1))
	hour := func(h float64) time.Duration { return time.Duration(h * float64(time.Hour)) }
	d := Day{Length: 24 * time.Hour, Outages: []Outage{{hour(15), hour(15) + 20*time.Minute}}}
	d.Arrive = Poisson(r, 0, d.Length, func(at time.Duration) float64 {
		return 3 * math.Pow(math.Max(0.05, math.Sin(math.Pi*(at.Hours()-6)/16)), 2)
	})
	for range 16 {
		at := hour(7 + 14*r.Float64())
		for range 200 + r.IntN(1000) {
			d.Arrive = append(d.Arrive, at)
		}
	}
	d.Arrive = append(d.Arrive, Poisson(r, hour(2), hour(2.5), Steady(8))...)
	slices.Sort(d.Arrive)
	return d
}
