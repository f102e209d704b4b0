package lease_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/lease"
	"qsuper/lease/leasetest"
)

// deaf listens to nothing.
type deaf struct{}

func (deaf) Changed([]string)                     {}
func (deaf) Listed(bool)                          {}
func (deaf) Extended(time.Duration, []lease.Held) {}

// loop runs a host against a fake server until the test ends.
func loop(t *testing.T, fake *leasetest.Fake, owner string, fault func() leasetest.Fault) (l *lease.Loop, end func()) {
	start := time.Now()
	timing := lease.Timing{TTL: 30 * time.Second}
	l = lease.New(lease.Options{
		Name: "fleet", Store: fake.User(fault), Owner: owner, Timing: timing, On: deaf{},
		HoldOff: lease.HoldOff(lease.Kind{}, timing, nil),
		Now:     func() time.Duration { return time.Since(start) },
	})
	ctx, stop := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = l.Run(ctx) })
	return l, func() { stop(); run.Wait() }
}

func TestOneHostGetsAFire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := leasetest.NewFake()
		fire := lease.Fire{Job: "reindex", At: time.Unix(1_700_000_000, 0), Keep: time.Hour}
		mine := 0
		for _, owner := range []string{"a/b/1", "b/b/2", "c/b/3"} {
			l, end := loop(t, fake, owner, nil)
			defer end()
			for range 2 { // whose answer was lost asks again
				ok, _, err := l.Claim(t.Context(), fire)
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					mine++
				}
			}
			if ok, _, err := l.Claim(t.Context(), lease.Fire{Job: "reindex." + owner, At: fire.At, Keep: time.Hour}); !ok || err != nil {
				t.Errorf("another job: %v, %v", ok, err)
			}
		}
		if mine != 2 {
			t.Errorf("%d times instead of twice to one host", mine)
		}
	})
}

func TestClaimDoesNotWaitForADeadServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, end := loop(t, leasetest.NewFake(), "a/b/1", func() leasetest.Fault { return leasetest.Fault{Lost: true} })
		began := time.Now()
		if _, _, err := l.Claim(t.Context(), lease.Fire{Job: "reindex", At: began}); err == nil {
			t.Error("claimed")
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		if l.View().Err == nil {
			t.Error("nobody is told that the store does not answer")
		}
		end()
		if _, _, err := l.Claim(t.Context(), lease.Fire{Job: "reindex", At: began}); !errors.Is(err, lease.ErrEnded) {
			t.Error(err)
		}
	})
}

// What nobody waits for any more is not claimed when the server is back.
func TestAClaimThatWasGivenUpIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := leasetest.NewFake()
		began := time.Now()
		l, end := loop(t, fake, "a/b/1", func() leasetest.Fault { return leasetest.Fault{Lost: time.Since(began) < time.Minute} })
		defer end()
		time.Sleep(10 * time.Second) // it has found out that the server does not answer
		for time.Since(began) < time.Minute-200*time.Millisecond {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			if err := l.Post(ctx, "late", []byte("{}"), time.Hour); err == nil {
				t.Error("posted")
			}
			cancel()
		}
		time.Sleep(2 * time.Minute)
		if v := l.View(); v.Err != nil || len(v.Records) > 0 {
			t.Errorf("%+v", v)
		}
	})
}

// A host comes back when its lease is long over, to a server that has forgotten
// whom it has given the slot since: it is given the slot again, with a token that is
// larger than the other's, and nothing may start at once.
func TestARenewalAfterTheEndIsANewGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := leasetest.NewFake()
		began := time.Now()
		var cut atomic.Bool
		a, endA := loop(t, fake, "a/b/1", func() leasetest.Fault { return leasetest.Fault{Lost: cut.Load()} })
		defer endA()
		b, endB := loop(t, fake, "b/b/2", nil)
		defer endB()
		a.Want("slot/x/0", true)
		time.Sleep(10 * time.Second)
		cut.Store(true)
		time.Sleep(35 * time.Second)
		b.Want("slot/x/0", true)
		time.Sleep(3 * time.Second)
		other := b.Get("slot/x/0")
		if !other.Held {
			t.Fatal("b has not taken over")
		}
		fake.Failover(20 * time.Second)
		cut.Store(false)
		var s lease.State
		for s = a.Get("slot/x/0"); !s.Held || s.Until < time.Since(began); s = a.Get("slot/x/0") {
			if time.Since(began) > time.Minute {
				t.Fatal("a is not renewed")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if wait := s.From - time.Since(began); wait < lease.KillTime-time.Second {
			t.Errorf("a may start after %s, and b may run", wait)
		}
		if s.Token <= other.Token {
			t.Errorf("token %d follows %d", s.Token, other.Token)
		}
	})
}

