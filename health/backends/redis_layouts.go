package backends

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"qsuper/health"
)

// redisLayoutNames are the layouts, the default first.
var redisLayoutNames = []string{"list", "stream", "laravel", "symfony", "sidekiq", "bullmq", "celery", "rq"}

// redisLayouts say what is asked about a queue. hint is what the answers of the
// last look have left.
var redisLayouts = map[string]func(q health.Queue, now time.Time, hint string) *redisQuestion{
	"list": redisList, "stream": redisStream, "symfony": redisStream, "laravel": redisLaravel,
	"sidekiq": redisSidekiq, "bullmq": redisBullMQ, "celery": redisCelery, "rq": redisRQ,
}

func checkRedisQueue(q health.Queue) error {
	if q.Group != "" && q.Layout != "stream" && q.Layout != "symfony" {
		return errors.New("group is for layouts stream and symfony")
	}
	return named(q)
}

// redisWakes are the keys to which the messages of a queue are pushed.
func redisWakes(q health.Queue) []string {
	switch q.Layout {
	case "laravel":
		return []string{q.Prefix + "queues:" + q.Name, q.Prefix + "queues:" + q.Name + ":delayed"}
	case "sidekiq":
		return []string{q.Prefix + "queue:" + q.Name}
	case "bullmq":
		return []string{bullKey(q) + "wait", bullKey(q) + "prioritized"}
	case "celery":
		return celeryLists(q)
	case "rq":
		return []string{q.Prefix + "rq:queue:" + q.Name}
	}
	return []string{q.Prefix + q.Name}
}

// asked makes a question whose answers need no second one.
func asked(q *redisQuestion, read func(a *redisAnswers) health.Reading) *redisQuestion {
	q.read = func(a *redisAnswers) (health.Reading, *redisQuestion) { return read(a), nil }
	return q
}

// redisList is a list that consumers pop from. An empty one does not exist, so
// that nobody can tell it from a wrong name.
func redisList(q health.Queue, _ time.Time, _ string) *redisQuestion {
	ask := &redisQuestion{}
	length := ask.add("LLEN", q.Prefix+q.Name)
	return asked(ask, func(a *redisAnswers) health.Reading { return counted(a.count(length)) })
}

// due asks for the members of a sorted set with a score up to limit, and for
// those beyond.
func due(ask *redisQuestion, key string, limit string) (past, future int) {
	return ask.add("ZCOUNT", key, "-inf", limit), ask.add("ZCOUNT", key, "("+limit, "+inf")
}

// redisLaravel counts what a worker would take: waiting jobs, delayed ones that
// are due, and reserved ones whose time is up. Only a living worker moves the
// latter two into the list, so the list alone would never wake a fleet at zero.
func redisLaravel(q health.Queue, now time.Time, _ string) *redisQuestion {
	key, limit := q.Prefix+"queues:"+q.Name, strconv.FormatInt(now.Unix(), 10)
	ask := &redisQuestion{}
	waiting := ask.add("LLEN", key)
	ready, later := due(ask, key+":delayed", limit)
	expired, taken := due(ask, key+":reserved", limit)
	head := ask.add("LINDEX", key, 0)
	overdue := ask.add("ZRANGEBYSCORE", key+":delayed", "-inf", limit, "WITHSCORES", "LIMIT", 0, 1)
	return asked(ask, func(a *redisAnswers) health.Reading {
		r := counted(a.count(waiting) + a.count(ready) + a.count(expired))
		r.InFlight, r.Delayed, r.Oldest = a.count(taken), a.count(later), 0
		if a.count(waiting) > 0 {
			var job struct {
				PushedAt  any `json:"pushedAt"`  // Horizon's
				CreatedAt any `json:"createdAt"` // of later releases
			}
			_ = json.Unmarshal([]byte(a.text(head)), &job)
			r.Oldest = max(stampAge(now, job.PushedAt), stampAge(now, job.CreatedAt))
		}
		if pair := a.items(overdue); len(pair) == 2 && r.Oldest != health.NotKnown {
			r.Oldest = max(r.Oldest, stampAge(now, pair[1]))
		}
		return r
	})
}

