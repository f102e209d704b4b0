// Package locktest is what every lock backend must do. A backend's own test
// calls Run.
package locktest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"qsuper/lock"
)

// Run checks a backend. open returns one more independent user of the same
// locks, as another daemon would be.
func Run(t *testing.T, open func(t *testing.T) lock.Locker) {
	t.Run("exclusive", func(t *testing.T) { exclusive(t, open(t), open(t)) })
	t.Run("same locker", func(t *testing.T) { l := open(t); exclusive(t, l, l) })
	t.Run("independent names", func(t *testing.T) { independent(t, open(t)) })
	t.Run("many contenders", func(t *testing.T) { contenders(t, open) })
	t.Run("release twice", func(t *testing.T) { twice(t, open(t), open(t)) })
	t.Run("holder", func(t *testing.T) { holder(t, open(t), open(t)) })
}

func acquire(t *testing.T, l lock.Locker, name string) lock.Held {
	t.Helper()
	h, err := l.Acquire(context.Background(), name)
	if err != nil {
		t.Fatalf("acquire %s: %v", name, err)
	}
	return h
}

func refused(t *testing.T, l lock.Locker, name string) {
	t.Helper()
	h, err := l.Acquire(context.Background(), name)
	var held *lock.HeldError
	if !errors.As(err, &held) {
		t.Fatalf("acquire %s while it is held: %v, not a HeldError", name, err)
	}
	if h != nil {
		t.Errorf("acquire %s: a lock came with the error", name)
	}
}

func release(t *testing.T, h lock.Held) {
	t.Helper()
	if err := h.Release(); err != nil {
		t.Fatal(err)
	}
}

func exclusive(t *testing.T, a, b lock.Locker) {
	for range 3 {
		h := acquire(t, a, "orders/0")
		refused(t, b, "orders/0")
		refused(t, a, "orders/0")
		release(t, h)
		h = acquire(t, b, "orders/0")
		refused(t, a, "orders/0")
		release(t, h)
	}
}

func independent(t *testing.T, l lock.Locker) {
	for _, name := range []string{"orders/0", "orders/1", "orders/10", "orders.1/0", "mail/0"} {
		defer release(t, acquire(t, l, name))
	}
}

func contenders(t *testing.T, open func(t *testing.T) lock.Locker) {
	const n = 50
	lockers := make([]lock.Locker, n)
	for i := range lockers {
		lockers[i] = open(t)
	}
	for round := range 10 {
		name := fmt.Sprintf("race/%d", round)
		held := make([]lock.Held, n)
		var all sync.WaitGroup
		begin := make(chan struct{})
		for i, l := range lockers {
			all.Go(func() {
				<-begin
				h, err := l.Acquire(context.Background(), name)
				var taken *lock.HeldError
				if err == nil {
					held[i] = h
				} else if !errors.As(err, &taken) {
					t.Error(err)
				}
			})
		}
		close(begin)
		all.Wait()
		winners := 0
		for _, h := range held {
			if h != nil {
				winners++
				release(t, h)
			}
		}
		if winners != 1 {
			t.Errorf("%d of %d hold %s", winners, n, name)
		}
	}
}

// twice: releasing again must not take the lock from who has it by then.
func twice(t *testing.T, a, b lock.Locker) {
	h := acquire(t, a, "orders/0")
	release(t, h)
	other := acquire(t, b, "orders/0")
	_ = h.Release() // an error is allowed
	refused(t, a, "orders/0")
	release(t, other)
}

func holder(t *testing.T, a, b lock.Locker) {
	ask := func() string {
		t.Helper()
		by, err := b.Holder(context.Background(), "orders/0")
		if err != nil {
			t.Fatal(err)
		}
		return by
	}
	if by := ask(); by != "" {
		t.Errorf("a lock that was never taken is held by %s", by)
	}
	h := acquire(t, a, "orders/0")
	if ask() == "" {
		t.Error("a lock that is held is said to be free")
	}
	release(t, h)
	if by := ask(); by != "" {
		t.Errorf("a lock that was released is held by %s", by)
	}
	release(t, acquire(t, a, "orders/0")) // asking has not taken it
}
