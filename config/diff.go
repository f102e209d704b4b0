package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"qsuper/health"
	"qsuper/lease"
)

// Change is the difference between two configurations. Names are in the order
// of the new file, removed ones in that of the old.
type Change struct {
	Added, Removed, Changed []string // consumers, then jobs
	Replace                 []string // of the changed: running processes must be replaced; for the others the change is applied to them live
	Unchanged               int      // consumers and jobs
	Connections             []string // connections that were added, changed or removed
	Daemon                  []string // changed keys of `daemon` that are applied live
	Restart                 []string // changed keys of `daemon` that need a restart of the daemon
}

// Empty reports whether nothing is different.
func (c Change) Empty() bool {
	return len(c.Added)+len(c.Removed)+len(c.Changed)+len(c.Connections)+len(c.Daemon)+len(c.Restart) == 0
}

// Diff says what has to be done to get from one configuration to another. It
// looks at nothing else.
func Diff(old, new *Config) Change {
	var c Change
	c.consumers(byName(old.Consumers, consumerName), new.Consumers)
	after := byName(new.Consumers, consumerName)
	for _, o := range old.Consumers {
		if after[o.Name] == nil {
			c.Removed = append(c.Removed, o.Name)
		}
	}
	c.jobs(old.Jobs, new.Jobs)
	c.connections(old.Connections, new.Connections)
	c.daemon(&old.Daemon, &new.Daemon)
	c.locks(old.Locks, new.Locks)
	if !slices.EqualFunc(old.Alerts, new.Alerts, sameAlert) {
		c.Daemon = append(c.Daemon, "alerts")
	}
	return c
}

// sameAlert compares all but the place in the file.
func sameAlert(a, b *Alert) bool {
	x, y := *a, *b
	x.At, y.At = Position{}, Position{}
	return reflect.DeepEqual(x, y)
}

// locks says which stores the daemon goes on with as they were: leases are held
// there. One that is new is used at once.
func (c *Change) locks(before, after []*Lock) {
	new := byName(after, lockName)
	for _, o := range before {
		n := new[o.Name]
		switch {
		case n == nil: // nobody uses it any more
		case o.Type != n.Type || !lease.Same(o.Spec, n.Spec) || (o.Connection != nil) != (n.Connection != nil) ||
			o.Connection != nil && !health.Same(o.Connection.Spec, n.Connection.Spec):
			c.Restart = append(c.Restart, "locks."+o.Name)
		}
	}
}

func lockName(l *Lock) string { return l.Name }

func (c *Change) consumers(before map[string]*Consumer, after []*Consumer) {
	for _, n := range after {
		o := before[n.Name]
		switch {
		case o == nil:
			c.Added = append(c.Added, n.Name)
		case sameConsumer(o, n):
			c.Unchanged++
		default:
			c.Changed = append(c.Changed, n.Name)
			if o.Fingerprint() != n.Fingerprint() {
				c.Replace = append(c.Replace, n.Name)
			}
		}
	}
}

// jobs are never replaced while they run: the next fire takes what changed.
func (c *Change) jobs(old, new []*Job) {
	before, after := byName(old, jobName), byName(new, jobName)
	for _, n := range new {
		switch o := before[n.Name]; {
		case o == nil:
			c.Added = append(c.Added, n.Name)
		case sameJob(o, n):
			c.Unchanged++
		default:
			c.Changed = append(c.Changed, n.Name)
		}
	}
	for _, o := range old {
		if after[o.Name] == nil {
			c.Removed = append(c.Removed, o.Name)
		}
	}
}

func (c *Change) connections(before, after []*Connection) {
	old, new := byName(before, connectionName), byName(after, connectionName)
	for _, n := range after {
		o := old[n.Name]
		if o == nil || o.Type != n.Type || o.Timeout != n.Timeout || !health.Same(o.Spec, n.Spec) {
			c.Connections = append(c.Connections, n.Name)
		}
	}
	for _, o := range before {
		if new[o.Name] == nil {
			c.Connections = append(c.Connections, o.Name)
		}
	}
}

func (c *Change) daemon(old, new *Daemon) {
	for _, k := range []struct {
		key  string
		same bool
		list *[]string
	}{
		{"name", old.Name == new.Name, &c.Restart},
		{"state_dir", old.StateDir == new.StateDir, &c.Restart},
		{"log_dir", old.LogDir == new.LogDir, &c.Restart},
		{"socket", old.Socket == new.Socket, &c.Restart},
		{"http", old.HTTP.same(new.HTTP), &c.Daemon},
		{"log", old.Log == new.Log, &c.Daemon},
		{"interval", old.Interval.Equal(new.Interval), &c.Daemon},
		{"start_rate", old.StartRate == new.StartRate, &c.Daemon},
		{"budget", old.Budget == new.Budget, &c.Daemon},
	} {
		if !k.same {
			*k.list = append(*k.list, "daemon."+k.key)
		}
	}
}

func consumerName(c *Consumer) string     { return c.Name }
func jobName(j *Job) string               { return j.Name }
func connectionName(c *Connection) string { return c.Name }

func byName[T any](list []*T, name func(*T) string) map[string]*T {
	m := make(map[string]*T, len(list))
	for _, v := range list {
		m[name(v)] = v
	}
	return m
}

// sameConsumer compares everything but where it was written.
func sameConsumer(a, b *Consumer) bool {
	if !a.Active.Equal(b.Active) || !slices.EqualFunc(a.RestartOn, b.RestartOn, Signal.same) {
		return false
	}
	x, y := *a, *b
	for _, c := range []*Consumer{&x, &y} {
		c.Active, c.RestartOn, c.At, c.Places = nil, nil, Position{}, nil
	}
	return reflect.DeepEqual(x, y)
}

// Fingerprint is a stable hash (32 hex digits) of what makes a process: command
// line, environment, user, directory, umask and limits. Two configurations with
// the same one can share running processes. How many instances there are, and
// all that qsuper itself does (when, how often, how it stops), is not part of it.
//
// It is safe to store: values of the environment go in hashed.
func (c *Consumer) Fingerprint() string {
	h := sha256.New()
	digest(h, "v1", c.Name, c.User)
	for slot := range 2 { // two slots tell {slot} from a number that was written
		l, err := c.expand(strconv.Itoa(slot), strconv.Itoa(slot+1), "{instances}")
		digest(h, l.Dir, fmt.Sprint(err))
		digest(h, l.Argv...)
		for _, name := range slices.Sorted(maps.Keys(l.Env)) {
			digest(h, name, l.Env[name])
		}
	}
	digest(h, c.EnvFile...)
	digest(h, optional(c.Umask), optional(c.Limits.NoFile), optional(c.Limits.Nice))
	if c.Limits.NoNewPrivs { // only then: what earlier releases started is the same otherwise
		digest(h, "no_new_privs")
	}
	if c.Shared() {
		digest(h, "lock", c.Lock, strconv.FormatBool(c.Exclusive))
	}
	if l := c.Limits; l.Together() {
		digest(h, "cgroup", fmt.Sprint(l.PIDsMax), fmt.Sprint(l.MemoryMax), fmt.Sprint(l.CPUWeight))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Together says whether something is limited for all that one instance starts
// together.
func (l Limits) Together() bool { return l.PIDsMax > 0 || l.MemoryMax > 0 || l.CPUWeight > 0 }

// digest adds strings so that no two lists give the same bytes.
func digest(h hash.Hash, fields ...string) {
	fmt.Fprintf(h, "%d:", len(fields))
	for _, f := range fields {
		fmt.Fprintf(h, "%d:%s", len(f), f)
	}
}

func optional[T any](v *T) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(*v)
}
