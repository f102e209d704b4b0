package main

import (
	"math"
	"slices"
)

// series is one figure of one peer.
type series struct {
	rounds   []float64 // one value per round
	samples  []float64 // pooled over all rounds; empty when a round is one sample
	quantile float64   // what a round's value is of its samples
}

func (s *series) addRound(v float64) { s.rounds = append(s.rounds, v) }

func (s *series) addSamples(quantile float64, v []float64) {
	s.quantile = quantile
	s.samples = append(s.samples, v...)
	s.rounds = append(s.rounds, percentile(v, quantile))
}

// headline is the number to read: the median of the rounds, or the quantile of
// all samples together.
func (s *series) headline() float64 {
	if len(s.samples) > 0 {
		return percentile(s.samples, s.quantile)
	}
	return percentile(s.rounds, 0.5)
}

// count is how many measurements stand behind the headline.
func (s *series) count() int { return max(len(s.rounds), len(s.samples)) }

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
