package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// settle is how long a child must have run before anything is done to it:
	// runit, s6 and Supervisor slow a child down that ends in its first second.
	settle = 1200 * time.Millisecond
	// replaceBudget bounds the replacements of one round; peers that wait a
	// second get as many samples as fit.
	replaceBudget = 8 * time.Second
	// statusRuns is over all rounds; statusBudget bounds those of one round.
	statusRuns   = 20
	statusBudget = 3 * time.Second
)

// fleetRounds measures start, memory, status, replace and stop: every round
// takes each peer once, so that a drifting machine hurts all alike.
func (b *bench) fleetRounds(ctx context.Context) {
	if !b.wants("start", "memory", "status", "replace", "stop") {
		return
	}
	for round := range b.rounds {
		for _, p := range b.peers {
			if p.slow() && !b.slowRound(round) {
				continue
			}
			progress("fleet of %d, round %d of %d: %s", b.n, round+1, b.rounds, p.name())
			if err := b.fleetRound(ctx, p); err != nil {
				b.fail(ctx, "fleet, "+p.name(), err)
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// slowRound picks half of the rounds, the first and the last among them.
func (b *bench) slowRound(round int) bool { return round%2 == 0 }

func (b *bench) fleetRound(ctx context.Context, p peer) error {
	s, err := launch(p, workload{program: b.programs.child, n: b.n}, b.dir)
	if err != nil {
		return err
	}
	defer s.close()
	last, err := s.awaitStarts(ctx, b.n)
	if err != nil {
		return err
	}
	b.record("start", p, seconds(last-s.began))
	if err := pause(ctx, settle); err != nil {
		return err
	}
	if b.wants("memory") {
		if err := b.memory(s); err != nil {
			return err
		}
	}
	if b.wants("status") {
		if err := b.status(ctx, s); err != nil {
			return err
		}
	}
	if b.wants("replace") {
		if err := b.replace(ctx, s); err != nil {
			return err
		}
	}
	took, err := s.stop(ctx)
	if err != nil {
		return err
	}
	b.record("stop", p, took)
	return nil
}

func (b *bench) memory(s *session) error {
	own := s.own()
	bytes, err := proportionalMemory(own)
	if err != nil {
		return err
	}
	threads := 0
	for _, p := range own {
		threads += p.threads
	}
	b.record("pss", s.peer, float64(bytes))
	b.record("threads", s.peer, float64(threads))
	return nil
}

func (b *bench) status(ctx context.Context, s *session) error {
	runs := (statusRuns + b.rounds - 1) / b.rounds
	for key, argv := range s.setup.status {
		var took []float64
		for end := time.Now().Add(statusBudget); len(took) == 0 || len(took) < runs && time.Now().Before(end); {
			t, err := s.run(ctx, argv)
			if err != nil {
				return err
			}
			took = append(took, t)
		}
		b.results.of(key, s.peer.name()).addSamples(0.5, took)
	}
	return nil
}

// replace makes one child after the other exit 0 and takes the time until its
// successor reports in. The oldest child goes first, and pauses of uneven
// length keep the rhythm of the bench away from that of the peer.
func (b *bench) replace(ctx context.Context, s *session) error {
	var took []float64
	for end := time.Now().Add(replaceBudget); len(took) < b.replacements && time.Now().Before(end); {
		victim, err := s.oldest(ctx)
		if err != nil {
			return err
		}
		asked := monotonic()
		if err := killChild(victim); err != nil {
			return fmt.Errorf("make child %d exit: %w", victim, err)
		}
		successor, err := s.await(ctx, 15*time.Second, "successor", func(r record) bool { return r.kind == started })
		if err != nil {
			return err
		}
		took = append(took, seconds(successor.at-asked))
		if err := pause(ctx, 10*time.Millisecond+rand.N(5*time.Millisecond)); err != nil {
			return err
		}
	}
	b.results.of("replace-p50", s.peer.name()).addSamples(0.5, took)
	b.results.of("replace-p99", s.peer.name()).addSamples(0.99, took)
	return nil
}

// oldest returns the child that has run longest, once it is old enough.
func (s *session) oldest(ctx context.Context) (int, error) {
	if _, err := s.collect(); err != nil {
		return 0, err
	}
	for len(s.order) > 0 {
		pid := s.order[0]
		s.order = s.order[1:]
		since, ok := s.live[pid]
		if !ok {
			continue
		}
		age := time.Duration(monotonic() - since)
		return pid, pause(ctx, settle-age)
	}
	return 0, fmt.Errorf("%s: no child is left", s.peer.name())
}
