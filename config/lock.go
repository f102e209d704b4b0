package config

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"qsuper/internal/kind"
	"qsuper/lease"
)

// LockFile is the value of `lock` for slots that are this host's own.
const LockFile = "file"

// longestTTL is far more than anybody wants to wait for a host that has died.
const longestTTL = time.Hour

// Shared says whether several hosts share the slots.
func (c *Consumer) Shared() bool { return c.Lock != LockFile && c.Lock != "" }

// Fence is the grace of a stop for want of the lease.
func (c *Consumer) Fence() time.Duration {
	if c.Stop.Fence != nil {
		return min(*c.Stop.Fence, c.Stop.Grace)
	}
	return c.Stop.Grace
}

// Open opens the store; daemon is the daemon's name, which keeps apart those that
// share a server. It does not dial.
func (k *Lock) Open(daemon string) (lease.Store, error) {
	place := lease.Place{Namespace: daemon, TTL: k.Timing.TTL}
	if k.Connection != nil {
		place.Connection = k.Connection.Spec
	}
	return k.Spec.Open(place)
}

// LockOf returns the store of a consumer; nil: its slots are not shared.
func (c *Config) LockOf(name string) *Lock {
	for _, l := range c.Locks {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// addLocks reads one `locks` section; nil when it was not written.
func (l *loader) addLocks(section *kind.Node) {
	if section == nil {
		return
	}
	for _, e := range section.Entries {
		name, path := e.Key.Value, kind.Join("locks", e.Key.Value)
		switch before := l.cfg.LockOf(name); {
		case !validName().MatchString(name):
			l.name(e.Key, "", path, name)
		case name == LockFile:
			l.add(e.Key, path, "file is the name of the lock that each host has for itself; choose another")
		case before != nil:
			l.add(e.Key, path, "lock is defined twice, first in %s:%d", before.At.File, before.At.Line)
		default:
			k := &Lock{Name: name, At: position(e.Key)}
			l.cfg.Locks = append(l.cfg.Locks, k)
			l.lock(k, e.Value, path)
		}
	}
}

func (l *loader) lock(k *Lock, n *kind.Node, path string) {
	types := lockTypes()
	if n.Shape != kind.Map {
		l.add(n, path, "expected a map with a type, got %s", n.Got())
		return
	}
	typ := n.Get("type")
	if typ == nil || typ.Value.Shape != kind.Scalar || typ.Value.Null {
		l.add(n, path, "type is missing").Hint = "one of " + types
		return
	}
	if typ.Value.Bad {
		return
	}
	spec, err := lease.Decode(typ.Value.Value, n, path)
	var problems kind.Problems
	switch {
	case errors.As(err, &problems):
		l.decoder.Problems = append(l.decoder.Problems, problems...)
		return
	case err != nil:
		l.add(n, path, "%v", err)
		return
	}
	common := spec.Common()
	k.Type, k.Spec, k.HoldOff, k.Timing.TTL = typ.Value.Value, spec, common.HoldOff, common.TTL
	if name := spec.Connection(); name != "" {
		l.lockConnection(k, place(n, "connection"), path+".connection", name)
	}
	var fit *lease.FitError
	switch err := k.Timing.Fits(0); {
	case k.Timing.TTL > longestTTL:
		l.add(place(n, "ttl"), path+".ttl", "must be at most %s: it is how long nobody takes over for a host that has died", longestTTL)
	case errors.As(err, &fit):
		l.add(place(n, "ttl"), path+".ttl", "is too short to be safe: %v", err).Hint = "write ttl: " + short(fit.TTL) + " or more"
	}
}

// lockConnection finds the connection of a store, which must be of its type.
func (l *loader) lockConnection(k *Lock, at *kind.Node, path, name string) {
	if !l.knownConnection(at, path, name) {
		return
	}
	c := l.connections[name]
	if c.Spec == nil {
		return // the connection's own problem
	}
	if c.Type != k.Type {
		l.add(at, path, "connection %s is of type %s, not %s", show(at, name), c.Type, k.Type)
		return
	}
	k.Connection = c
}

func lockTypes() string {
	var names []string
	for _, k := range lease.Kinds() {
		names = append(names, k.Type)
	}
	return strings.Join(names, ", ")
}

// shared checks `lock` and `exclusive`.
func (c *check) shared() {
	at := place(c.node, "lock")
	if c.bad("lock") {
		return
	}
	if !c.Shared() {
		if e := c.node.Get("exclusive"); e != nil && c.Exclusive && !c.inherited(e) {
			c.l.warnings.Add(e.Value, c.path+".exclusive", "has no effect with lock: file, by which a slot never runs twice on one host").Hint = "name an entry of `locks` to have that over all hosts"
		}
		return
	}
	lock := c.l.cfg.LockOf(c.Lock)
	if lock == nil {
		p := c.l.add(at, c.path+".lock", "lock %s is not defined", show(at, c.Lock))
		if at == nil || !at.Filled {
			known := map[string]bool{LockFile: true}
			for _, l := range c.l.cfg.Locks {
				known[l.Name] = true
			}
			if p.Hint = kind.DidYouMean(c.Lock, slices.Sorted(maps.Keys(known))); p.Hint == "" {
				p.Hint = "define it in `locks`, or write lock: file"
			}
		}
		return
	}
	if lock.Spec != nil && c.Exclusive && lock.Timing.Fits(0) == nil {
		c.fits(lock)
	}
}

// jobLock checks `lock` of a job. `exclusive` among `defaults` is meant for consumers.
func (c *check) jobLock(j *Job) {
	if e := c.node.Get("exclusive"); e != nil && c.Exclusive && !c.inherited(e) {
		c.l.add(e.Value, c.path+".exclusive", "is for consumers: a fire runs on one host anyway, and goes on to its end if that is cut off").Hint =
			"leave it out; a program that must never run twice at a time can check QSUPER_FENCE_TOKEN"
	}
	c.Exclusive = false
	c.shared()
	if c.Shared() && j.Overlap == OverlapReplace && !c.bad("overlap") {
		c.l.add(place(c.node, "overlap"), c.path+".overlap", "replace cannot be kept with a shared lock: no host can stop what another one runs").Hint = "write overlap: skip or queue, or lock: file"
	}
}

// fits refuses a grace for which a lease is too short.
func (c *check) fits(lock *Lock) {
	var fit *lease.FitError
	if !errors.As(lock.Timing.Fits(c.Fence()), &fit) {
		return
	}
	key := "grace"
	if c.Stop.Fence != nil {
		key = "fence_grace"
	}
	at := place(c.node, "stop", key)
	if at == c.node { // nobody wrote it
		at = place(c.node, "exclusive")
	}
	c.l.add(at, c.path+".stop."+key, "exclusive cannot be kept with ttl %s of lock %s: %v", short(lock.Timing.TTL), lock.Name, fit).Hint =
		"write ttl: " + short(fit.TTL) + " or more, or accept a shorter grace when the lock is lost: stop: {fence_grace: " + short(fit.Fence) + "}"
}

// short writes a duration without zero units: 1m instead of 1m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
