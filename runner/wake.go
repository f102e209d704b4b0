package runner

import "time"

// Bounds on looks that are made because a connection told of new messages: the
// first few at once, then one at a time, so that a flood of messages does not
// become a flood of looks, and a slow server is not asked all the time.
const (
	wakeBurst = 5
	wakeEvery = 40 * time.Millisecond // between looks in a flood, at least
	wakeShare = 10                    // looks take this part of the time at most
)

// pace spaces out the looks that wake-ups ask for.
type pace struct {
	paid time.Time // until when looks have been made in advance
}

// wait says how long the next look has to be put off. took is how long the last
// one took.
func (p *pace) wait(now time.Time, took time.Duration) time.Duration {
	if p.paid.Before(now) {
		p.paid = now
	}
	return max(p.paid.Sub(now)-(wakeBurst-1)*wakeCost(took), 0)
}

// look notes that one was made.
func (p *pace) look(now time.Time, took time.Duration) {
	if p.paid.Before(now) {
		p.paid = now
	}
	p.paid = p.paid.Add(wakeCost(took))
}

func wakeCost(took time.Duration) time.Duration { return max(wakeEvery, wakeShare*took) }
