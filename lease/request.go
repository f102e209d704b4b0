package lease

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// afterFailure is how long a store that did not answer is left alone, apart from
// renewals.
const afterFailure = time.Second

// failed notes whether the store answers.
func (l *Loop) failed(err error) bool {
	l.mu.Lock()
	changed := (err == nil) != (l.view.Err == nil)
	if err != nil && l.view.Err == nil {
		l.view.Since = time.Now()
	}
	l.view.Err = err
	if changed && err == nil && l.had() && l.over(l.o.Now()) {
		l.shy()
	}
	if err != nil {
		l.asideAt = l.o.Now() + afterFailure
	} else {
		l.asideAt = 0
	}
	l.mu.Unlock()
	if changed {
		l.o.On.Listed(true)
	}
	return err != nil
}

// shy has this host ask for nothing but what it has had, until the others have come
// to ask for theirs. The store has forgotten who has what, or everything has run out
// while it did not answer: whoever came first would have all, and another would
// run in it as well. It is called with mu held.
func (l *Loop) shy() { l.shyTill = l.o.Now() + l.o.Interval() + time.Second }

// had says whether this host had anything when it last heard of the store. It is
// called with mu held.
func (l *Loop) had() bool {
	for _, e := range l.entries {
		if e.Held {
			return true
		}
	}
	return false
}

// Shy is until when (CLOCK_BOOTTIME) this host leaves to the others what they may
// have had; a moment that is over: it does not.
func (l *Loop) Shy() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shyTill
}

// askFor is when a lease that is wanted may be asked for. It is called with mu held.
func (l *Loop) askFor(e *entry) time.Duration {
	if e.had || !strings.HasPrefix(e.key, SlotPrefix) {
		return e.retryAt
	}
	return max(e.retryAt, l.shyTill)
}

// forgotten says whether the store knows nothing of this host, which it should. It
// is called with mu held.
func (l *Loop) forgotten(records []Record, now time.Duration) bool {
	e := l.entries[HostPrefix+l.o.Owner]
	return e != nil && e.Held && e.Until > now && !slices.ContainsFunc(records, func(r Record) bool { return r.Key == e.key })
}

func (l *Loop) take(ctx context.Context) {
	l.mu.Lock()
	now := l.o.Now()
	var asks []Ask
	for _, e := range l.entries {
		if e.wanted && !e.Held && l.askFor(e) <= now {
			asks = append(asks, Ask{Key: e.key, Value: e.value})
		}
	}
	l.mu.Unlock()
	slices.SortFunc(asks, func(a, b Ask) int { return compare(a.Key, b.Key) })
	sent := l.o.Now()
	answers, err := l.o.Store.Take(ctx, l.o.Owner, l.o.TTL, asks)
	if l.failed(err) {
		return
	}
	l.taken(sent, asks, answers)
}

// taken takes the answers to what was asked for at sent.
func (l *Loop) taken(sent time.Duration, asks []Ask, answers []Answer) {
	l.mu.Lock()
	now := l.o.Now()
	until := sent + l.o.Sure()
	var changed []string
	for i, a := range answers {
		e := l.entries[asks[i].Key]
		switch {
		case e == nil || !e.wanted:
			if a.Granted { // nobody wants it any more
				l.leaving = append(l.leaving, Held{Key: asks[i].Key, Token: a.Token})
			}
			continue
		case !a.Granted:
			e.State, e.had = State{By: a.By}, false
			e.retryAt = now + min(a.Left, eagerly) + rand.N(20*time.Millisecond)
		default:
			e.State = State{Held: true, Token: a.Token, Until: until}
			if e.exclusive {
				e.From = now + l.o.HoldOff(a.Clean)
			}
			if l.renewAt == never {
				l.renewAt = sent + l.o.Interval()
			}
			l.renewAt = min(l.renewAt, sent+l.o.Interval())
		}
		changed = append(changed, e.key)
	}
	l.mu.Unlock()
	l.o.On.Changed(changed)
}

// release gives back what nobody wants any more. If that fails its time runs out.
func (l *Loop) release(ctx context.Context) {
	l.mu.Lock()
	held := l.leaving
	l.leaving = nil
	l.mu.Unlock()
	l.failed(l.o.Store.Release(ctx, l.o.Owner, held))
}

func (l *Loop) list(ctx context.Context) {
	sent := l.o.Now()
	records, err := l.o.Store.List(ctx)
	if l.failed(err) {
		return
	}
	slices.SortFunc(records, func(a, b Record) int { return compare(a.Key, b.Key) })
	l.mu.Lock()
	pause := l.o.Interval()
	if l.eager {
		pause = min(pause, eagerly)
	}
	l.listAt = sent + pause - rand.N(pause/10+1)
	if l.forgotten(records, sent) {
		l.shy()
		l.renewAt = 0
	}
	changed := !l.view.Known || !sameRecords(l.view.Records, records)
	l.view.Records, l.view.At, l.view.Known = records, sent, true
	l.mu.Unlock()
	l.o.On.Listed(changed)
}

