package leasetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"qsuper/lease"
)

// Fake is a lock server in memory, with the faults of real ones: requests that are
// late or lost, answers that are, a clock that is set, a failover that forgets. It
// counts time as the caller's clock does, which in a synctest bubble is not real.
type Fake struct {
	mu      sync.Mutex
	rows    map[string]fakeRow
	epoch   uint64
	start   time.Time
	step    time.Duration // by how much the clock has been set
	history []map[string]fakeRow
	at      []time.Time // of each in history
}

type fakeRow struct {
	lease.Record
	expires time.Duration
	clean   bool
}

// Fault is what happens to one request.
type Fault struct {
	Late      time.Duration // before it reaches the server
	Lost      bool          // it never does
	Back      time.Duration // before the answer is there
	Swallowed bool          // no answer comes
}

// NewFake returns an empty server.
func NewFake() *Fake { return &Fake{rows: map[string]fakeRow{}, start: time.Now()} }

// now is the server's clock. It is called with mu held.
func (f *Fake) now() time.Duration { return time.Since(f.start) + f.step }

// Set sets the server's clock.
func (f *Fake) Set(by time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.step += by
}

// Failover goes back to what was there a while ago. Tokens go on from the server's
// time, as with a real one.
func (f *Fake) Failover(ago time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	then := time.Now().Add(-ago)
	i := max(0, slices.IndexFunc(f.at, func(t time.Time) bool { return t.After(then) }))
	if i < len(f.history) {
		f.rows = maps.Clone(f.history[i])
	}
}

// Forget loses everything, as a server without a disk does that is started again.
func (f *Fake) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.rows)
}

// remember keeps what a failover may go back to. It is called with mu held.
func (f *Fake) remember() {
	f.history, f.at = append(f.history, maps.Clone(f.rows)), append(f.at, time.Now())
	if n := len(f.at); n > 200 {
		f.history, f.at = f.history[n-100:], f.at[n-100:]
	}
}

// User returns one host's connection. fault is asked before each request; nil: none.
func (f *Fake) User(fault func() Fault) lease.Store { return &fakeUser{f: f, fault: fault} }

type fakeUser struct {
	f      *Fake
	fault  func() Fault
	mu     sync.Mutex
	closed bool
}

var errFake = errors.New("the fake server does not answer")

// do makes one request. What is late may come to the server long after the caller
// has given up.
func (u *fakeUser) do(ctx context.Context, request func()) error {
	u.mu.Lock()
	closed := u.closed
	u.mu.Unlock()
	if closed || ctx.Err() != nil {
		return errors.Join(errFake, ctx.Err())
	}
	var fault Fault
	if u.fault != nil {
		fault = u.fault()
	}
	done := make(chan struct{})
	go func() {
		time.Sleep(fault.Late)
		if fault.Lost {
			return
		}
		u.f.mu.Lock()
		request()
		u.f.remember()
		u.f.mu.Unlock()
		if fault.Swallowed {
			return
		}
		time.Sleep(fault.Back)
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.Join(errFake, ctx.Err())
	}
}

func (u *fakeUser) Take(ctx context.Context, owner string, ttl time.Duration, asks []lease.Ask) ([]lease.Answer, error) {
	answers := make([]lease.Answer, len(asks))
	err := u.do(ctx, func() {
		now := u.f.now()
		for i, ask := range asks {
			row, there := u.f.rows[ask.Key]
			if there && row.Owner != owner && row.expires > now {
				answers[i] = lease.Answer{By: row.Owner, Left: row.expires - now}
				continue
			}
			u.f.epoch = max(u.f.epoch+1, row.Token+1, uint64(now.Microseconds())+1)
			answers[i] = lease.Answer{Granted: true, Token: u.f.epoch, Clean: row.clean || !there}
			u.f.rows[ask.Key] = fakeRow{
				Record:  lease.Record{Key: ask.Key, Owner: owner, Token: u.f.epoch, Value: ask.Value, Since: time.Now()},
				expires: now + ttl,
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

func (u *fakeUser) Renew(ctx context.Context, owner string, ttl time.Duration, held []lease.Held) ([]bool, error) {
	ok := make([]bool, len(held))
	err := u.do(ctx, func() {
		for i, h := range held {
			row, there := u.f.rows[h.Key]
			if ok[i] = there && row.Owner == owner && row.Token == h.Token; !ok[i] {
				continue
			}
			row.expires = u.f.now() + ttl
			if h.Value != nil {
				row.Value = h.Value
			}
			u.f.rows[h.Key] = row
		}
	})
	if err != nil {
		return nil, err
	}
	return ok, nil
}

func (u *fakeUser) Release(ctx context.Context, owner string, held []lease.Held) error {
	return u.do(ctx, func() {
		for _, h := range held {
			if row, there := u.f.rows[h.Key]; there && row.Owner == owner && row.Token == h.Token {
				row.Owner, row.expires, row.clean = "", 0, true
				u.f.rows[h.Key] = row
			}
		}
	})
}

func (u *fakeUser) List(ctx context.Context) ([]lease.Record, error) {
	var list []lease.Record
	err := u.do(ctx, func() {
		now := u.f.now()
		for key, row := range u.f.rows {
			if row.expires > now && !strings.HasPrefix(key, lease.JobPrefix) {
				row.Left = row.expires - now
				list = append(list, row.Record)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (u *fakeUser) Claim(ctx context.Context, owner string, c lease.Claim) (string, error) {
	answers, err := u.Take(ctx, owner, c.Keep, []lease.Ask{{Key: c.Key, Value: c.Value}})
	switch {
	case err != nil:
		return "", err
	case answers[0].Granted:
		return owner, nil
	}
	return answers[0].By, nil
}

func (u *fakeUser) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	return nil
}
