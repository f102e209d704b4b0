package main

import (
	"context"
	"time"
)

// recycleSlots is how many children that exit at once are kept "running".
const recycleSlots = 16

// recycleRounds measures restarts per second of children that exit 0 at once.
func (b *bench) recycleRounds(ctx context.Context) {
	if !b.wants("restarts") {
		return
	}
	for round := range b.shortRounds {
		for _, p := range b.peers {
			progress("restarts, round %d of %d: %s", round+1, b.shortRounds, p.name())
			if err := b.recycleRound(ctx, p); err != nil {
				b.fail(ctx, "restarts, "+p.name(), err)
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

func (b *bench) recycleRound(ctx context.Context, p peer) error {
	s, err := launch(p, workload{program: b.programs.exitNow, n: recycleSlots}, b.dir)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.awaitStarts(ctx, recycleSlots); err != nil {
		return err
	}
	// What a peer does at its own start is not its pace.
	from := monotonic() + int64(500*time.Millisecond)
	to := from + int64(b.recycleTime)
	if err := pause(ctx, time.Duration(to-monotonic())+50*time.Millisecond); err != nil {
		return err
	}
	records, err := s.collect()
	if err != nil {
		return err
	}
	count := 0
	for _, r := range records {
		if r.at >= from && r.at < to {
			count++
		}
	}
	b.record("restarts", p, float64(count)/b.recycleTime.Seconds())
	clear(s.live) // they have all ended; what starts from now on ends by itself
	_, err = s.stop(ctx)
	return err
}
