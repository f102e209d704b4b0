package lease

import (
	"fmt"
	"math"
	"time"
)

// What the algorithm takes for granted.
const (
	// Drift is how far the rates of two clocks may be apart.
	Drift = 0.005
	// KillTime is what it takes to kill a tree and to see that it is gone.
	KillTime = 2 * time.Second
	// maxRequest bounds one request to a store.
	maxRequest = 5 * time.Second
)

// Timing is the length of the leases of one store, and what follows from it.
type Timing struct{ TTL time.Duration }

// Sure is how long a lease is certainly valid, counted from before it was asked for.
func (t Timing) Sure() time.Duration {
	return time.Duration(float64(t.TTL) * (1 - Drift))
}

// Interval is the time between two renewals.
func (t Timing) Interval() time.Duration { return t.TTL / 3 }

// Request is how long one request may take.
func (t Timing) Request() time.Duration { return min(t.TTL/6, maxRequest) }

// spare is what is left of a lease when one renewal has been missed.
func (t Timing) spare() time.Duration {
	return t.Sure() - t.Interval() - 2*t.Request() - KillTime
}

// Fits says whether an exclusive process that is given fence to finish can be
// ended in time when the store stops answering. Its error has the inequality with
// its numbers, and what to write instead. A fence of 0 checks the ttl alone.
func (t Timing) Fits(fence time.Duration) error {
	if fence <= t.spare() {
		return nil
	}
	text := fmt.Sprintf("ttl·%.3f ≥ ttl/3 + 2·request + grace + kill does not hold: %s < %s + 2·%s + %s + %s",
		1-Drift, round(t.Sure()), round(t.Interval()), round(t.Request()), round(fence), round(KillTime))
	return &FitError{Inequality: text, TTL: ttlFor(fence), Fence: max(0, t.spare().Truncate(time.Second))}
}

// FitError says that a ttl is too short.
type FitError struct {
	Inequality string
	TTL        time.Duration // the shortest that would do, in whole seconds
	Fence      time.Duration // the longest grace that the ttl allows, in whole seconds
}

func (e *FitError) Error() string { return e.Inequality }

// ttlFor is the shortest ttl in whole seconds that allows a grace.
func ttlFor(fence time.Duration) time.Duration {
	need := (fence + KillTime).Seconds()
	// While a request is a sixth of the ttl; above that it is maxRequest.
	ttl := need / (1 - Drift - 2.0/3)
	if ttl > (6 * maxRequest).Seconds() {
		ttl = (need + 2*maxRequest.Seconds()) / (1 - Drift - 1.0/3)
	}
	return time.Duration(math.Ceil(ttl)) * time.Second
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
