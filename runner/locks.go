package runner

import (
	"maps"
	"slices"
	"strings"
	"time"

	"qsuper/lease"
	"qsuper/proc"
)

// LockState is what is known of one lock store.
type LockState struct {
	Name, Type string
	Known      bool  // it has been looked at
	Err        error // of the latest request; nil: it answers
	Host       string
	TTL        time.Duration
	Slots      []LockSlot
	Hosts      []LockHost
}

// LockSlot is a shared slot that a host has.
type LockSlot struct {
	Slot, Host string
	Here       bool
	Token      uint64
	Since      time.Time // zero: not known
	Until      time.Time
}

// LockHost is a host that is there.
type LockHost struct {
	Host      string
	Here      bool
	Started   time.Time
	Until     time.Time
	Consumers []LockConsumer // by name
}

// LockConsumer is how a consumer stands on a host.
type LockConsumer struct {
	Name, State string
	Slots       int
	Running     int
	Able        bool
}

// Locks shows every lock store, by name. What it tells of other hosts is as old as
// the latest look, a third of the ttl at most.
func (r *Runner) Locks() []LockState {
	var list []LockState
	for _, f := range r.fleets.all() {
		list = append(list, f.state(time.Now()))
	}
	return list
}

func (f *lockStore) state(now time.Time) LockState {
	v, c, boot, me := f.loop.View(), f.census.Load(), proc.Boottime(), f.loop.Owner()
	s := LockState{Name: f.name, Type: f.conf.Type, Known: v.Known, Err: v.Err, Host: lease.Host(me), TTL: f.conf.Timing.TTL}
	wall := func(t time.Duration) time.Time { return now.Add(t - boot) }
	for _, key := range slices.Sorted(maps.Keys(c.slots)) {
		h := c.slots[key]
		if own := f.loop.Get(key); own.Held && h.owner == me {
			h.expires = max(h.expires, own.Until)
		}
		if h.expires > boot {
			s.Slots = append(s.Slots, LockSlot{
				Slot: strings.TrimPrefix(key, lease.SlotPrefix), Host: lease.Host(h.owner), Here: h.owner == me,
				Token: h.token, Since: h.since, Until: wall(h.expires),
			})
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(c.hosts)) {
		m := c.hosts[owner]
		if own := f.loop.Get(lease.HostPrefix + owner); own.Held {
			m.expires = max(m.expires, own.Until)
		}
		if m.expires <= boot {
			continue
		}
		h := LockHost{Host: lease.Host(owner), Here: owner == me, Started: m.At, Until: wall(m.expires)}
		for _, name := range slices.Sorted(maps.Keys(m.Consumers)) {
			p := m.Consumers[name]
			h.Consumers = append(h.Consumers, LockConsumer{name, p.State, p.Here, p.Running, p.Able})
		}
		s.Hosts = append(s.Hosts, h)
	}
	return s
}
