package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// latencyIntervals are the values of `interval:` that are measured.
var latencyIntervals = []time.Duration{100 * time.Millisecond, time.Second}

const (
	// lanes are consumers with a queue each, measured together to save time.
	lanes          = 8
	latencySamples = 3 // a lane
)

// lanePeer is a qsuper whose consumers start on messages. The children tell
// their lane through BENCH_TAG.
type lanePeer struct {
	qsuperPeer
	interval time.Duration
	queue    string // file
}

func laneName(i int) string { return fmt.Sprintf("lane%d", i) }

func (p lanePeer) setUp(w workload) (setup, error) {
	var b strings.Builder
	b.WriteString(daemonSection(w.dir, p.interval.String()))
	fmt.Fprintf(&b, "connections:\n  local: {type: sqlite, path: %q}\nconsumers:\n", p.queue)
	for i := range lanes {
		env := merged(w.env, map[string]string{"BENCH_TAG": fmt.Sprint(i)})
		fmt.Fprintf(&b, `  %[1]s:
    command: [%[2]q]
    queue: {connection: local, name: %[1]s, layout: %[3]s}
    spawn: on_messages
    env: %[4]s
    backoff: {min_uptime: 0s}
    logs: {to: none}
`, laneName(i), w.program, queueLayout, flowMap(env))
	}
	return p.operate(w.dir, b.String())
}

// latency measures, for qsuper alone, the time from a message in an empty queue
// to the start of its consumer.
func (b *bench) latency(ctx context.Context) {
	if !b.wants("latency") {
		return
	}
	for _, p := range b.peers {
		q, ok := p.(qsuperPeer)
		if !ok {
			continue
		}
		for _, interval := range latencyIntervals {
			progress("latency, interval %s", interval)
			if err := b.latencyOf(ctx, q, interval); err != nil {
				b.fail(ctx, "latency, interval "+interval.String(), err)
			}
		}
	}
}

func (b *bench) latencyOf(ctx context.Context, p qsuperPeer, interval time.Duration) error {
	dir, err := os.MkdirTemp(b.dir, "queue-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "queue.db")
	q, err := createQueue(file)
	if err != nil {
		return err
	}
	defer q.close()
	s, err := launch(lanePeer{p, interval, file}, workload{program: b.programs.child, n: lanes}, b.dir)
	if err != nil {
		return err
	}
	defer s.close()
	if err := pause(ctx, time.Second+2*interval); err != nil { // its own start
		return err
	}
	for range latencySamples {
		took, err := s.publishAll(ctx, q, interval)
		if err != nil {
			return err
		}
		b.results.of("latency-"+interval.String(), p.name()).addSamples(0.5, took)
	}
	_, err = s.stop(ctx)
	return err
}

// publishAll publishes once to each lane, at moments spread evenly at random
// over an interval, waits for all consumers, then empties the queues and lets
// the consumers go.
func (s *session) publishAll(ctx context.Context, q *queue, interval time.Duration) ([]float64, error) {
	var published [lanes]int64
	gap := interval / lanes
	for _, lane := range rand.Perm(lanes) {
		early := rand.N(gap)
		if err := pause(ctx, early); err != nil {
			return nil, err
		}
		published[lane] = monotonic()
		if err := q.publish(ctx, laneName(lane)); err != nil {
			return nil, err
		}
		if err := pause(ctx, gap-early); err != nil {
			return nil, err
		}
	}
	var took []float64
	_, err := s.await(ctx, 10*interval+10*time.Second, "consumer", func(r record) bool {
		if r.kind == started && r.value < lanes && r.at > published[r.value] {
			took = append(took, seconds(r.at-published[r.value]))
		}
		return len(took) == lanes
	})
	if err != nil {
		return nil, err
	}
	for lane := range lanes {
		if err := q.purge(ctx, laneName(lane)); err != nil {
			return nil, err
		}
	}
	// Only when the emptiness has been seen is an exit not followed by a start.
	if err := pause(ctx, interval+interval/2); err != nil {
		return nil, err
	}
	for pid := range s.live {
		if err := killChild(pid); err != nil {
			return nil, err
		}
	}
	return took, pause(ctx, interval/2)
}