// The server hears a host and is not heard: it keeps the slot for it no longer than
// two leases, and what the host is given nobody would know of.
func TestAHostThatIsDeafLosesItsSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := leasetest.NewFake()
		var deaf atomic.Bool
		a, endA := loop(t, fake, "a/b/1", func() leasetest.Fault { return leasetest.Fault{Swallowed: deaf.Load()} })
		defer endA()
		b, endB := loop(t, fake, "b/b/2", nil)
		defer endB()
		a.Want("slot/x/0", true)
		time.Sleep(time.Minute)
		deaf.Store(true)
		struck := time.Now()
		a.Want("slot/x/1", true)
		b.Want("slot/x/0", true)
		b.Want("slot/x/1", true)
		for !b.Get("slot/x/0").Held || !b.Get("slot/x/1").Held {
			if time.Since(struck) > 3*time.Minute {
				t.Fatalf("b has %+v and %+v", b.Get("slot/x/0"), b.Get("slot/x/1"))
			}
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(struck); took > 2*30*time.Second+time.Second {
			t.Errorf("taken over after %s", took)
		}
		deaf.Store(false)
		time.Sleep(time.Minute)
		if a.Get("slot/x/0").Held || a.View().Err != nil {
			t.Errorf("%+v, %v", a.Get("slot/x/0"), a.View().Err)
		}
		b.Leave("slot/x/0")
		time.Sleep(5 * time.Second)
		if !a.Get("slot/x/0").Held {
			t.Error("a has not taken what was given back")
		}
	})
}

// A host that comes to a server first, which has forgotten everything or is back
// after more than a lease, leaves to the others what they had.
func TestWhoComesFirstDoesNotTakeAll(t *testing.T) {
	for name, harm := range map[string]func(fake *leasetest.Fake, cut *atomic.Bool){
		"forgotten": func(fake *leasetest.Fake, _ *atomic.Bool) { fake.Forget() },
		"outage": func(_ *leasetest.Fake, cut *atomic.Bool) {
			cut.Store(true)
			time.Sleep(2 * time.Minute)
			cut.Store(false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := leasetest.NewFake()
				var cut atomic.Bool
				away := func() leasetest.Fault { return leasetest.Fault{Lost: cut.Load()} }
				a, endA := loop(t, fake, "a/b/1", away)
				defer endA()
				b, endB := loop(t, fake, "b/b/2", away)
				defer endB()
				for _, l := range []*lease.Loop{a, b} {
					l.Publish([]byte("{}"), true)
				}
				a.Want("slot/x/0", false)
				b.Want("slot/x/1", false)
				b.Eager(true)
				time.Sleep(time.Minute)
				harm(fake, &cut)
				// As soon as b hears of it, it wants everything.
				for began := time.Now(); b.Shy() == 0; time.Sleep(10 * time.Millisecond) {
					if time.Since(began) > 20*time.Second { // a renewal, and a request in vain
						t.Fatal("b has not noticed")
					}
				}
				b.Want("slot/x/0", false)
				time.Sleep(time.Minute)
				if !a.Get("slot/x/0").Held || !b.Get("slot/x/1").Held {
					t.Errorf("a has %+v, b has %+v", a.Get("slot/x/0"), b.Get("slot/x/1"))
				}
				endA() // it holds a slot, so it gives back nothing
				time.Sleep(40 * time.Second)
				if !b.Get("slot/x/0").Held {
					t.Error("b has not taken over")
				}
			})
		})
	}
}

