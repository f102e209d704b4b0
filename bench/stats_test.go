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

func TestHeadlineIsTheMedianOfRounds(t *testing.T) {
	var s series
	s.addSamples(0.99, []float64{1, 2, 3})
	s.addSamples(0.99, []float64{10, 20, 900})
	s.addSamples(0.99, []float64{4, 5})
	if got := s.headline(); got != 5 {
		t.Errorf("headline: got %v, want 5: one disturbed round must not show", got)
	}
	if len(s.rounds) != 3 || s.count != 8 {
		t.Errorf("got %d rounds of %d samples, want 3 of 8", len(s.rounds), s.count)
	}
}
