package config

import (
	"slices"
	"syscall"
	"time"

	"qsuper/internal/kind"
)

// defaultRange is what a map of `instances` starts from: scale to zero, and one
// instance for every waiting message up to max, so that no message waits while
// an instance could take it.
var defaultRange = Instances{Min: 0, PerInstance: 1, Cooldown: 30 * time.Second}

// defaultIdle ends an on_messages instance whose queue has been empty so long.
const defaultIdle = time.Minute

// newConsumer returns a consumer with the built-in defaults. Spawn and
// IdleTimeout depend on the queue and follow when it is known.
func newConsumer(name string) *Consumer {
	return &Consumer{
		Name:      name,
		section:   "consumers",
		Instances: Instances{Min: 1, Max: 1},
		Restart:   RestartAlways,
		Exit:      Exit{Clean: []int{0}},
		Backoff: Backoff{
			Initial: time.Second, Factor: 2, Max: time.Minute, Jitter: 0.5,
			ResetAfter: time.Minute, MinUptime: time.Second,
		},
		Stop:      Stop{Signal: syscall.SIGTERM, Grace: 30 * time.Second, Scope: "process"},
		Logs:      Logs{To: "file", MaxSize: 50 << 20, Keep: 10, Prefix: "none"},
		Lock:      LockFile,
		Autostart: true,
		Places:    map[string]Position{},
	}
}

// checkDefaults reads `defaults` as if it were a consumer, so that its mistakes
// are reported once and at their own path, even when there is no consumer.
func (l *loader) checkDefaults() {
	if l.defaults == nil {
		return
	}
	var keys consumerKeys
	l.decoder.Decode(l.defaults, "defaults", newConsumer("defaults"), &keys)
}

// The keys that say what to run. A consumer that gives one of them means it
// instead of what the defaults give.
var programKeys = []string{"command", "shell", "preset"}

// withDefaults lays a consumer over `defaults`: maps are merged by key, anything
// else replaces. Either may be nil.
func withDefaults(consumer, defaults *kind.Node) *kind.Node {
	if consumer == nil || defaults == nil || consumer.Shape != kind.Map {
		return consumer
	}
	own, base := presetAsMap(consumer), presetAsMap(defaults)
	if slices.ContainsFunc(programKeys, func(k string) bool { return own.Get(k) != nil }) {
		base.Entries = slices.DeleteFunc(base.Entries, func(e kind.Entry) bool {
			return slices.Contains(programKeys, e.Key.Value) && (e.Key.Value != "preset" || !samePreset(own, e.Value))
		})
	}
	return merge(own, base)
}

// presetAsMap copies a consumer with `preset: symfony` as `preset: {type: symfony}`.
func presetAsMap(n *kind.Node) *kind.Node {
	c := *n
	c.Entries = slices.Clone(n.Entries)
	if e := c.Get("preset"); e != nil && e.Value.Shape == kind.Scalar && !e.Value.Null {
		v := *e.Value
		v.Shape, v.Entries = kind.Map, []kind.Entry{{Key: &kind.Node{Shape: kind.Scalar, Value: "type", File: v.File, Line: v.Line, Column: v.Column}, Value: e.Value}}
		e.Value = &v
	}
	return &c
}

// samePreset reports whether the consumer's preset refines that of the defaults
// instead of naming another one.
func samePreset(consumer, base *kind.Node) bool {
	own := consumer.Get("preset")
	if own == nil || own.Value.Shape != kind.Map {
		return false
	}
	return own.Value.Get("type") == nil || presetName(own.Value) == presetName(base)
}

func merge(over, under *kind.Node) *kind.Node {
	if over.Shape != kind.Map || under.Shape != kind.Map {
		return over
	}
	merged := *over
	merged.Entries = slices.Clone(over.Entries)
	index := make(map[string]int, len(over.Entries))
	for i, e := range over.Entries {
		index[e.Key.Value] = i
	}
	for _, e := range under.Entries {
		if i, both := index[e.Key.Value]; both {
			merged.Entries[i].Value = merge(merged.Entries[i].Value, e.Value)
		} else {
			merged.Entries = append(merged.Entries, e)
		}
	}
	return &merged
}
