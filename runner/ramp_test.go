package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/health"
	"qsuper/plan"
	"qsuper/slot"
)

// broker is a connection that a test can take down.
type broker struct {
	down  atomic.Bool
	ready atomic.Int64 // of every queue
	taken atomic.Int64 // in flight
}

func (b *broker) Open() (health.Conn, error) { return brokerConn{b}, nil }

type brokerConn struct{ b *broker }

func (c brokerConn) Ping(context.Context) error {
	if c.b.down.Load() {
		return errors.New("connection refused")
	}
	return nil
}
func (brokerConn) Close() error { return nil }

func (c brokerConn) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	if err := c.Ping(ctx); err != nil {
		return nil, err
	}
	list := make([]health.Reading, len(queues))
	for i := range list {
		list[i] = health.Reading{State: health.OK, Ready: c.b.ready.Load(), InFlight: c.b.taken.Load(), Delayed: health.NotKnown}
	}
	return list, nil
}

func onBroker(f *fleet, b *broker, cs ...*config.Consumer) *config.Config {
	for _, c := range cs {
		c.Requires = []string{"broker"}
	}
	cfg := f.config(cs...)
	cfg.Connections = []*config.Connection{{Name: "broker", Type: "z", Timeout: time.Second, Spec: b}}
	return cfg
}

// perSecond counts the starts from some number on, second by second after the first.
func (k *fakeKeeper) perSecond(from int) (counts []int, names map[string]int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	names = map[string]int{}
	for i := from; i < len(k.at); i++ {
		s := int(k.at[i].Sub(k.at[from]) / time.Second)
		for len(counts) <= s {
			counts = append(counts, 0)
		}
		counts[s]++
		if s < 5 {
			name, _, _ := strings.Cut(k.starts[i], "/")
			names[name]++
		}
	}
	return counts, names
}

func tenByHundred() []*config.Consumer {
	var list []*config.Consumer
	for i := range 10 {
		list = append(list, conf(fmt.Sprintf("c%d", i), 100))
	}
	return list
}

// TestConnectionBack: a thousand slots wait for a broker: they start as a ramp, every consumer from the
// beginning, and never faster than start_rate.
func TestConnectionBack(t *testing.T) {
	for _, rate := range []int{0, 50} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t)
			defer f.end()
			b := &broker{}
			b.down.Store(true)
			cfg := onBroker(f, b, tenByHundred()...)
			cfg.Daemon.StartRate = rate
			f.r.Apply(cfg)
			time.Sleep(time.Hour)
			f.wantLive(0)
			b.down.Store(false)
			time.Sleep(5 * time.Second)
			if s := f.snapshot("c0"); s.Summary.Reason.Code != slot.Ramp || !s.Summary.Healthy || !strings.Contains(s.Summary.Reason.Text, "broker answers again") {
				t.Errorf("%+v", s.Summary)
			}
			if g := f.gate("c0", "ramp"); g.State != plan.Closed || !strings.Contains(g.Evidence, "of 100 may have started") {
				t.Errorf("%+v", g)
			}
			time.Sleep(time.Minute)
			f.wantLive(1000)
			counts, names := f.k.perSecond(0)
			for s, n := range counts {
				if n > 1<<s+1 || rate > 0 && n > 2*rate+1 {
					t.Errorf("rate %d: %d starts in second %d: %v", rate, n, s, counts)
				}
			}
			if want := map[int]int{0: 11, 50: 30}[rate]; len(counts) > want {
				t.Errorf("rate %d: it took %d s: %v", rate, len(counts), counts)
			}
			if len(names) != 10 {
				t.Errorf("rate %d: only %v had a share in the first five seconds", rate, names)
			}
			if g := f.gate("c0", "ramp"); g.State != plan.Open {
				t.Errorf("%+v", g)
			}
		})
	}
}

// TestNoRampAtStart: what answers when the daemon begins has not come back.
func TestNoRampAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		f.r.Apply(onBroker(f, &broker{}, tenByHundred()...))
		time.Sleep(time.Second)
		f.wantLive(1000)
	})
}

// TestFlappingConnection: a broker that comes and goes every three seconds: few starts, and what runs stays.
func TestFlappingConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		b := &broker{}
		cfg := onBroker(f, b, tenByHundred()...)
		f.r.Apply(cfg)
		time.Sleep(10 * time.Second)
		b.down.Store(true)
		time.Sleep(2 * time.Second)
		f.k.set(func() {
			for slot, c := range f.k.live { // the outage has killed all but a hundred
				if !strings.HasPrefix(slot, "c9") {
					go f.k.exit(slot, c, 1, "")
				}
			}
		})
		time.Sleep(time.Minute)
		f.wantLive(100)
		kept := f.k.pids()[key("c9", 0)]
		for i := range 20 {
			_, before := f.k.count()
			b.down.Store(i%2 == 1)
			time.Sleep(3 * time.Second)
			if _, n := f.k.count(); n-before > 8 {
				t.Errorf("flap %d: %d starts in three seconds", i, n-before)
			}
		}
		if f.k.pids()[key("c9", 0)] != kept {
			t.Error("what ran was touched")
		}
		b.down.Store(false)
		time.Sleep(3 * time.Minute)
		f.wantLive(1000)
	})
}

// TestRepairedByReload: a connection whose address was wrong comes back with the file that has it right.
func TestRepairedByReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		wrong := &broker{}
		wrong.down.Store(true)
		f.r.Apply(onBroker(f, wrong, tenByHundred()...))
		time.Sleep(time.Minute)
		f.r.Apply(onBroker(f, &broker{}, tenByHundred()...))
		time.Sleep(2500 * time.Millisecond)
		if n, _ := f.k.count(); n < 2 || n > 8 {
			t.Errorf("%d starts within 2.5 s", n)
		}
		time.Sleep(20 * time.Second)
		f.wantLive(1000)
	})
}

// TestStartWaitsForTheRamp: `start` returns when it is true.
func TestStartWaitsForTheRamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.end()
		b := &broker{}
		b.down.Store(true)
		f.r.Apply(onBroker(f, b, conf("a", 50)))
		time.Sleep(time.Minute)
		b.down.Store(false)
		time.Sleep(1500 * time.Millisecond)
		f.do("start", "a")
		f.wantLive(50)
	})
}
