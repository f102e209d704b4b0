package main

import (
	"math"
	"slices"
)

// series is one figure of one peer.
type series struct {
	rounds []float64 // one value per round
	count  int       // measurements behind them
}

func (s *series) addRound(v float64) {
	s.rounds = append(s.rounds, v)
	s.count++
}

// addSamples adds a round whose value is a quantile of its samples.
func (s *series) addSamples(quantile float64, v []float64) {
	s.rounds = append(s.rounds, percentile(v, quantile))
	s.count += len(v)
}

// headline is the number to read: the median of the rounds, so that a round
// that something else disturbed does not count, in a p99 least of all.
func (s *series) headline() float64 { return percentile(s.rounds, 0.5) }

// percentile returns the q quantile (0..1): the mean of the two middle values
// for an even median, else by the nearest rank. NaN for nothing.
func percentile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	if q == 0.5 && len(v)%2 == 0 {
		return (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	rank := int(math.Ceil(q*float64(len(v)))) - 1
	return v[max(0, rank)]
}
