package config

import (
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/health"
	"qsuper/internal/kind"
	"qsuper/lease"
)

// Keys are the keys of the file for its documentation, by where they stand; what
// the types of connections and locks add is in health.Kinds and lease.Kinds.
type Keys struct {
	File        []kind.Key // those with sections behind them are maps
	Daemon      []kind.Key
	Connections []kind.Key // of every type
	Locks       []kind.Key // of every type
	Consumers   []kind.Key // and defaults
	Presets     map[string][]kind.Key
	Queue       []kind.Key
	RestartOn   []kind.Key
	ForeignLock []kind.Key
	Jobs        []kind.Key // besides those of a consumer
	NotOfJobs   []string   // keys of a consumer that a job does not have
	Alerts      []kind.Key
}

// AllKeys returns the keys of the file.
func AllKeys() Keys {
	consumer := newConsumer("")
	k := Keys{
		File:        topLevel(kind.Describe(&mainKeys{Version: 1})),
		Connections: kind.Describe(&health.Common{Timeout: health.DefaultTimeout}),
		Locks:       kind.Describe(&lease.Common{TTL: lease.DefaultTTL}),
		Queue:       kind.Describe(&queueKeys{}),
		RestartOn:   kind.Describe(&signalKeys{}),
		ForeignLock: kind.Describe(&foreignKeys{}),
		Jobs:        kind.Describe(&jobKeys{Overlap: OverlapSkip, Missed: MissedRunOnce, Retries: defaultRetries}),
		NotOfJobs:   slices.Sorted(maps.Keys(notOfJobs)),
		Presets:     map[string][]kind.Key{},
	}
	daemon := defaultDaemon()
	k.Daemon = spoken(kind.Describe(&daemon), map[string]string{"interval": "duration or cron expression"}, map[string]string{"interval": "1s"})
	for name, make := range presets {
		k.Presets[name] = kind.Describe(make())
	}
	own := kind.Describe(consumer)
	what := 3 // group, command and shell go before preset and queue
	own = slices.Concat(own[:what], topLevel(kind.Describe(&consumerKeys{})), own[what:])
	k.Consumers = spoken(own, map[string]string{
		"preset": "name or map", "instances": "whole number or map", "env": "map of text", "env_file": "list of paths", "restart_on": "list of maps",
	}, map[string]string{
		"instances": "1", "instances.min": "0", "instances.max": "", "instances.per_instance": "1", "instances.cooldown": "30s", "idle_timeout": "60s", "spawn": "",
		"stop.signal": strings.TrimPrefix(unix.SignalName(consumer.Stop.Signal), "SIG"), "lock": LockFile,
	})
	k.Jobs = spoken(k.Jobs, map[string]string{"env_file": "list of paths", "retries": "whole number or map"}, nil)
	alerts := append(kind.Describe(&Alert{For: defaultFor}), kind.Describe(&alertKeys{})...)
	for _, key := range topLevel(kind.Describe(&whenKeys{})) {
		key.Path = "when." + key.Path
		alerts = append(alerts, key)
	}
	k.Alerts = spoken(alerts, map[string]string{"webhook": "text or map"}, map[string]string{"when.is": ""})
	return k
}

// defaultRetries are those of a job that gives `retries`.
var defaultRetries = Retries{Initial: 10 * time.Second, Factor: 2, Max: 5 * time.Minute, Jitter: 0.5}

// topLevel leaves out the keys of maps.
func topLevel(keys []kind.Key) []kind.Key {
	return slices.DeleteFunc(keys, func(k kind.Key) bool { return strings.Contains(k.Path, ".") })
}

// spoken replaces types and defaults that the Go types do not tell.
func spoken(keys []kind.Key, types, defaults map[string]string) []kind.Key {
	for i := range keys {
		k := &keys[i]
		if t := types[k.Path]; t != "" {
			k.Type = t
		}
		if d, ok := defaults[k.Path]; ok {
			k.Default = d
		}
	}
	return keys
}