// An idle loop asks for nothing but its own place and a look at the others.
func TestTakeoverIsPrompt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := leasetest.NewFake()
		a, endA := loop(t, fake, "a/b/1", nil)
		b, endB := loop(t, fake, "b/b/2", nil)
		defer endB()
		a.Want("slot/x/0", false)
		time.Sleep(time.Second)
		b.Want("slot/x/0", false)
		time.Sleep(time.Minute)
		if !a.Get("slot/x/0").Held || b.Get("slot/x/0").Held {
			t.Fatal("it is a's")
		}
		a.Leave("slot/x/0") // gracefully
		time.Sleep(1100 * time.Millisecond)
		if !b.Get("slot/x/0").Held {
			t.Error("not taken over within a second of its release")
		}
		b.Leave("slot/x/0")
		time.Sleep(time.Second)
		a.Want("slot/x/0", false)
		time.Sleep(time.Minute)
		b.Want("slot/x/0", false)
		time.Sleep(time.Second)
		endA() // a dies: it holds a slot, so it gives back nothing
		died := time.Now()
		for !b.Get("slot/x/0").Held {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(died); took > 31*time.Second || took < 15*time.Second {
			t.Errorf("taken over after %s", took)
		}
	})
}

// A server that is slow, and answers each request in time, is not one that does not
// answer, and its slots are taken over as promptly as others: what is asked for
// shortly before a renewal has as much time as ever.
func TestASlowServerIsNotADeadOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := leasetest.NewFake()
		slow := func() leasetest.Fault { return leasetest.Fault{Late: 2 * time.Second, Back: 2 * time.Second} }
		a, endA := loop(t, fake, "a/b/1", nil)
		b, endB := loop(t, fake, "b/b/2", slow)
		defer func() { endB(); time.Sleep(5 * time.Second) }() // what is under way has its end
		a.Want("slot/x/0", false)
		time.Sleep(time.Second)
		b.Publish([]byte("{}"), true)
		b.Want("slot/x/0", false)
		b.Eager(true)
		for began := time.Now(); time.Since(began) < 10*time.Minute; time.Sleep(10 * time.Millisecond) {
			if err := b.View().Err; err != nil {
				t.Fatalf("after %s: %v", time.Since(began), err)
			}
		}
		endA() // it holds a slot, so it gives back nothing
		died := time.Now()
		for !b.Get("slot/x/0").Held {
			time.Sleep(10 * time.Millisecond)
		}
		// A lease, and what the latest request in vain, a renewal and a look may take before the one that is granted.
		if took := time.Since(died); took > 30*time.Second+4*4*time.Second+time.Second {
			t.Errorf("taken over after %s", took)
		}
	})
}

func TestWhatCannotBeSafeIsRefused(t *testing.T) {
	for _, c := range []struct{ ttl, fence time.Duration }{{30 * time.Second, 7 * time.Second}, {10 * time.Second, time.Second}, {7 * time.Second, 0}, {64 * time.Second, 30 * time.Second}} {
		if err := (lease.Timing{TTL: c.ttl}).Fits(c.fence); err != nil {
			t.Errorf("ttl %s, grace %s: %v", c.ttl, c.fence, err)
		}
	}
	err := lease.Timing{TTL: 30 * time.Second}.Fits(30 * time.Second)
	var fit *lease.FitError
	if !errors.As(err, &fit) || fit.TTL != 64*time.Second || fit.Fence != 7*time.Second {
		t.Fatalf("%+v", err)
	}
	if want := "29.85s < 10s + 2·5s + 30s + 2s"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v does not say %s", err, want)
	}
	for grace := time.Duration(0); grace < 10*time.Minute; grace += 777 * time.Millisecond {
		errors.As(lease.Timing{TTL: time.Second}.Fits(grace), &fit)
		if err := (lease.Timing{TTL: fit.TTL}).Fits(grace); err != nil {
			t.Errorf("grace %s: the advice %s is no good: %v", grace, fit.TTL, err)
		}
		if err := (lease.Timing{TTL: fit.TTL - 1500*time.Millisecond}).Fits(grace); err == nil {
			t.Errorf("grace %s: the advice %s is too long", grace, fit.TTL)
		}
	}
}

func TestOwnerStaysForABoot(t *testing.T) {
	dir := t.TempDir()
	first, err := lease.Owner(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := lease.Owner(dir)
	if err != nil || again != first {
		t.Errorf("%s, then %s, %v", first, again, err)
	}
	other, err := lease.Owner(t.TempDir())
	if err != nil || other == first || lease.Host(other) != lease.Host(first) {
		t.Errorf("another daemon of the host: %s, %v", other, err)
	}
}
