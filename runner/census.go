package runner

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"qsuper/lease"
	"qsuper/plan"
)

// census is what the store held when it was last looked at.
type census struct {
	hosts map[string]member // by owner
	slots map[string]holder // by key

	left map[string]time.Time // hosts that have said that they leave, by owner, and when they did last
}

type member struct {
	host
	since   time.Time     // it has been there without a break
	expires time.Duration // CLOCK_BOOTTIME
}

type holder struct {
	owner   string
	token   uint64
	since   time.Time
	expires time.Duration
}

// Listed implements lease.Listener.
func (f *lockStore) Listed(changed bool) {
	v, before := f.loop.View(), f.census.Load()
	c := count(&v, before, changed)
	f.census.Store(c)
	if !changed {
		return
	}
	f.note(&v)
	if v.Known {
		if !f.looked {
			before = nil
		}
		f.miss(before, c)
		f.obey(v.Records)
	}
	for _, c := range f.r.ordered() {
		if c.shared.Load().Lock == f.name {
			c.box.put(leased{})
		}
	}
}

// note logs when the store ceases to answer, and when it is back: that is why slots
// stand where they are meanwhile, and what a takeover that was late is seen by.
func (f *lockStore) note(v *lease.View) {
	switch silent := v.Err != nil; {
	case silent == f.silent:
		return
	case silent:
		f.r.log.Warn("lock store does not answer", "lock", f.name, "error", v.Err)
	default:
		f.r.log.Info("lock store answers again", "lock", f.name, "seconds", time.Since(v.Since).Round(time.Millisecond).Seconds())
	}
	f.silent = !f.silent
}

// count makes a census of what the store holds. What has not changed is taken from
// the one before, so that a look at a fleet that stands still costs little.
func count(v *lease.View, before *census, changed bool) *census {
	c := &census{hosts: map[string]member{}, slots: map[string]holder{}, left: map[string]time.Time{}}
	for i := range v.Records {
		r := &v.Records[i]
		switch {
		case strings.HasPrefix(r.Key, lease.SlotPrefix):
			c.slots[r.Key] = holder{r.Owner, r.Token, r.Since, v.Expires(r)}
		case strings.HasPrefix(r.Key, lease.LeftPrefix):
			if r.Since.After(c.left[r.Owner]) {
				c.left[r.Owner] = r.Since
			}
		case strings.HasPrefix(r.Key, lease.HostPrefix):
			m := member{since: r.Since, expires: v.Expires(r)}
			if old, known := before.hosts[r.Owner]; known && !changed {
				m.host = old.host
			} else if json.Unmarshal(r.Value, &m.host) != nil { // what a later release says is not understood
				continue
			}
			c.hosts[r.Owner] = m
		}
	}
	return c
}

// holder is the other host that has a slot, as far as is known; "" = nobody.
func (f *lockStore) holder(key string) string {
	h := f.census.Load().slots[key]
	if h.owner == f.loop.Owner() || h.expires <= f.r.boot() {
		return ""
	}
	return h.owner
}

// observe sums up the other hosts for one consumer. Here is left to the caller.
func (f *lockStore) observe(consumer string, now time.Time) *plan.Fleet {
	v, c, boot := f.loop.View(), f.census.Load(), f.r.boot()
	o := &plan.Fleet{Lock: f.name, Patience: f.conf.Timing.TTL, Hosts: 1, Least: 1 << 30}
	o.Known = v.Known && (v.Err == nil || now.Sub(v.Since) < f.conf.Timing.Interval())
	if v.Err != nil {
		o.Err = v.Err.Error()
	}
	next := time.Duration(0)
	until := func(expires time.Duration) {
		if next == 0 || expires < next {
			next = expires
		}
	}
	count := map[string]int{}
	prefix := lease.SlotPrefix + consumer + "/"
	for key, h := range c.slots {
		if strings.HasPrefix(key, prefix) && h.owner != f.loop.Owner() && h.expires > boot {
			count[h.owner]++
			o.Elsewhere++
			until(h.expires)
		}
	}
	mine := weight(consumer, f.loop.Owner())
	for owner, h := range c.hosts {
		if owner == f.loop.Owner() || h.expires <= boot || !h.Consumers[consumer].Able {
			continue
		}
		o.Hosts++
		o.Least = min(o.Least, count[owner])
		o.Short += h.Consumers[consumer].Short
		if w := weight(consumer, owner); w < mine || w == mine && owner < f.loop.Owner() {
			o.Rank++
		}
		until(h.expires)
	}
	o.Others = holders(count)
	if next > 0 {
		o.Next = now.Add(next - boot + 5*time.Millisecond)
	}
	return o
}

// holders lists hosts with the number of their slots: "web2 (3), web3 (1)".
func holders(count map[string]int) string {
	var list []string
	for _, owner := range slices.Sorted(maps.Keys(count)) {
		list = append(list, fmt.Sprintf("%s (%d)", lease.Host(owner), count[owner]))
	}
	return strings.Join(list, ", ")
}

// weight puts hosts into another order for each consumer, so that those with a
// single instance are spread as well.
func weight(consumer, owner string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(consumer + "\x00" + owner))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}