// sameRecords compares all but the time that is left.
func sameRecords(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(x, y Record) bool {
		return x.Key == y.Key && x.Owner == y.Owner && x.Token == y.Token && bytes.Equal(x.Value, y.Value)
	})
}

// call is a claim that somebody waits for.
type call struct {
	owner  string
	claim  Claim
	answer chan claimed // of one
}

type claimed struct {
	by  string
	err error
}

// ErrEnded means that the loop has ended: nobody asks the store any more.
var ErrEnded = errors.New("the engine is leaving")

// Fire is one firing of a cron job over all hosts.
type Fire struct {
	Job string
	At  time.Time // the nominal instant, not when somebody came to it

	// Mark tells this claim from others that the same host makes for the same
	// instant, for instance after its clock was set back. It is kept until there is
	// an answer: who asks again with another mark is somebody else.
	Mark string

	// Keep is how long the claim is remembered at least. It must be longer than
	// some host can come too late.
	Keep time.Duration
}

// Claim says whether this is the one to run a fire: for each pair of job and
// instant one Mark of one host is told true, however often and from wherever it is
// asked, and all others by: the owner id of the host that has it.
//
// An error means that nobody knows: the fire may be claimed by this call or by
// another host. Ask again until there is an answer, ctx ends, or the fire is too
// old; what was never answered must not be run.
func (l *Loop) Claim(ctx context.Context, f Fire) (mine bool, by string, err error) {
	key := JobPrefix + f.Job + "/" + strconv.FormatInt(f.At.Unix(), 10)
	if n := f.At.Nanosecond(); n != 0 {
		key += "." + strings.TrimRight(fmt.Sprintf("%09d", n), "0")
	}
	owner := l.o.Owner + "/" + f.Mark
	who, err := l.claim(ctx, owner, Claim{Key: key, Keep: f.Keep})
	if err != nil {
		return false, "", err
	}
	return who == owner, who[:max(0, strings.LastIndexByte(who, '/'))], nil
}

// Post makes a command to all hosts, which see it when they next look.
func (l *Loop) Post(ctx context.Context, id string, value []byte, keep time.Duration) error {
	_, err := l.claim(ctx, l.o.Owner, Claim{Key: OrderPrefix + id, Value: value, Keep: keep})
	return err
}

func (l *Loop) claim(ctx context.Context, owner string, c Claim) (by string, err error) {
	w := &call{owner: owner, claim: c, answer: make(chan claimed, 1)}
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return "", fmt.Errorf("claim %s: %w", c.Key, ErrEnded)
	}
	l.calls = append(l.calls, w)
	l.stir()
	l.mu.Unlock()
	select {
	case a := <-w.answer:
		if a.err != nil {
			return "", a.err
		}
		return a.by, nil
	case <-ctx.Done():
		l.withdraw(w)
		return "", fmt.Errorf("claim %s on %s: %w", c.Key, l.o.Name, ctx.Err())
	}
}

// withdraw takes a claim back that nobody waits for any more: it must not be made
// when the store answers again.
func (l *Loop) withdraw(w *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = slices.DeleteFunc(l.calls, func(c *call) bool { return c == w })
}

// serve makes the claim that has waited longest. A store that does not answer is
// answered for to all who wait: they may want to do something else.
func (l *Loop) serve(ctx context.Context) {
	l.mu.Lock()
	w := l.calls[0]
	l.calls = l.calls[1:]
	l.mu.Unlock()
	by, err := l.o.Store.Claim(ctx, w.owner, w.claim)
	w.answer <- claimed{by, err}
	if l.failed(err) {
		l.refuse(err)
	}
	if strings.HasPrefix(w.claim.Key, OrderPrefix) {
		l.mu.Lock()
		l.listAt = 0
		l.mu.Unlock()
	}
}

func (l *Loop) refuse(err error) {
	l.mu.Lock()
	calls := l.calls
	l.calls = nil
	l.mu.Unlock()
	for _, w := range calls {
		w.answer <- claimed{"", err}
	}
}

func (l *Loop) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.refuse(ErrEnded)
}

// goodbye gives back what has been left, in the time of one request.
func (l *Loop) goodbye(ctx context.Context) {
	l.mu.Lock()
	slots := 0
	for key, e := range l.entries {
		if e.Held && strings.HasPrefix(key, SlotPrefix) {
			slots++
		}
	}
	leaves := false
	if e := l.entries[HostPrefix+l.o.Owner]; slots == 0 && e != nil && e.Held {
		leaves = true
		l.leaving = append(l.leaving, Held{Key: e.key, Token: e.Token})
	}
	n := len(l.leaving)
	l.mu.Unlock()
	if n == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(l.o.Request(), 2*time.Second))
	defer cancel()
	if leaves { // else others take it for dead
		c := Claim{Key: LeftPrefix + l.o.Owner + "/" + strconv.FormatInt(time.Now().UnixMilli(), 36), Value: []byte(`"left"`), Keep: 2 * l.o.TTL}
		_, _ = l.o.Store.Claim(ctx, l.o.Owner, c)
	}
	l.release(ctx)
}
