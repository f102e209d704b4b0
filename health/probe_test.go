package health_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"qsuper/health"
)

// fake is a Spec and counts what it opened and closed.
type fake struct {
	openErr error
	open    func() // called by Open
	ping    func(ctx context.Context) error
	measure func(ctx context.Context, queues []health.Queue) ([]health.Reading, error)
	onClose func()
	secrets []string

	opened, closed atomic.Int64
}

func (f *fake) Open() (health.Conn, error) {
	if f.open != nil {
		f.open()
	}
	if f.openErr != nil {
		return nil, f.openErr
	}
	f.opened.Add(1)
	c := &fakeConn{f: f}
	if f.measure == nil {
		return c, nil
	}
	return fakeMeter{c}, nil
}

type fakeConn struct {
	f    *fake
	once sync.Once
}

func (c *fakeConn) Secrets() []string { return c.f.secrets }
func (c *fakeConn) Ping(ctx context.Context) error {
	if c.f.ping == nil {
		return nil
	}
	return c.f.ping(ctx)
}
func (c *fakeConn) Close() error {
	c.once.Do(func() { c.f.closed.Add(1) })
	if c.f.onClose != nil {
		c.f.onClose()
	}
	return nil
}

type fakeMeter struct{ *fakeConn }

func (c fakeMeter) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	return c.f.measure(ctx, queues)
}

func ok(ready int64) health.Reading { return health.Reading{State: health.OK, Ready: ready} }

func bad(reason string) health.Reading {
	const n = health.NotKnown
	return health.Reading{State: health.Unknown, Ready: n, InFlight: n, Delayed: n, Oldest: n, Consumers: n, Err: reason}
}

func answer(readings ...health.Reading) func(context.Context, []health.Queue) ([]health.Reading, error) {
	return func(context.Context, []health.Queue) ([]health.Reading, error) { return readings, nil }
}

var two = []health.Queue{{Name: "a"}, {Name: "b"}}

func check(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func closeProbe(t *testing.T, p *health.Probe) {
	t.Helper()
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestLookKeepsOneConnection(t *testing.T) {
	f := &fake{measure: answer(ok(1), ok(2))}
	p := health.NewProbe("c", f, time.Second)
	for range 100 {
		o := p.Look(t.Context(), two)
		if !o.Up || o.Err != "" || o.At.IsZero() {
			t.Fatalf("look: %+v", o)
		}
		check(t, "readings", []health.Reading{ok(1), ok(2)}, o.Readings)
	}
	closeProbe(t, p)
	closeProbe(t, p)
	check(t, "connections opened, closed", []int64{1, 1}, []int64{f.opened.Load(), f.closed.Load()})
	if o := p.Look(t.Context(), two); o.Up || o.Err != "probe is closed" || f.opened.Load() != 1 {
		t.Errorf("a closed probe answered %+v", o)
	}
}

func TestLookAsksForEachQueueOnce(t *testing.T) {
	var asked []health.Queue
	f := &fake{measure: func(_ context.Context, queues []health.Queue) ([]health.Reading, error) {
		asked = queues
		return []health.Reading{ok(1), ok(2)}, nil
	}}
	p := health.NewProbe("c", f, time.Second)
	defer closeProbe(t, p)
	o := p.Look(t.Context(), []health.Queue{{Name: "a"}, {Name: "b"}, {Name: "a"}})
	check(t, "asked", two, asked)
	check(t, "readings", []health.Reading{ok(1), ok(2), ok(1)}, o.Readings)
}

func TestLookSettlesReadings(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want health.Reading
	}{
		{"negative depth", ok(-1), bad("depth -1 makes no sense")},
		{"absurd depth", ok(1 << 60), bad("depth 1152921504606846976 makes no sense")},
		{"no state", health.Reading{}, bad("")},
		{"unknown with numbers", health.Reading{State: health.Unknown, Err: "why"}, bad("why")},
		{"negative in flight", health.Reading{State: health.OK, InFlight: -7, Consumers: 1 << 60, Oldest: -time.Second},
			health.Reading{State: health.OK, InFlight: health.NotKnown, Consumers: health.NotKnown, Oldest: health.NotKnown}},
		{"not known stays", health.Reading{State: health.OK, Delayed: health.NotKnown}, health.Reading{State: health.OK, Delayed: health.NotKnown}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := health.NewProbe("c", &fake{measure: answer(c.got)}, time.Second)
			defer closeProbe(t, p)
			o := p.Look(t.Context(), two[:1])
			check(t, "reading", []health.Reading{c.want}, o.Readings)
			if !o.Up {
				t.Errorf("down: %s", o.Err)
			}
		})
	}
}