// stampAge is the age of a time in seconds since 1970, a number or text of one.
// Whole milliseconds, as later releases of Sidekiq write them, are known by
// their size.
func stampAge(now time.Time, stamp any) time.Duration {
	at, err := strconv.ParseFloat(fmt.Sprint(stamp), 64)
	switch {
	case err != nil || at <= 0:
		return health.NotKnown
	case at > 1e11:
		at /= 1000
	}
	return seconds(float64(now.UnixNano())/1e9 - at)
}

// redisSidekiq counts the list of a queue, and what is due in the common sets of
// scheduled jobs and retries: any Sidekiq process moves these, but none does
// while all are down. Of many due ones only some are looked at; the rest count
// for every queue.
func redisSidekiq(q health.Queue, now time.Time, _ string) *redisQuestion {
	const sample = 50
	limit := strconv.FormatFloat(float64(now.UnixMilli())/1000, 'f', 3, 64)
	ask := &redisQuestion{}
	waiting := ask.add("LLEN", q.Prefix+"queue:"+q.Name)
	known := ask.add("SISMEMBER", q.Prefix+"queues", q.Name)
	tail := ask.add("LINDEX", q.Prefix+"queue:"+q.Name, -1)
	var totals, samples []int
	for _, set := range []string{"schedule", "retry"} {
		totals = append(totals, ask.add("ZCOUNT", q.Prefix+set, "-inf", limit))
		samples = append(samples, ask.add("ZRANGEBYSCORE", q.Prefix+set, "-inf", limit, "LIMIT", 0, sample))
	}
	return asked(ask, func(a *redisAnswers) health.Reading {
		n, moved := a.count(waiting), int64(0)
		for i := range totals {
			list := a.items(samples[i])
			moved += max(a.count(totals[i])-int64(len(list)), 0)
			for _, text := range list {
				var job struct {
					Queue string `json:"queue"`
				}
				if _ = json.Unmarshal([]byte(fmt.Sprint(text)), &job); job.Queue == q.Name {
					moved++
				}
			}
		}
		if n+moved == 0 && a.count(known) == 0 && a.err == nil {
			return missing("no job was ever pushed to it: it is not in the set %squeues", q.Prefix)
		}
		r := counted(n + moved)
		if n+moved == 0 {
			r.Oldest = 0
		}
		var job struct {
			Enqueued any `json:"enqueued_at"`
		}
		if json.Unmarshal([]byte(a.text(tail)), &job) == nil && moved == 0 {
			r.Oldest = stampAge(now, job.Enqueued)
		}
		return r
	})
}

func bullKey(q health.Queue) string {
	prefix := q.Prefix
	if prefix == "" {
		prefix = "bull"
	}
	return prefix + ":" + q.Name + ":"
}

// redisBullMQ counts waiting and prioritized jobs and delayed ones that are due:
// these are moved by living workers only. A paused queue has nothing to take.
// The hint is the job that waits longest, whose time the next look asks for.
func redisBullMQ(q health.Queue, now time.Time, hint string) *redisQuestion {
	key, ask := bullKey(q), &redisQuestion{}
	waiting, ranked, paused := ask.add("LLEN", key+"wait"), ask.add("ZCARD", key+"prioritized"), ask.add("LLEN", key+"paused")
	// A score is the time in milliseconds, times 4096, plus a counter.
	ready, later := due(ask, key+"delayed", strconv.FormatInt(now.UnixMilli()<<12|0xfff, 10))
	active := ask.add("LLEN", key+"active")
	stopped, exists := ask.add("HEXISTS", key+"meta", "paused"), ask.add("EXISTS", key+"meta", key+"id")
	first, last := ask.add("LINDEX", key+"wait", 0), ask.add("LINDEX", key+"wait", -1)
	if hint == "" {
		hint = "-"
	}
	at := ask.add("HGET", key+hint, "timestamp")
	return asked(ask, func(a *redisAnswers) health.Reading {
		wait := a.count(waiting)
		for _, id := range slices.Compact([]string{a.text(first), a.text(last)}) {
			if strings.HasPrefix(id, "0:") && wait > 0 {
				wait-- // a mark of older releases, not a job
			}
		}
		n := wait + a.count(ranked) + a.count(ready)
		if n+a.count(paused)+a.count(later)+a.count(active)+a.count(exists) == 0 && a.err == nil {
			return missing("there is no queue of this name and prefix")
		}
		r := counted(n)
		r.InFlight, r.Delayed = a.count(active), a.count(later)
		switch {
		case a.count(stopped) == 1:
			r.Ready, r.Delayed, r.Oldest = 0, r.Delayed+n+a.count(paused), 0
		case n == 0:
			r.Oldest = 0
		case n == wait:
			if a.hint = a.text(last); a.hint == hint {
				r.Oldest = stampAge(now, a.text(at))
			}
		}
		return r
	})
}

