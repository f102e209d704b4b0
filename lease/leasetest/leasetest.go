// Package leasetest is what every lock store must do. A backend's own test calls Run.
package leasetest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"qsuper/lease"
)

// Subject is a type of store under test.
type Subject struct {
	// Open returns one more independent user of the same server, as another host
	// would be. Users of one namespace share everything, others nothing.
	Open func(t *testing.T, namespace string, ttl time.Duration) lease.Store
	TTL  time.Duration // the shortest the server grants

	// Restart kills the server and starts it again; Loses says that it then knows
	// nothing any more. nil: some other test does that.
	Restart func(t *testing.T)
	Loses   bool
}

// user is one host in a test.
type user struct {
	t     *testing.T
	store lease.Store
	owner string
	ttl   time.Duration
}

// Run checks a type.
func Run(t *testing.T, s Subject) {
	n := 0
	for _, c := range []struct {
		name string
		f    func(t *testing.T, a, b *user)
	}{
		{"one holder", oneHolder}, {"release", release}, {"tokens grow", tokens}, {"renewal", renewal},
		{"expiry", expiry}, {"lost answer", lostAnswer}, {"many at once", many}, {"list", list}, {"values", values},
		{"claims", claims}, {"late requests", late}, {"deadline", deadline}, {"names", names},
	} {
		n++
		ns := fmt.Sprintf("%s-%d", strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")), n)
		t.Run(c.name, func(t *testing.T) {
			c.f(t, s.user(t, ns, "web1"), s.user(t, ns, "web2"))
		})
	}
	t.Run("namespaces", func(t *testing.T) { namespaces(t, s) })
	t.Run("contenders", func(t *testing.T) { contenders(t, s) })
	t.Run("successor", func(t *testing.T) { successor(t, s) })
	if s.Restart != nil {
		t.Run("restart", func(t *testing.T) { restart(t, s) })
	}
}

func (s Subject) user(t *testing.T, ns, host string) *user {
	t.Helper()
	store := s.Open(t, ns, s.TTL)
	t.Cleanup(func() { _ = store.Close() })
	return &user{t, store, host + "/boot/" + strings.ReplaceAll(ns, "/", "-"), s.TTL}
}

// limit is for a request to a server that answers.
const limit = 30 * time.Second

func (u *user) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	u.t.Cleanup(cancel)
	return ctx
}

func (u *user) take(keys ...string) []lease.Answer {
	u.t.Helper()
	asks := make([]lease.Ask, len(keys))
	for i, k := range keys {
		asks[i].Key = k
	}
	answers, err := u.store.Take(u.ctx(), u.owner, u.ttl, asks)
	if err != nil {
		u.t.Fatalf("%s takes %v: %v", u.owner, keys, err)
	}
	if len(answers) != len(keys) {
		u.t.Fatalf("%d answers to %d asks", len(answers), len(keys))
	}
	return answers
}

// gets takes one lease that must be granted.
func (u *user) gets(key string) lease.Held {
	u.t.Helper()
	a := u.take(key)[0]
	if !a.Granted || a.Token == 0 {
		u.t.Fatalf("%s does not get %s: %+v", u.owner, key, a)
	}
	return lease.Held{Key: key, Token: a.Token}
}

// refused asks for a lease that by must have.
func (u *user) refused(key string, by *user) {
	u.t.Helper()
	a := u.take(key)[0]
	if a.Granted || a.By != by.owner || a.Left > by.ttl+time.Second {
		u.t.Fatalf("%s asks for %s, which %s has: %+v", u.owner, key, by.owner, a)
	}
}

func (u *user) renews(want bool, held ...lease.Held) {
	u.t.Helper()
	ok, err := u.store.Renew(u.ctx(), u.owner, u.ttl, held)
	if err != nil {
		u.t.Fatalf("%s renews: %v", u.owner, err)
	}
	for i, h := range held {
		if ok[i] != want {
			u.t.Fatalf("%s renews %s with token %d: %v", u.owner, h.Key, h.Token, ok[i])
		}
	}
}

func (u *user) releases(held ...lease.Held) {
	u.t.Helper()
	if err := u.store.Release(u.ctx(), u.owner, held); err != nil {
		u.t.Fatalf("%s releases: %v", u.owner, err)
	}
}

// outlives waits for the end of a lease of by that nobody renews, and takes it.
func (u *user) outlives(key string, by *user) lease.Held {
	u.t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if a := u.take(key)[0]; a.Granted {
			return lease.Held{Key: key, Token: a.Token}
		}
		if time.Since(began) > 10*u.ttl+limit {
			u.t.Fatalf("%s still has %s", by.owner, key)
		}
		<-tick.C
	}
}

func oneHolder(t *testing.T, a, b *user) {
	a.gets("slot/orders/0")
	b.refused("slot/orders/0", a)
	b.gets("slot/orders/1")
	a.refused("slot/orders/1", b)
}

