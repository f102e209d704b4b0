package backends

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"qsuper/health"
)

const (
	// streamSample is how many entries are counted one by one where the server
	// cannot say how many there are.
	streamSample = 100
	// symfonyClaim is the redeliver_timeout of Symfony's Redis transport: an
	// entry that was taken longer ago is claimed by a worker that lives.
	symfonyClaim = time.Hour
)

// streamGroup is what the server says of one consumer group.
type streamGroup struct {
	pending int64
	last    string // id of the last entry that was given to a consumer
	lag     int64  // entries not given to anybody yet; NotKnown where the server does not know
}

// redisStream is a stream that a consumer group reads. Before the group exists
// everything in the stream waits; without `group` that is all there is to know.
// Symfony keeps its delayed messages beside the stream, in <stream>__queue by
// milliseconds since 1970; workers move the due ones.
//
// The hint is the last id that was given to a consumer: the entry after it is
// the oldest that waits.
func redisStream(q health.Queue, now time.Time, hint string) *redisQuestion {
	key, group, symfony := q.Prefix+q.Name, q.Group, q.Layout == "symfony"
	ask := &redisQuestion{}
	length := ask.add("XLEN", key)
	groups := ask.add("XINFO", "GROUPS", key)
	next := ask.add("XRANGE", key, "("+max(hint, "0-0"), "+", "COUNT", 1)
	var ready, later, stale int
	if symfony {
		if group == "" {
			group = "symfony"
		}
		ready, later = due(ask, key+"__queue", strconv.FormatInt(now.UnixMilli(), 10))
		stale = ask.add("XPENDING", key, group, "IDLE", symfonyClaim.Milliseconds(), "-", "+", streamSample)
	}
	ask.read = func(a *redisAnswers) (health.Reading, *redisQuestion) {
		total := a.count(length)
		r := counted(total)
		if symfony {
			r.Ready += a.count(ready)
			r.Delayed = a.count(later)
		}
		if _, err := a.list[groups].Result(); err != nil && strings.Contains(err.Error(), "no such key") {
			if r.Ready == 0 && r.Delayed <= 0 {
				return missing("there is no such stream"), nil
			}
			return r, nil
		}
		if a.list[groups].Err() != nil {
			a.err = a.list[groups].Err()
			return r, nil
		}
		if r.Ready == 0 {
			r.Oldest = 0
		}
		g := findGroup(a.items(groups), group)
		if g == nil {
			if group != "" {
				r.InFlight = 0
			}
			return r, nil
		}
		expired := int64(0)
		if symfony {
			expired = int64(len(a.items(stale)))
			r.Ready = a.count(ready)
		} else {
			r.Ready = 0
		}
		a.hint = g.last
		r.InFlight = max(g.pending-expired, 0)
		return streamReading(r, key, g, total, expired, entryAfter(a.items(next), g.last, hint, now))
	}
	return ask
}

// findGroup reads the answer of XINFO GROUPS; nil when the group is not there.
func findGroup(list []any, name string) *streamGroup {
	for _, item := range list {
		fields, _ := item.([]any)
		g, found := streamGroup{lag: health.NotKnown}, false
		for i := 0; i+1 < len(fields); i += 2 {
			n, isNumber := fields[i+1].(int64)
			switch text := fmt.Sprint(fields[i+1]); fields[i] {
			case "name":
				found = text == name
			case "pending":
				g.pending = n
			case "last-delivered-id":
				g.last = text
			case "lag":
				if isNumber {
					g.lag = n
				}
			}
		}
		if found {
			return &g
		}
	}
	return nil
}

// streamReading completes r, which holds what is due beside the stream. The
// server's lag is nil before Redis 7 and after some deletions, and may count
// entries that are gone; never are there more than the stream has.
func streamReading(r health.Reading, key string, g *streamGroup, total, expired int64, head entry) (health.Reading, *redisQuestion) {
	beside := r.Ready + expired
	finish := func(waiting int64) health.Reading {
		r.Ready = beside + waiting
		switch {
		case r.Ready == 0:
			r.Oldest = 0
		case beside == 0 && head.known:
			r.Oldest = head.age
		default:
			r.Oldest = health.NotKnown
		}
		return r
	}
	switch {
	case head.known && head.none:
		return finish(0), nil
	case g.lag != health.NotKnown:
		return finish(min(g.lag, total)), nil
	}
	ask := &redisQuestion{}
	rest := ask.add("XRANGE", key, "("+g.last, "+", "COUNT", streamSample)
	ask.read = func(a *redisAnswers) (health.Reading, *redisQuestion) {
		if err := a.list[rest].Err(); err != nil {
			a.err = err
			return r, nil
		}
		a.hint = g.last
		waiting := int64(len(a.items(rest)))
		if waiting == streamSample { // where entries are deleted once they are done with, this is exact
			waiting = max(waiting, total-g.pending)
		}
		return finish(waiting), nil
	}
	return finish(0), ask
}

// entry is what is known of the first entry that waits in a stream.
type entry struct {
	known bool // the question was about the right one
	none  bool // there is none
	age   time.Duration
}

// entryAfter reads the answer of XRANGE after hint, which is of use when nothing
// was given to consumers since.
func entryAfter(list []any, last, hint string, now time.Time) entry {
	if hint != last {
		return entry{}
	}
	if len(list) == 0 {
		return entry{known: true, none: true}
	}
	pair, _ := list[0].([]any)
	if len(pair) == 0 {
		return entry{}
	}
	ms, _, _ := strings.Cut(fmt.Sprint(pair[0]), "-")
	at, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return entry{}
	}
	return entry{known: true, age: seconds(float64(now.UnixMilli()-at) / 1000)}
}
