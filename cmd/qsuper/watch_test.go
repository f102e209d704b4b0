package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"qsuper/control"
)

// lockedBuffer is written by a command and read by the test meanwhile.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

const blink = 2 * time.Millisecond

func TestWatchWithoutTerminalPrintsChanges(t *testing.T) {
	d := scenario("one", noon)
	c := serve(t, d)
	var text lockedBuffer
	out := &screen{Writer: &text}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runWatch(ctx, c, statusOptions{watch: true, every: blink}, out, atNoon) }()
	shown := func() int { return strings.Count(text.String(), "shop up") }
	eventually(t, "the first table", func() bool { return shown() == 1 })
	d.set(func(st *control.Status) { st.Consumers[0].Queue.Ready = ptr(int64(99)) }) // no reason to print
	asked := func() int { d.mu.Lock(); defer d.mu.Unlock(); return len(d.queries) }
	before := asked()
	eventually(t, "some more looks", func() bool { return asked() > before+5 })
	if n := shown(); n != 1 {
		t.Errorf("a depth alone was printed %d times", n-1)
	}
	d.set(func(st *control.Status) { st.Consumers[0].State, st.Consumers[0].Running = "stopping", 0 })
	eventually(t, "the second table", func() bool { return shown() == 2 })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	if strings.Contains(text.String(), "\x1b") {
		t.Error("escape sequences without a terminal")
	}
}

func TestWatchEndsWithTheDaemon(t *testing.T) {
	for _, announced := range []bool{true, false} {
		d := scenario("one", noon)
		path := t.TempDir() + "/q.sock"
		stop := serveAt(t, d, path)
		var text lockedBuffer
		out := &screen{Writer: &text, live: true, width: 80, height: 24}
		done := make(chan error, 1)
		go func() {
			done <- runWatch(context.Background(), control.New(path), statusOptions{watch: true, every: blink}, out, atNoon)
		}()
		if announced {
			d.set(func(st *control.Status) { st.Daemon.Stopping = true })
			eventually(t, "the stop to be shown", func() bool { return strings.Contains(text.String(), "is stopping") })
		}
		eventually(t, "a table", func() bool { return strings.Contains(text.String(), "orders") })
		stop()
		code := exitCode(<-done)
		if announced && code != exitDone || !announced && code != exitNoDaemon {
			t.Errorf("announced %v: exit code %d", announced, code)
		}
		all := text.String()
		if !strings.HasPrefix(all, altScreen) || !strings.Contains(all, mainScreen) {
			t.Errorf("the terminal is not put back: %q", all)
		}
		if _, rest, _ := strings.Cut(all, mainScreen); !strings.Contains(rest, "orders") {
			t.Error("what was seen last does not stay on the screen")
		}
	}
}

// TestRedrawFits: whatever is shown, a redraw never scrolls the terminal.
func TestRedrawFits(t *testing.T) {
	st := scenario("fifty", noon).status
	for height := 3; height < 70; height++ {
		var text bytes.Buffer
		out := &screen{Writer: &text, live: true, width: 80, height: height}
		if err := redraw(out, statusOptions{}, st, atNoon); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(text.String(), "\n") + 1; n > height {
			t.Errorf("%d lines on a terminal of %d", n, height)
		}
	}
}