func release(t *testing.T, a, b *user) {
	for range 3 {
		h := a.gets("slot/orders/0")
		b.refused("slot/orders/0", a)
		a.releases(h)
		got := b.take("slot/orders/0")[0]
		if !got.Granted || !got.Clean {
			t.Fatalf("after a release: %+v", got)
		}
		h.Token = got.Token
		a.releases(h) // it is not a's
		a.refused("slot/orders/0", b)
		b.releases(h)
	}
}

func tokens(t *testing.T, a, b *user) {
	var last uint64
	for i := range 6 {
		u := []*user{a, b}[i%2]
		h := u.gets("slot/orders/0")
		if h.Token <= last {
			t.Fatalf("token %d follows %d", h.Token, last)
		}
		last = h.Token
		u.releases(h)
	}
}

func renewal(t *testing.T, a, b *user) {
	began := time.Now()
	h, other := a.gets("slot/orders/0"), a.gets("slot/orders/1")
	tick := time.NewTicker(a.ttl / 10)
	defer tick.Stop()
	for time.Since(began) < 2*a.ttl {
		<-tick.C
		a.renews(true, h, other)
		b.refused("slot/orders/0", a)
	}
	wrong := h
	wrong.Token++
	a.renews(false, wrong)
	b.renews(false, h)
	b.renews(false, lease.Held{Key: "slot/never/0", Token: 1})
	ok, err := a.store.Renew(a.ctx(), a.owner, a.ttl, []lease.Held{wrong, other})
	if err != nil || ok[0] || !ok[1] {
		t.Errorf("one that is held and one that is not: %v, %v", ok, err)
	}
}

func expiry(t *testing.T, a, b *user) {
	sent := time.Now()
	h := a.gets("slot/orders/0")
	again := b.outlives("slot/orders/0", a)
	if lasted := time.Since(sent); lasted < time.Duration(float64(a.ttl)*(1-lease.Drift)) {
		t.Errorf("a lease of %s was gone after %s", a.ttl, lasted)
	}
	if again.Token <= h.Token {
		t.Errorf("token %d follows %d", again.Token, h.Token)
	}
	a.renews(false, h)
	a.releases(h)
	a.refused("slot/orders/0", b)
	b.renews(true, again)
	b.store.Close()
	got := a.outlives("slot/orders/0", b)
	if got.Token <= again.Token {
		t.Errorf("token %d follows %d", got.Token, again.Token)
	}
}

// lostAnswer: who asks again for what it has got without knowing it gets it.
func lostAnswer(t *testing.T, a, b *user) {
	first := a.gets("slot/orders/0")
	second := a.gets("slot/orders/0")
	if second.Token < first.Token {
		t.Errorf("token %d follows %d", second.Token, first.Token)
	}
	b.refused("slot/orders/0", a)
	a.renews(true, second)
	a.releases(second)
	b.gets("slot/orders/0")
}

// many is what one host with many slots does: each call once.
func many(t *testing.T, a, b *user) {
	var keys []string
	for i := range 100 {
		keys = append(keys, fmt.Sprintf("slot/orders/%d", i))
	}
	b.gets(keys[7])
	answers := a.take(keys...)
	var held []lease.Held
	for i, x := range answers {
		if x.Granted == (i == 7) {
			t.Fatalf("%s: %+v", keys[i], x)
		}
		if x.Granted {
			held = append(held, lease.Held{Key: keys[i], Token: x.Token})
		}
	}
	a.renews(true, held...)
	a.releases(held...)
	for i, x := range b.take(keys...) {
		if !x.Granted {
			t.Fatalf("%s: %+v", keys[i], x)
		}
	}
}

func (u *user) lists() map[string]lease.Record {
	u.t.Helper()
	records, err := u.store.List(u.ctx())
	if err != nil {
		u.t.Fatal(err)
	}
	m := map[string]lease.Record{}
	for _, r := range records {
		m[r.Key] = r
	}
	if len(m) != len(records) {
		u.t.Fatalf("a key is listed twice: %+v", records)
	}
	return m
}

func list(t *testing.T, a, b *user) {
	if got := a.lists(); len(got) != 0 {
		t.Fatalf("nothing was taken: %+v", got)
	}
	h := a.gets("slot/orders/0")
	b.gets("slot/orders/1")
	if by, err := b.store.Claim(b.ctx(), b.owner, lease.Claim{Key: "job/reindex/1700000000", Keep: time.Minute}); by != b.owner || err != nil {
		t.Fatal(by, err)
	}
	got := a.lists()
	r := got["slot/orders/0"]
	if len(got) != 2 || r.Owner != a.owner || r.Token != h.Token || r.Left <= 0 || r.Left > a.ttl+time.Second || got["slot/orders/1"].Owner != b.owner {
		t.Fatalf("%+v", got)
	}
	if age := time.Since(r.Since); r.Since.IsZero() || age < -time.Minute || age > time.Minute {
		t.Errorf("since %s", r.Since)
	}
	a.releases(h)
	if got := b.lists(); len(got) != 1 {
		t.Errorf("after a release: %+v", got)
	}
}

