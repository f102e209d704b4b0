package runner

import (
	"testing"
	"time"
)

// The first messages are looked at when they come, and a flood of them 25 times
// a second; a server that takes long to answer is asked a tenth of the time.
func TestAFloodOfMessagesIsNoFloodOfLooks(t *testing.T) {
	for _, c := range []struct {
		took     time.Duration
		at, most int // looks in the first millisecond; in 10 s
	}{{time.Millisecond, wakeBurst, 250 + wakeBurst}, {50 * time.Millisecond, wakeBurst, 20 + wakeBurst}, {3 * time.Second, wakeBurst, wakeBurst}} {
		var p pace
		start := time.Now()
		first, looks := 0, 0
		for now := start; now.Before(start.Add(10 * time.Second)); now = now.Add(100 * time.Microsecond) {
			if p.wait(now, c.took) > 0 {
				continue
			}
			p.look(now, c.took)
			looks++
			if now.Before(start.Add(time.Millisecond)) {
				first++
			}
		}
		if first != c.at || looks > c.most || looks < c.most-2 {
			t.Errorf("looks of %s: %d at once and %d in 10 s, want %d and %d", c.took, first, looks, c.at, c.most)
		}
		if wait := p.wait(start.Add(10*time.Second), c.took); wait > max(wakeEvery, wakeShare*c.took) {
			t.Errorf("in a flood a look waits %s", wait)
		}
		// After a pause the next one is not put off.
		if wait := p.wait(start.Add(time.Hour), c.took); wait != 0 {
			t.Errorf("after an hour a look waits %s", wait)
		}
	}
}
