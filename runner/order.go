package runner

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"qsuper/lease"
)

// order is a command to every host that shares a store.
type order struct {
	Verb  string   `json:"verb"`
	Names []string `json:"names,omitempty"`
	By    string   `json:"by"`
}

// orderKeep is how long an order is there for hosts that are cut off at the moment.
const orderKeep = 10 * time.Minute

// HostReply says what became of an order on one host.
type HostReply struct {
	Host, Lock string
	Done       bool
	Err        string // why not
}

// errand is an order that this host has seen; it may come by more than one store.
type errand struct {
	over chan struct{}
	err  string // when over: why it was not carried out; "" = it was
}

// obey carries out the orders that this engine has not seen yet. Those that were
// there before it are not its own: who gave them has long had an answer, or none.
// A host that was away finds several at once: the latest is to have the last word.
func (f *lockStore) obey(records []lease.Record) {
	there := map[string]bool{}
	var due []func()
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b lease.Record) int { return a.Since.Compare(b.Since) })
	for _, r := range records {
		id, ok := strings.CutPrefix(r.Key, lease.OrderPrefix)
		if !ok || strings.HasPrefix(r.Key, lease.LeftPrefix) {
			continue
		}
		there[id] = true
		if f.seen[id] {
			continue
		}
		f.seen[id] = true
		var o order
		if !f.looked || json.Unmarshal(r.Value, &o) != nil {
			continue
		}
		by := o.By + " on " + lease.Host(r.Owner)
		due = append(due, func() { f.answer(id, f.r.fleets.carryOut(f.r, id, o, by)) })
	}
	f.looked = true
	if len(due) > 0 {
		f.r.loops.Go(func() {
			f.obeying.Lock()
			defer f.obeying.Unlock()
			for _, do := range due {
				do()
			}
		})
	}
	maps.DeleteFunc(f.seen, func(id string, _ bool) bool { return !there[id] })
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.self.Orders, func(id, _ string) bool { return !there[id] })
}

// carryOut does what an order says, once, and returns why it did not.
func (s *lockStores) carryOut(r *Runner, id string, o order, by string) string {
	s.mu.Lock()
	e, known := s.errands[id]
	if !known {
		e = &errand{over: make(chan struct{})}
		s.errands[id] = e
	}
	s.mu.Unlock()
	if known {
		<-e.over
		return e.err
	}
	if _, err := r.Do(r.ctx, Command{Verb: o.Verb, Names: o.Names, By: by}); err != nil {
		e.err = err.Error()
	}
	r.log.Info("carried out for the fleet", "verb", o.Verb, "names", o.Names, "by", by, "error", e.err)
	close(e.over)
	time.AfterFunc(2*orderKeep, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.errands, id)
	})
	return e.err
}

// answer tells the other hosts what became of an order here.
func (f *lockStore) answer(id, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.self.Orders[id] = why
	f.say(true)
}

// DoFleet has a command carried out on every host that shares a lock store with
// this one, and returns what each has answered by the time they all have, or ctx
// ends. Hosts look for orders every third of the ttl.
func (r *Runner) DoFleet(ctx context.Context, cmd Command) ([]HostReply, error) {
	stores := r.fleets.all()
	if len(stores) == 0 {
		return nil, &UsageError{Problem: "no hosts share anything with this one: there are no `locks` in the file", Advice: "leave out --fleet"}
	}
	if _, err := r.resolve(cmd.Names); err != nil {
		return nil, err
	}
	id := strings.ToLower(rand.Text()[:16])
	value, err := json.Marshal(order{cmd.Verb, cmd.Names, cmd.By})
	if err != nil {
		return nil, err
	}
	var replies []HostReply
	for _, f := range stores {
		replies = append(replies, f.send(ctx, id, value)...)
	}
	return replies, nil
}

// send posts an order on one store and waits for the answers.
func (f *lockStore) send(ctx context.Context, id string, value []byte) []HostReply {
	owners := map[string]bool{f.loop.Owner(): true} // whom to wait for
	state := f.state(time.Now())
	heard := map[string]time.Time{}
	for _, h := range state.Hosts {
		owners[h.owner] = true
	}
	for _, h := range state.Missing {
		if h.State == Silent {
			owners[h.owner], heard[h.owner] = false, h.Heard
		}
	}
	post, cancel := context.WithTimeout(ctx, 2*f.conf.Timing.Request()+2*time.Second)
	err := f.loop.Post(post, id, value, orderKeep)
	cancel()
	if cause := f.loop.View().Err; cause != nil && errors.Is(err, context.DeadlineExceeded) {
		err = cause // what the server did is more than that nobody came to ask it
	}
	f.want(orderMark, true)
	defer f.want(orderMark, false)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); err == nil && ctx.Err() == nil && time.Since(began) < 2*f.conf.Timing.Interval()+5*time.Second; {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(owners)), func(o string) bool { _, ok := f.answered(o, id); return owners[o] && !ok }) {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	var replies []HostReply
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		r := HostReply{Host: lease.Host(owner), Lock: f.name}
		why, ok := f.answered(owner, id)
		switch {
		case err != nil:
			r.Err = fmt.Sprintf("not asked: %s does not answer: %v", f.name, err)
		case !ok:
			r.Err = fmt.Sprintf("%s; it is carried out if the host comes back within %s", silence(heard[owner], owners[owner]), orderKeep)
		case why != "":
			r.Err = why
		default:
			r.Done = true
		}
		replies = append(replies, r)
	}
	return replies
}

// silence says what is known of a host that has not answered.
func silence(heard time.Time, expected bool) string {
	switch {
	case expected:
		return "no answer yet"
	case heard.IsZero():
		return "not there since this daemon began"
	}
	return "silent for " + time.Since(heard).Round(time.Second).String()
}

// orderMark stands among the consumers that wait for other hosts; no consumer has
// this name.
const orderMark = "/order"

// answered is what a host says of an order.
func (f *lockStore) answered(owner, id string) (why string, ok bool) {
	if owner == f.loop.Owner() {
		f.mu.Lock()
		defer f.mu.Unlock()
		why, ok = f.self.Orders[id]
		return why, ok
	}
	why, ok = f.census.Load().hosts[owner].Orders[id]
	return why, ok
}