func values(t *testing.T, a, b *user) {
	key := lease.HostPrefix + a.owner
	first := bytes.Repeat([]byte(`{"slots": "ä\n"}`), 1000)
	answers, err := a.store.Take(a.ctx(), a.owner, a.ttl, []lease.Ask{{Key: key, Value: first}, {Key: "slot/orders/0"}})
	if err != nil || !answers[0].Granted {
		t.Fatal(answers, err)
	}
	if got := b.lists()[key]; !bytes.Equal(got.Value, first) {
		t.Fatalf("%d bytes instead of %d", len(got.Value), len(first))
	}
	host, slot := lease.Held{Key: key, Token: answers[0].Token}, lease.Held{Key: "slot/orders/0", Token: answers[1].Token}
	a.renews(true, host, slot)
	if got := b.lists()[key]; !bytes.Equal(got.Value, first) {
		t.Fatal("a renewal without a value has changed it")
	}
	host.Value = []byte("second")
	a.renews(true, host, slot)
	got := b.lists()
	if string(got[key].Value) != "second" || len(got["slot/orders/0"].Value) != 0 {
		t.Fatalf("%+v", got)
	}
}

func claims(t *testing.T, a, b *user) {
	c := lease.Claim{Key: "job/reindex/1700000000", Keep: time.Hour}
	try := func(u *user, c lease.Claim, want *user) {
		t.Helper()
		if by, err := u.store.Claim(u.ctx(), u.owner, c); err != nil || by != want.owner {
			t.Fatalf("%s claims %s: %q has it, %v", u.owner, c.Key, by, err)
		}
	}
	try(a, c, a)
	try(b, c, a)
	try(a, c, a) // its answer may have been lost
	next := lease.Claim{Key: "job/reindex/1700000060", Keep: time.Hour}
	try(b, next, b)
	try(a, next, b)
	short := lease.Claim{Key: "order/1", Value: []byte("pause"), Keep: a.ttl}
	try(a, short, a)
	if r := b.lists()["order/1"]; string(r.Value) != "pause" || r.Owner != a.owner {
		t.Errorf("%+v", r)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); len(b.lists()) > 0; <-tick.C {
		if time.Since(began) > 10*a.ttl+limit {
			t.Fatal("a claim is not forgotten")
		}
	}
	try(b, c, a)
	forgotten(a, b)
}

// forgotten: a fire's claim does not stay for ever.
func forgotten(a, b *user) {
	c := lease.Claim{Key: "job/short/1700000000", Keep: a.ttl}
	claim := func(u *user) string {
		by, err := u.store.Claim(u.ctx(), u.owner, c)
		if err != nil {
			u.t.Fatal(err)
		}
		return by
	}
	if by := claim(a); by != a.owner {
		a.t.Fatalf("%q has it", by)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); claim(b) != b.owner; <-tick.C {
		if time.Since(began) > 10*a.ttl+limit {
			a.t.Fatal("a claim is not forgotten")
		}
	}
}

// late: what was sent long ago and comes now changes nothing.
func late(t *testing.T, a, b *user) {
	h := a.gets("slot/orders/0")
	a.releases(h)
	other := b.gets("slot/orders/0")
	a.renews(false, h)
	a.releases(h)
	b.renews(true, other)
	b.releases(other)
	mine := a.gets("slot/orders/0")
	a.releases(h)
	a.renews(false, h)
	a.renews(true, mine)
}

func deadline(t *testing.T, a, b *user) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	began := time.Now()
	if _, err := a.store.Take(ctx, a.owner, a.ttl, []lease.Ask{{Key: "slot/orders/0"}}); err == nil {
		t.Error("taken though nobody waits")
	}
	if _, err := a.store.List(ctx); err == nil {
		t.Error("listed though nobody waits")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	a.gets("slot/orders/0") // it goes on
	if err := a.store.Close(); err != nil {
		t.Error(err)
	}
	if _, err := a.store.List(a.ctx()); err == nil {
		t.Error("a closed store answers")
	}
}

func names(t *testing.T, a, b *user) {
	long := "slot/" + strings.Repeat("x", 128) + "/9999"
	keys := []string{"slot/a/0", "slot/A/0", "slot/a.b-c_d/0", "slot/a/00", "slot/a/1", "slot/a/10", long, "slot/job/0"}
	for i, x := range a.take(keys...) {
		if !x.Granted {
			t.Errorf("%s: %+v", keys[i], x)
		}
	}
	if got := b.lists(); len(got) != len(keys) {
		t.Errorf("%d of %d are listed: %+v", len(got), len(keys), got)
	}
}
