package main

import (
	"math"
	"testing"
)

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, c := range []struct {
		name   string
		values []float64
		q      float64
		want   float64
	}{
		{"one value is every quantile", []float64{7}, 0.99, 7},
		{"odd median", []float64{9, 1, 5}, 0.5, 5},
		{"even median is the mean of the middle", []float64{4, 1, 3, 2}, 0.5, 2.5},
		{"p99 of a hundred is the 99th", hundred, 0.99, 99},
		{"p99 of few is the largest", []float64{1, 2, 3}, 0.99, 3},
		{"zero quantile is the smallest", []float64{3, 1, 2}, 0, 1},
	} {
		if got := percentile(c.values, c.q); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	if got := percentile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("median of nothing: got %v, want NaN", got)
	}
}

func TestSeriesPoolsSamplesOfAllRounds(t *testing.T) {
	var s series
	s.addSamples(0.5, []float64{1, 2, 3})
	s.addSamples(0.5, []float64{10, 20, 30, 40})
	if got := s.headline(); got != 10 {
		t.Errorf("headline: got %v, want the median of all seven, 10", got)
	}
	if len(s.rounds) != 2 || s.rounds[0] != 2 || s.rounds[1] != 25 {
		t.Errorf("rounds: got %v, want [2 25]", s.rounds)
	}
	if s.count() != 7 {
		t.Errorf("count: got %d, want 7", s.count())
	}
}
