package runner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"qsuper/config"
	"qsuper/health"
	"qsuper/plan"
	"qsuper/slot"
)

// foreignLocks knows who has the applications' own locks, as of the last look.
type foreignLocks struct {
	r   *Runner
	mu  sync.Mutex
	all map[string]*foreignLock // by its words
}

type foreignLock struct {
	conf  config.ForeignLock
	heirs map[*consumer]bool
	owner *config.Consumer // of the first heir: as who its command is run

	state health.State // "" = nobody has looked yet
	text  string       // who has it, or why nobody knows
	began time.Time    // of that look
}

func newForeignLocks(r *Runner) *foreignLocks { return &foreignLocks{r: r} }

// lockKey is the same for locks that one look can tell of.
func lockKey(l *config.ForeignLock) string { return fmt.Sprintf("%+v", *l) }

// prepare takes the locks of a configuration. What is known of those that were there
// before stays known.
func (f *foreignLocks) prepare(cfg *config.Config, consumers map[string]*consumer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.all
	f.all = map[string]*foreignLock{}
	for _, c := range cfg.Consumers {
		for n := range c.Instances.Max {
			conf := c.Foreign(n)
			if conf == nil {
				break
			}
			key := lockKey(conf)
			l := f.all[key]
			if l == nil {
				l = &foreignLock{conf: *conf, owner: c, heirs: map[*consumer]bool{}}
				if o := old[key]; o != nil {
					l.state, l.text, l.began = o.state, o.text, o.began
				}
				f.all[key] = l
			}
			l.heirs[consumers[c.Name]] = true
		}
	}
}

// questions are those that all locks ask of one connection.
func (f *foreignLocks) questions(conn string) []asking {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []asking
	for _, key := range slices.Sorted(maps.Keys(f.all)) {
		if l := f.all[key]; l.conf.Connection == conn {
			list = append(list, asking{l.conf.Question, f.taker(key)})
		}
	}
	return list
}

// views are the locks of this host: files, all at one look, and commands.
func (f *foreignLocks) views(_ *config.Config, launch *launcher) []*view {
	f.mu.Lock()
	defer f.mu.Unlock()
	var views []*view
	for _, key := range slices.Sorted(maps.Keys(f.all)) {
		l, v := f.all[key], &view{take: f.taker(key)}
		switch {
		case l.conf.File != "":
			v.look = func(context.Context) health.Answer { return fileHolder(l.conf.File) }
		case len(l.conf.Command) > 0:
			v.command(launch, l.owner, l.conf.Command)
		default:
			continue
		}
		views = append(views, v)
	}
	return views
}

// taker takes the answers about one lock, and tells those who may decide differently
// because of it.
func (f *foreignLocks) taker(key string) taker {
	return func(a health.Answer, began, _ time.Time) {
		f.mu.Lock()
		l := f.all[key]
		if l == nil {
			f.mu.Unlock()
			return
		}
		changed := l.state != a.State
		l.state, l.text, l.began = a.State, a.Text, began
		if a.State == health.Unknown {
			l.text = a.Err
		}
		heirs := slices.Collect(maps.Keys(l.heirs))
		f.mu.Unlock()
		for _, c := range heirs {
			if changed || c.looking.Load() {
				c.box.put(observed{})
			}
		}
	}
}

// ownLock is the application's lock of a slot as it is filled in for it.
type ownLock struct {
	of   *config.Consumer // by whose words
	conf *config.ForeignLock
	key  string
	name string
}

// foreignLock is what is known of the application's own lock of a slot. Before its
// process ended that may have had it: what was seen then says nothing.
func (c *consumer) foreignLock(u *unit) plan.Foreign {
	if c.cfg.ForeignLock == nil || u.state.Phase.Alive() {
		return plan.Foreign{}
	}
	if u.lock.of != c.cfg {
		conf := c.cfg.Foreign(u.n)
		u.lock = ownLock{c.cfg, conf, lockKey(conf), conf.String()}
	}
	if c.holdsItself(u) {
		return plan.Foreign{}
	}
	l, looked := c.r.foreign.of(u.lock.key)
	switch {
	case !looked:
		return plan.Foreign{Code: slot.ForeignUnsure, Text: u.lock.name + " is not looked at: it is of a slot beyond those in the file"}
	case l.state == "" || !u.ended.IsZero() && !l.began.After(u.ended):
		c.demandLock(u)
		return plan.Foreign{Code: slot.ForeignLock, Text: u.lock.name + " has not been looked at yet", Fresh: true}
	case l.state == health.Unknown:
		return plan.Foreign{Code: slot.ForeignUnsure, Text: u.lock.name + " unknown: " + l.text}
	case l.state == health.OK:
		return plan.Foreign{Code: slot.ForeignLock, Text: u.lock.name + " is held by " + l.text}
	}
	return plan.Foreign{}
}

// of is what is known of a lock; false: nobody looks at it.
func (f *foreignLocks) of(key string) (foreignLock, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.all[key]
	if l == nil {
		return foreignLock{}, false
	}
	return *l, true
}

// holdsItself says whether all slots have one lock, and another one of them runs: then
// that may be who holds it.
func (c *consumer) holdsItself(u *unit) bool {
	return c.oneLock && slices.ContainsFunc(c.units, func(o *unit) bool { return o != u && o.state.Phase.Alive() })
}

// demandLock has a lock looked at now, once for each end of a process.
func (c *consumer) demandLock(u *unit) {
	c.looking.Store(true)
	if u.demanded.Equal(u.ended) {
		return
	}
	u.demanded = u.ended
	if u.lock.conf.Connection == "" {
		c.r.lookout.soon()
		return
	}
	c.r.board.demand(c.r.ctx, u.lock.conf.Connection, func(*look) {})
}

// hasOneLock says whether the application's lock is the same for all slots.
func hasOneLock(c *config.Consumer) bool {
	return c.ForeignLock != nil && lockKey(c.Foreign(0)) == lockKey(c.Foreign(1))
}
