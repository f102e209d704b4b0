package config

import (
	"fmt"
	"slices"
	"strings"

	"qsuper/health"
	"qsuper/internal/kind"
	"qsuper/lease"
)

// sectionKeys is a place in the file where keys stand.
type sectionKeys struct {
	prefix string // of the paths of its problems; a line break: of none, as anything may stand too deep
	says   string // with the key
	keys   []string
}

// pointElsewhere gives keys that stand in the wrong place, and are not mistyped, the
// hint where they would be right.
func pointElsewhere(problems []Problem) {
	var places []sectionKeys
	for i := range problems {
		p := &problems[i]
		if p.Message != "unknown key" || p.Hint != "" {
			continue
		}
		if places == nil {
			places = sections()
		}
		key := p.Path[strings.LastIndexByte(p.Path, '.')+1:]
		for _, s := range places {
			if slices.Contains(s.keys, key) && !strings.HasPrefix(p.Path, s.prefix) && !own(places, p.Path, key) {
				p.Hint = fmt.Sprintf(s.says, key)
				break
			}
		}
	}
}

// own says that a key is one of its section, of another type of connection or lock.
func own(places []sectionKeys, path, key string) bool {
	return slices.ContainsFunc(places, func(s sectionKeys) bool {
		return strings.HasPrefix(path, s.prefix) && slices.Contains(s.keys, key)
	})
}

// sections are where keys may be looked for, the most likely first.
func sections() []sectionKeys {
	all := AllKeys()
	queue, connection, lock := paths(all.Queue), paths(all.Connections), paths(all.Locks)
	for _, k := range health.Kinds() {
		queue = append(queue, k.QueueKeys...)
		connection = append(connection, paths(k.Keys)...)
	}
	for _, k := range lease.Kinds() {
		lock = append(lock, paths(k.Keys)...)
	}
	return []sectionKeys{
		{"consumers.", "it is a key of a consumer: consumers: {NAME: {%s: …}}", paths(all.Consumers)},
		{"consumers.", "it is a key of a consumer's queue: consumers: {NAME: {queue: {%s: …}}}", queue},
		{"connections.", "it is a key of a connection: connections: {NAME: {%s: …}}", connection},
		{"daemon.", "it is a key of the daemon: daemon: {%s: …}", paths(all.Daemon)},
		{"jobs.", "it is a key of a job: jobs: {NAME: {%s: …}}", paths(all.Jobs)},
		{"locks.", "it is a key of a lock: locks: {NAME: {%s: …}}", lock},
		{"alerts", "it is a key of an alert: alerts: [{%s: …}]", paths(all.Alerts)},
		{"\n", "it stands at the left margin: %s: …", paths(all.File)},
	}
}

func paths(keys []kind.Key) []string {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = k.Path
	}
	return list
}
