package healthtest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"qsuper/health"
)

// Watched describes a queue of which the backend tells by itself.
type Watched struct {
	Spec    health.Spec
	Queue   health.Queue
	Publish func() // a message into the queue
	Aside   func() // something else that must wake nobody; nil = everything wakes
	Cut     func() // ends the connection that listens; nil = there is none
}

// Watch checks that messages are told of soon, that looking wakes nobody, and
// that a watch survives the loss of its connection and leaves nothing behind.
func Watch(t *testing.T, w Watched) {
	t.Helper()
	warm := health.NewProbe("c", w.Spec, patience)
	warm.Look(t.Context(), []health.Queue{w.Queue})
	if err := warm.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	leaks(t)
	var wakes atomic.Int64
	p := health.NewProbe("c", w.Spec, patience)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		p.Watch(ctx, []health.Queue{w.Queue}, func() { wakes.Add(1) })
		close(ended)
	}()
	defer func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("the watch does not end")
		}
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "it listens", func() bool { return wakes.Load() > 0 })
	for range 3 {
		before := wakes.Load()
		w.Publish()
		eventually(t, "a message is told of", func() bool { return wakes.Load() > before })
		quiet(t, &wakes)
	}
	before := wakes.Load()
	for range 3 {
		if o := p.Look(ctx, []health.Queue{w.Queue}); !o.Up || o.Readings[0].State != health.OK || o.Readings[0].Ready < 1 {
			t.Errorf("a look: %+v", o)
		}
		if w.Aside != nil {
			w.Aside()
		}
	}
	quiet(t, &wakes)
	if n := wakes.Load() - before; n != 0 {
		t.Errorf("looks and other queues woke %d times", n)
	}
	if w.Cut == nil {
		return
	}
	w.Cut()
	eventually(t, "it listens again", func() bool { return wakes.Load() > before })
	quiet(t, &wakes)
	before = wakes.Load()
	w.Publish()
	eventually(t, "a message after the loss is told of", func() bool { return wakes.Load() > before })
}

// quiet waits until nothing has woken for half a second.
func quiet(t *testing.T, wakes *atomic.Int64) {
	t.Helper()
	last, since := wakes.Load(), time.Now()
	eventually(t, "it is quiet", func() bool {
		if n := wakes.Load(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 500*time.Millisecond
	})
}
