package runner

import (
	"maps"
	"slices"
	"strings"
	"time"

	"qsuper/lease"
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
	Missing    []LockHost // that were there within the last day and are not: Stopped or Silent
}

// LockSlot is a shared slot that a host has.
type LockSlot struct {
	Slot, Host string
	Here       bool
	Token      uint64
	Since      time.Time // zero: not known
	Until      time.Time
}

// LockHost is a host that is there, or was.
type LockHost struct {
	owner     string
	Host      string
	Here      bool
	State     Presence
	Release   string    // of its binary; "" = it does not say
	Started   time.Time // its engine
	Since     time.Time // it has been there without a break; zero: not known
	Heard     time.Time // its last sign; zero: not known
	Until     time.Time
	Consumers []LockConsumer // by name; what it said last
}

// Presence says whether a host is there.
type Presence string

// The presences.
const (
	Here    Presence = "here"
	Silent  Presence = "silent"  // it should have given a sign: cut off, frozen or dead
	Stopped Presence = "stopped" // its daemon was stopped
)

// LockConsumer is how a consumer stands on a host.
type LockConsumer struct {
	Name, State string
	Slots       int
	Wanted      int
	Running     int
	Able        bool
	Healthy     bool
	Code        string
	Reason      string // as it was when one of the others changed
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
	v, c, boot, me := f.loop.View(), f.census.Load(), f.r.boot(), f.loop.Owner()
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
		if owner == me { // which needs no store to know of itself
			s.Hosts = append(s.Hosts, f.itself(now, m.since, wall(m.expires)))
			continue
		}
		h := lockHost(owner, &m.host)
		h.State, h.Since, h.Until = Here, m.since, wall(m.expires)
		h.Heard = wall(min(m.expires-s.TTL, boot))
		// By the time of the look: what has come since then nobody has seen.
		if v.At-(m.expires-s.TTL) > s.TTL/2 {
			h.State = Silent
		}
		if m.expires <= boot {
			h.State = Silent
			s.Missing = append(s.Missing, h)
			continue
		}
		s.Hosts = append(s.Hosts, h)
	}
	gone := f.missing()
	for _, owner := range slices.Sorted(maps.Keys(gone)) {
		a := gone[owner]
		h := lockHost(owner, &a.Said)
		h.State, h.Heard = Silent, a.Heard
		if a.Stopped {
			h.State = Stopped
		}
		s.Missing = append(s.Missing, h)
	}
	return s
}

// itself is this host as it is now, whatever the store knows of that.
func (f *lockStore) itself(now, since, until time.Time) LockHost {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := lockHost(f.loop.Owner(), &f.self)
	h.Here, h.State, h.Since, h.Heard, h.Until = true, Here, since, now, until
	return h
}

func lockHost(owner string, said *host) LockHost {
	h := LockHost{owner: owner, Host: lease.Host(owner), Release: said.Release, Started: said.At}
	for _, name := range slices.Sorted(maps.Keys(said.Consumers)) {
		p := said.Consumers[name]
		h.Consumers = append(h.Consumers, LockConsumer{
			Name: name, State: p.State, Slots: p.Here, Wanted: p.Wanted, Running: p.Running, Able: p.Able,
			Healthy: p.Healthy, Code: p.Code, Reason: p.Reason,
		})
	}
	return h
}