// celeryLists are the list of a queue and those of its priorities, in the
// transport's default steps.
func celeryLists(q health.Queue) []string {
	lists := []string{q.Prefix + q.Name}
	for _, priority := range []string{"3", "6", "9"} {
		lists = append(lists, q.Prefix+q.Name+"\x06\x16"+priority)
	}
	return lists
}

// celeryVisible is the transport's default visibility_timeout.
const celeryVisible = time.Hour

// redisCelery counts the lists of a queue, and tasks that were taken longer ago
// than the visibility timeout: any living worker puts these back. What is taken
// is kept for all queues of a database together, so that only "nothing" can be
// said of one queue.
func redisCelery(q health.Queue, now time.Time, _ string) *redisQuestion {
	ask := &redisQuestion{}
	var lists []int
	for _, key := range celeryLists(q) {
		lists = append(lists, ask.add("LLEN", key))
	}
	taken := ask.add("HLEN", q.Prefix+"unacked")
	lost := ask.add("ZCOUNT", q.Prefix+"unacked_index", "-inf", strconv.FormatInt(now.Add(-celeryVisible).Unix(), 10))
	return asked(ask, func(a *redisAnswers) health.Reading {
		n := a.count(lost)
		for _, i := range lists {
			n += a.count(i)
		}
		r := counted(n)
		if a.count(taken) == 0 {
			r.InFlight = 0
		}
		if n == 0 {
			r.Oldest = 0
		}
		return r
	})
}

// redisRQ counts the list of a queue and scheduled jobs that are due, which a
// worker with a scheduler moves. The age is that of the job at the head; SORT_RO
// fetches it from there, where the server has that and the user may read all keys.
func redisRQ(q health.Queue, now time.Time, _ string) *redisQuestion {
	key, limit := q.Prefix+"rq:queue:"+q.Name, strconv.FormatInt(now.Unix(), 10)
	ask := &redisQuestion{}
	waiting, known := ask.add("LLEN", key), ask.add("SISMEMBER", q.Prefix+"rq:queues", key)
	ready, later := due(ask, q.Prefix+"rq:scheduled:"+q.Name, limit)
	_, taken := due(ask, q.Prefix+"rq:wip:"+q.Name, limit)
	at := ask.add("SORT_RO", key, "BY", "nosort", "LIMIT", 0, 1, "GET", q.Prefix+"rq:job:*->enqueued_at")
	return asked(ask, func(a *redisAnswers) health.Reading {
		n := a.count(waiting) + a.count(ready)
		r := counted(n)
		r.InFlight, r.Delayed = a.count(taken), a.count(later)
		if n+r.InFlight+r.Delayed == 0 && a.count(known) == 0 && a.err == nil {
			return missing("no job was ever enqueued: it is not in the set %srq:queues", q.Prefix)
		}
		if n == 0 {
			r.Oldest = 0
		} else if list := a.items(at); len(list) == 1 && a.count(ready) == 0 {
			if t, err := time.Parse(time.RFC3339Nano, fmt.Sprint(list[0])); err == nil {
				r.Oldest = seconds(now.Sub(t).Seconds())
			}
		}
		return r
	})
}
