package runner

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/health"
)

// clerk is a connection to a broker that tells of clients, a second late.
type clerk struct{ *clerkState }

type clerkState struct {
	mu    sync.Mutex
	asked int
	held  func(asked int) (int64, error)
}

const clerkLag = time.Second

func init() {
	health.Register(health.Kind{Type: "clerk", Holder: true}, struct{}{}, func(struct{}) (health.Conn, error) { return nil, errSomething })
}

func (c clerk) Open() (health.Conn, error) { return c, nil }
func (c clerk) Ping(context.Context) error { return nil }
func (c clerk) Close() error               { return nil }
func (c clerk) Lag() time.Duration         { return clerkLag }
func (c clerk) Secrets() []string          { return []string{"hush"} }
func (c clerk) Held(context.Context, []netip.AddrPort) (int64, error) {
	c.mu.Lock()
	c.asked++
	n := c.asked
	c.mu.Unlock()
	return c.held(n)
}

func (c clerk) Measure(_ context.Context, queues []health.Queue) ([]health.Reading, error) {
	return []health.Reading{{State: health.OK, Ready: 5, InFlight: health.NotKnown, Delayed: health.NotKnown, Oldest: health.NotKnown, Consumers: health.NotKnown}}, nil
}

// told is a fleet of two on such a broker.
func told(t *testing.T, held func(asked int) (int64, error)) *fleet {
	f := newFleet(t)
	c := conf("a", 2)
	c.Queue = &config.Queue{Connection: "broker", Queue: health.Queue{Name: "a"}}
	c.Stop.WaitFor = config.WaitIdle
	cfg := f.config(c)
	cfg.Connections = []*config.Connection{{Name: "broker", Type: "clerk", Timeout: time.Second, Spec: clerk{&clerkState{held: held}}}}
	f.cfg = cfg
	f.r.Apply(cfg)
	time.Sleep(5 * time.Second)
	f.wantLive(2)
	return f
}

func (f *fleet) frozen() (list []string) {
	f.k.set(func() {
		for slot, c := range f.k.live {
			if c.frozen {
				list = append(list, slot)
			}
		}
	})
	return list
}

// TestOnlyWhatStopsStandsStill: for as long as the broker's word is old, and no other.
// Who holds nothing then ends as it stands.
func TestOnlyWhatStopsStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := told(t, func(asked int) (int64, error) {
			return map[int]int64{1: 1, 3: 1}[asked], nil // busy at the first look, and once it stands still at the second
		})
		defer f.end()
		began := time.Now()
		var stood time.Duration
		done := make(chan Reply)
		go func() { done <- f.do("stop", "a/0") }()
		for over := false; !over; {
			select {
			case r := <-done:
				over = true
				if r.Killed != 0 || len(r.Outcomes) != 1 || r.Outcomes[0].Exit.Step != "idle" {
					t.Errorf("%+v", r)
				}
			case <-time.After(10 * time.Millisecond):
				if list := f.frozen(); len(list) > 0 {
					stood += 10 * time.Millisecond
					if len(list) != 1 || list[0] != "a/0" {
						t.Errorf("%v stand still", list)
					}
				}
			}
		}
		if took := time.Since(began); f.k.signals != 0 || stood < 2*clerkLag-50*time.Millisecond || took < scoutPause+2*clerkLag+clerkLag/2 {
			t.Errorf("%d signals; stood still for %v of %v", f.k.signals, stood, took)
		}
		f.wantLive(1)
	})
}

// TestNobodyIsFrozenForNothing: where the broker cannot tell, nobody stands still.
// (The grace, which the keeper counts, ends it.)
func TestNobodyIsFrozenForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := told(t, func(int) (int64, error) { return 0, errors.New("no word of hush") })
		defer f.end()
		go f.do("stop", "a")
		for range 290 {
			time.Sleep(100 * time.Millisecond)
			if list := f.frozen(); len(list) > 0 {
				t.Fatalf("%v stand still", list)
			}
		}
		f.wantLive(2)
		if f.k.signals != 0 {
			t.Errorf("%d signals", f.k.signals)
		}
	})
}

// TestABrokerThatHangs: a question without an answer lets nobody stand still for ever.
func TestABrokerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		f := told(t, func(asked int) (int64, error) {
			if asked == 2 {
				<-block
			}
			return 0, nil
		})
		defer f.end()
		go f.do("stop", "a/1")
		time.Sleep(clerkLag + 500*time.Millisecond)
		if list := f.frozen(); len(list) != 1 {
			t.Fatalf("%v stand still", list)
		}
		time.Sleep(glanceLimit + askLimit - 400*time.Millisecond)
		if list := f.frozen(); len(list) > 0 {
			t.Errorf("%v stand still", list)
		}
		close(block)
		time.Sleep(5 * time.Second)
		f.wantLive(1)
	})
}

func TestSecretsOfABrokerAreHidden(t *testing.T) {
	if text := redacted(clerk{}, errors.New("no word of hush")); strings.Contains(text, "hush") {
		t.Error(text)
	}
}