func TestLookTellsDownFromUnknown(t *testing.T) {
	fails := func(context.Context, []health.Queue) ([]health.Reading, error) {
		return nil, errors.New("refused")
	}
	t.Run("the queues fail", func(t *testing.T) {
		f := &fake{measure: fails}
		p := health.NewProbe("c", f, time.Second)
		defer closeProbe(t, p)
		p.Look(t.Context(), two)
		o := p.Look(t.Context(), two)
		check(t, "readings", []health.Reading{bad("refused"), bad("refused")}, o.Readings)
		if o.Up || o.Err != "refused" {
			t.Errorf("got %+v", o)
		}
		check(t, "opened, closed", []int64{2, 2}, []int64{f.opened.Load(), f.closed.Load()})
	})
	t.Run("the ping fails", func(t *testing.T) {
		f := &fake{ping: func(context.Context) error { return errors.New("refused") }}
		p := health.NewProbe("c", f, time.Second)
		defer closeProbe(t, p)
		if o := p.Look(t.Context(), nil); o.Up || o.Err != "refused" {
			t.Errorf("got %+v", o)
		}
		check(t, "opened, closed", []int64{1, 1}, []int64{f.opened.Load(), f.closed.Load()})
	})
	t.Run("it has no queues", func(t *testing.T) {
		p := health.NewProbe("c", &fake{}, time.Second)
		defer closeProbe(t, p)
		if o := p.Look(t.Context(), nil); !o.Up || len(o.Readings) != 0 {
			t.Errorf("got %+v", o)
		}
		o := p.Look(t.Context(), two[:1])
		check(t, "readings", []health.Reading{bad("connections of this type have no queues")}, o.Readings)
	})
	t.Run("it does not open", func(t *testing.T) {
		p := health.NewProbe("c", &fake{openErr: errors.New("no such file")}, time.Second)
		defer closeProbe(t, p)
		if o := p.Look(t.Context(), two); o.Up || o.Err != "no such file" || len(o.Readings) != 2 {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("too few readings", func(t *testing.T) {
		p := health.NewProbe("c", &fake{measure: answer(ok(1))}, time.Second)
		defer closeProbe(t, p)
		if o := p.Look(t.Context(), two); o.Up || o.Err != "backend gave 1 readings for 2 queues" {
			t.Errorf("got %+v", o)
		}
	})
}

func TestLookSurvivesPanics(t *testing.T) {
	f := &fake{measure: func(context.Context, []health.Queue) ([]health.Reading, error) { panic("index 3 of s3cr3t") },
		onClose: func() { panic("again") }, secrets: []string{"s3cr3t"}}
	p := health.NewProbe("c", f, time.Second)
	for range 3 {
		if o := p.Look(t.Context(), two); o.Up || o.Err != "probe panicked: index 3 of ***" {
			t.Fatalf("got %+v", o)
		}
	}
	check(t, "opened, closed", []int64{3, 3}, []int64{f.opened.Load(), f.closed.Load()})
	closeProbe(t, p)
}

func TestLookHidesSecrets(t *testing.T) {
	const secret = "p@ss w/ö%r\"d"
	forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strings.ToLower(url.PathEscape(secret)), url.UserPassword("", secret).String()}
	for _, form := range forms {
		fails := func(context.Context) error { return errors.New("dial\namqp://u:" + form + "@h: refused \x1b[31m") }
		p := health.NewProbe("c", &fake{ping: fails, secrets: []string{secret, "", "u:p"}}, time.Second)
		if got := p.Look(t.Context(), nil).Err; strings.Contains(got, form) || !strings.HasSuffix(got, "***@h: refused  [31m") {
			t.Errorf("%q in an error became %q", form, got)
		}
		closeProbe(t, p)
	}
	// A password of one letter must not eat the words that say what is wrong.
	short := func(context.Context) error { return errors.New("dial tcp p: amqp://u:p@h/p?x=p: no route, p") }
	brief := health.NewProbe("c", &fake{ping: short, secrets: []string{"p"}}, time.Second)
	check(t, "a short secret", "dial tcp ***: amqp://u:***@h/***?x=***: no route, ***", brief.Look(t.Context(), nil).Err)
	closeProbe(t, brief)
	long := func(context.Context) error { return errors.New(strings.Repeat("é", 1000)) }
	p := health.NewProbe("c", &fake{ping: long}, time.Second)
	defer closeProbe(t, p)
	if got := p.Look(t.Context(), nil).Err; len(got) > 410 {
		t.Errorf("an error of %d bytes was kept", len(got))
	}
}

func TestLookGivesUpOnTime(t *testing.T) {
	patient := func(ctx context.Context) error { <-ctx.Done(); return errors.New("use of closed network connection") }
	t.Run("a backend that heeds its context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{ping: patient}
			p := health.NewProbe("c", f, 3*time.Second)
			defer closeProbe(t, p)
			o := p.Look(t.Context(), nil)
			check(t, "after, error", []any{3 * time.Second, "no answer within 3s"}, []any{o.Latency, o.Err})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			o = p.Look(ctx, nil)
			check(t, "when the caller gives up", time.Second, o.Latency)
		})
	})
	t.Run("a slow query does not make the server down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{measure: func(ctx context.Context, _ []health.Queue) ([]health.Reading, error) { return nil, patient(ctx) }}
			p := health.NewProbe("c", f, 4*time.Second)
			defer closeProbe(t, p)
			o := p.Look(t.Context(), two[:1])
			check(t, "up, after", []any{true, 3 * time.Second}, []any{o.Up, o.Latency})
			check(t, "readings", []health.Reading{bad("queues were not counted in time")}, o.Readings)
		})
	})
	t.Run("one that hangs until it is closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			closed := make(chan struct{}, 10)
			f := &fake{ping: func(context.Context) error { <-closed; return nil }, onClose: func() { closed <- struct{}{} }}
			p := health.NewProbe("c", f, 3*time.Second)
			defer closeProbe(t, p)
			for range 3 {
				o := p.Look(t.Context(), nil)
				check(t, "after, error", []any{3250 * time.Millisecond, "no answer within 3s"}, []any{o.Latency, o.Err})
				synctest.Wait()
			}
			check(t, "opened, closed", []int64{3, 3}, []int64{f.opened.Load(), f.closed.Load()})
		})
	})
}

func TestLookNeverPilesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := &fake{ping: func(context.Context) error { <-release; return nil }, onClose: func() { <-release }}
		p := health.NewProbe("c", f, 3*time.Second)
		p.Look(t.Context(), nil)
		for range 100 {
			if o := p.Look(t.Context(), two); o.Up || o.Err != "previous probe still hangs" || o.Latency != 0 {
				t.Fatalf("got %+v", o)
			}
		}
		check(t, "opened", int64(1), f.opened.Load())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection c") {
			t.Errorf("close of a hanging probe: %v", err)
		}
		close(release)
		closeProbe(t, p)
		check(t, "closed", int64(1), f.closed.Load())
	})
}

func TestLookRecoversAfterAHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := &fake{open: func() { <-release }}
		p := health.NewProbe("c", f, 3*time.Second)
		if o := p.Look(t.Context(), nil); o.Up || o.Latency != 3250*time.Millisecond {
			t.Errorf("got %+v", o)
		}
		close(release)
		synctest.Wait()
		if o := p.Look(t.Context(), nil); !o.Up {
			t.Errorf("got %+v", o)
		}
		closeProbe(t, p)
		check(t, "left open", f.opened.Load(), f.closed.Load())
	})
}

func TestCloseEndsALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		f := &fake{ping: func(context.Context) error { <-closed; return errors.New("closed") }, onClose: func() { close(closed) }}
		p := health.NewProbe("c", f, time.Hour)
		done := make(chan health.Observation)
		go func() { done <- p.Look(t.Context(), nil) }()
		synctest.Wait()
		closeProbe(t, p)
		if o := <-done; o.Up || o.Err != "closed" {
			t.Errorf("got %+v", o)
		}
		check(t, "opened, closed", []int64{1, 1}, []int64{f.opened.Load(), f.closed.Load()})
	})
}
