package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"qsuper/health"
	"qsuper/internal/kind"
	"qsuper/schedule"
)

// Signal is an entry of `restart_on`: something whose change means that running
// processes are out of date. Exactly one of File, Connection, Command and Schedule
// is set.
type Signal struct {
	File       string              `json:",omitempty"` // absolute: what it resolves to, and for a file its time and size
	Connection string              `json:",omitempty"` // whose answer to Question counts
	Question   health.Question     `json:",omitzero"`
	Command    []string            `json:",omitempty"` // what it prints
	Schedule   *schedule.Timetable `json:",omitempty"` // at every fire
}

// String names the signal as the file does, in a few words.
func (s Signal) String() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Question.SQL != "":
		return "query on " + s.Connection
	case s.Connection != "":
		return "key " + s.Question.Key + " on " + s.Connection
	case s.Schedule != nil:
		return "schedule " + kind.Quote(s.Schedule.String())
	}
	return "command " + kind.Quote(strings.Join(s.Command, " "))
}

func (s Signal) same(o Signal) bool {
	return s.File == o.File && s.Connection == o.Connection && s.Question == o.Question &&
		slices.Equal(s.Command, o.Command) && s.Schedule.Equal(o.Schedule)
}

// signalKeys are the keys of an entry of `restart_on`.
type signalKeys struct {
	File     string       `yaml:"file" format:"path"` // what it resolves to; of a file its time and size as well
	Query    questionKeys `yaml:"query"`              // the one row of it
	Redis    stringKeys   `yaml:"redis"`              // a string in Redis
	Command  []string     `yaml:"command"`            // what it prints; run as the consumer is
	Schedule string       `yaml:"schedule"`           // at each of these moments
}

type questionKeys struct {
	Connection string `yaml:"connection,required"` // of type mysql, postgres or sqlite
	SQL        string `yaml:"sql,required"`        // SELECT
}

type stringKeys struct {
	Connection string `yaml:"connection,required"` // of type redis
	Key        string `yaml:"key,required"`        // its key
}

// signals reads `restart_on`. Schedules count in `timezone`.
func (c *check) signals(entries []signalKeys, timezone string) {
	list := place(c.node, "restart_on")
	if len(entries) == 0 || len(list.Items) != len(entries) {
		return
	}
	var zone *time.Location
	for i, k := range entries {
		n, key := list.Items[i], fmt.Sprintf("restart_on[%d]", i)
		if c.bad(key) {
			continue
		}
		if len(n.Entries) != 1 {
			c.l.add(n, c.path+"."+key, "an entry is one of file, query, redis, command and schedule; give more entries for more")
			continue
		}
		if k.Schedule != "" && timezone != "" {
			zone, _ = time.LoadLocation(timezone) // a wrong one has been told of
		}
		if s, ok := c.signal(k, n, c.path+"."+key, zone); ok {
			c.RestartOn = append(c.RestartOn, s)
		}
	}
}

func (c *check) signal(k signalKeys, n *kind.Node, path string, zone *time.Location) (Signal, bool) {
	switch what := n.Entries[0].Key.Value; what {
	case "file":
		return Signal{File: k.File}, true
	case "query":
		s := Signal{Connection: k.Query.Connection, Question: health.Question{SQL: k.Query.SQL}}
		return s, c.asks(n.Entries[0].Value, path+"."+what, k.Query.Connection, "query")
	case "redis":
		s := Signal{Connection: k.Redis.Connection, Question: health.Question{Key: k.Redis.Key}}
		return s, c.asks(n.Entries[0].Value, path+"."+what, k.Redis.Connection, "key")
	case "command":
		if len(k.Command) == 0 || k.Command[0] == "" {
			c.l.add(n.Entries[0].Value, path+".command", "must not be empty")
			return Signal{}, false
		}
		return Signal{Command: k.Command}, true
	default:
		at := n.Entries[0].Value
		t, err := schedule.ParseTimetable(k.Schedule, zone)
		if err != nil && at.Filled {
			err = errors.New("the value filled in from the environment is not a schedule")
		}
		if err != nil {
			c.l.add(at, path+".schedule", "%v", err)
		}
		return Signal{Schedule: t}, err == nil
	}
}

// asks reports whether a connection is there and can be asked so, and adds a problem
// when not.
func (c *check) asks(n *kind.Node, path, name, what string) bool {
	if !c.l.knownConnection(place(n, "connection"), path+".connection", name) {
		return false
	}
	k, ok := health.Lookup(c.l.connections[name].Type)
	if !ok || slices.Contains(k.Asked, what) {
		return true // a type that is not known is the connection's own problem
	}
	able := slices.DeleteFunc(health.Kinds(), func(k health.Kind) bool { return !slices.Contains(k.Asked, what) })
	types := map[string]bool{}
	for _, k := range able {
		types[k.Type] = true
	}
	c.l.add(place(n, "connection"), path+".connection", "connection %s of type %s cannot be asked for this; one of type %s can", name, k.Type, strings.Join(slices.Sorted(maps.Keys(types)), ", "))
	return false
}
