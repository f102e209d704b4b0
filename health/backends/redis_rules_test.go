package backends_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"qsuper/health"
)

// want compares numbers; an age may be up to a minute more, NotKnown is exact.
func (r *redisRig) want(what string, q health.Queue, ready, flight, delayed int64, oldest time.Duration) {
	r.t.Helper()
	r.wantOf(what, reading(r.t, r.plain(r.t), q), ready, flight, delayed, oldest)
}

func (r *redisRig) wantOf(what string, got health.Reading, ready, flight, delayed int64, oldest time.Duration) {
	r.t.Helper()
	inTime := got.Oldest >= oldest && got.Oldest <= oldest+time.Minute
	if oldest == health.NotKnown {
		inTime = got.Oldest == oldest
	}
	if got.State != health.OK || got.Ready != ready || got.InFlight != flight || got.Delayed != delayed || !inTime {
		r.t.Errorf("%s: want ready %d, in flight %d, delayed %d, oldest %s; got %+v", what, ready, flight, delayed, oldest, got)
	}
}

func (r *redisRig) missing(what string, q health.Queue) {
	r.t.Helper()
	if got := reading(r.t, r.plain(r.t), q); got.State != health.Missing || got.Err == "" {
		r.t.Errorf("%s: want missing, got %+v", what, got)
	}
}

// Only a worker that lives moves what is due: the list alone would never start one.
func TestRedisLaravelRules(t *testing.T) {
	r := newRedisRig(t)
	q := health.Queue{Name: "default", Layout: "laravel"}
	r.want("nothing", q, 0, 0, 0, 0)
	r.do("ZADD", "queues:default:delayed", unixIn(time.Minute), "d1", unixIn(-5*time.Minute), "d2")
	r.want("a delayed job is due", q, 1, 0, 1, 5*time.Minute)
	r.do("ZADD", "queues:default:reserved", unixIn(-time.Minute), "r1", unixIn(time.Minute), "r2")
	r.want("a reserved job has expired", q, 2, 1, 1, 5*time.Minute)
	r.do("RPUSH", "queues:default", fmt.Sprintf(`{"uuid":"x","pushedAt":"%d.0"}`, time.Now().Add(-10*time.Minute).Unix()), "{}")
	r.want("Horizon tells when it was pushed", q, 4, 1, 1, 10*time.Minute)
	r.do("LPOP", "queues:default")
	r.want("nobody tells when it was pushed", q, 3, 1, 1, health.NotKnown)
	r.do("LSET", "queues:default", 0, fmt.Sprintf(`{"createdAt":%d}`, time.Now().Add(-7*time.Minute).Unix()))
	r.want("later releases tell", q, 3, 1, 1, 7*time.Minute)
}

func TestRedisSymfonyRules(t *testing.T) {
	r := newRedisRig(t)
	q := health.Queue{Name: "messages", Layout: "symfony"}
	r.missing("no stream", q)
	r.do("ZADD", "messages__queue", time.Now().Add(-time.Second).UnixMilli(), "due", time.Now().Add(time.Minute).UnixMilli(), "later")
	r.want("delayed messages before the stream exists", q, 1, health.NotKnown, 1, health.NotKnown)
	for range 3 {
		r.do("XADD", "messages", "*", "message", "m")
	}
	r.want("no group yet: everything waits", q, 4, 0, 1, health.NotKnown)
	r.do("XGROUP", "CREATE", "messages", "symfony", "0")
	r.do("XREADGROUP", "GROUP", "symfony", "dead", "COUNT", 1, "STREAMS", "messages", ">")
	r.want("one is taken", q, 3, 1, 1, health.NotKnown)

	// What a dead worker had taken is claimed after an hour, by one that lives.
	pending := r.do("XPENDING", "messages", "symfony", "-", "+", 1).([]any)[0].([]any)[0]
	r.do("XCLAIM", "messages", "symfony", "dead", 0, pending, "IDLE", (2 * time.Hour).Milliseconds())
	r.want("it may be claimed", q, 4, 0, 1, health.NotKnown)
	r.do("XACK", "messages", "symfony", pending)
	r.do("ZREM", "messages__queue", "due")

	// A deletion in the middle of what waits makes the lag nil.
	ids := r.do("XRANGE", "messages", "-", "+").([]any)
	r.do("XADD", "messages", "*", "message", "m4")
	r.do("XDEL", "messages", ids[1].([]any)[0])
	groups := fmt.Sprint(r.do("XINFO", "GROUPS", "messages"))
	if !strings.Contains(groups, "lag:<nil>") {
		t.Fatalf("the lag is known: %s", groups)
	}
	r.want("the lag is nil", q, 2, 0, 1, health.NotKnown)

	// The second look knows since when the first one waits.
	p := health.NewProbe("c", r.plain(t), 5*time.Second)
	defer p.Close(context.Background())
	for _, oldest := range []time.Duration{health.NotKnown, 0} {
		r.wantOf("two looks", p.Look(t.Context(), []health.Queue{q}).Readings[0], 2, 0, 1, oldest)
	}
	r.do("XGROUP", "SETID", "messages", "symfony", "$")
	r.want("nothing is left", q, 0, 0, 1, 0)
}

func TestRedisStreamRules(t *testing.T) {
	r := newRedisRig(t)
	old := time.Now().Add(-10 * time.Minute).UnixMilli()
	for i := range 250 {
		r.do("XADD", "events", fmt.Sprintf("%d-%d", old, i), "f", "v")
	}
	r.want("without a group the stream itself", health.Queue{Name: "events", Layout: "stream"}, 250, health.NotKnown, health.NotKnown, health.NotKnown)
	q := health.Queue{Name: "events", Layout: "stream", Group: "g"}
	r.do("XGROUP", "CREATE", "events", "g", "0")
	p := health.NewProbe("c", r.plain(t), 5*time.Second)
	defer p.Close(context.Background())
	look := func() health.Reading { return p.Look(t.Context(), []health.Queue{q}).Readings[0] }
	r.do("XREADGROUP", "GROUP", "g", "me", "COUNT", 100, "STREAMS", "events", ">")
	r.wantOf("first look", look(), 150, 100, health.NotKnown, health.NotKnown)
	r.wantOf("second look", look(), 150, 100, health.NotKnown, 10*time.Minute)
	// Acknowledged entries stay in this stream: only what follows the last counts.
	r.do("XGROUP", "SETID", "events", "g", fmt.Sprintf("%d-199", old))
	if groups := fmt.Sprint(r.do("XINFO", "GROUPS", "events")); !strings.Contains(groups, "lag:<nil>") {
		t.Fatalf("the lag is known: %s", groups)
	}
	r.wantOf("nil lag", look(), 50, 100, health.NotKnown, health.NotKnown)
	r.wantOf("nil lag again", look(), 50, 100, health.NotKnown, 10*time.Minute)
}

func TestRedisSidekiqRules(t *testing.T) {
	r := newRedisRig(t)
	q := health.Queue{Name: "mail", Layout: "sidekiq"}
	r.missing("nothing was ever pushed", q)
	r.do("SADD", "queues", "mail", "other")
	r.want("empty", q, 0, health.NotKnown, health.NotKnown, 0)
	job := func(queue string, ago time.Duration) string {
		return fmt.Sprintf(`{"class":"C","queue":%q,"enqueued_at":%f}`, queue, float64(time.Now().Add(-ago).UnixMilli())/1000)
	}
	r.do("LPUSH", "queue:mail", job("mail", 10*time.Minute), job("mail", time.Minute))
	r.want("waiting", q, 2, health.NotKnown, health.NotKnown, 10*time.Minute)
	r.do("RPOP", "queue:mail")
	r.do("RPUSH", "queue:mail", fmt.Sprintf(`{"enqueued_at":%d}`, time.Now().Add(-3*time.Minute).UnixMilli())) // as of 8.0
	r.want("milliseconds", q, 2, health.NotKnown, health.NotKnown, 3*time.Minute)
	r.do("ZADD", "retry", unixIn(-time.Minute), job("mail", 0), unixIn(-time.Second), job("other", 0), unixIn(time.Minute), job("mail", time.Second))
	r.do("ZADD", "schedule", unixIn(-time.Minute), job("mail", 0))
	r.want("a retry and a scheduled job are due", q, 4, health.NotKnown, health.NotKnown, health.NotKnown)
	q.Prefix = "ns:"
	r.missing("another namespace", q)
}

func TestRedisBullMQRules(t *testing.T) {
	r := newRedisRig(t)
	q := health.Queue{Name: "video", Layout: "bullmq"}
	r.missing("no queue", q)
	r.do("HSET", "bull:video:meta", "opts.maxLenEvents", 10000)
	r.want("empty", q, 0, 0, 0, 0)
	r.do("LPUSH", "bull:video:wait", "1", "2")
	r.do("HSET", "bull:video:1", "timestamp", time.Now().Add(-10*time.Minute).UnixMilli())
	r.do("LPUSH", "bull:video:active", "0")
	p := health.NewProbe("c", r.plain(t), 5*time.Second)
	defer p.Close(context.Background())
	for _, oldest := range []time.Duration{health.NotKnown, 10 * time.Minute} {
		r.wantOf("two looks", p.Look(t.Context(), []health.Queue{q}).Readings[0], 2, 1, 0, oldest)
	}
	score := func(in time.Duration) int64 { return time.Now().Add(in).UnixMilli()*4096 + 3 }
	r.do("ZADD", "bull:video:prioritized", 1, "3")
	r.do("ZADD", "bull:video:delayed", score(-time.Second), "4", score(time.Minute), "5")
	r.want("prioritized, and a delayed one is due", q, 4, 1, 1, health.NotKnown)
	r.do("RPUSH", "bull:video:wait", "0:1700000000000")
	r.want("a mark is no job", q, 4, 1, 1, health.NotKnown)
	r.do("HSET", "bull:video:meta", "paused", 1)
	r.do("RENAME", "bull:video:wait", "bull:video:paused")
	r.want("paused", q, 0, 1, 6, 0)
	q.Prefix = "{app}"
	r.do("LPUSH", "{app}:video:wait", "1")
	r.want("another prefix", q, 1, 0, 0, health.NotKnown)
}

func TestRedisCeleryRules(t *testing.T) {
	r := newRedisRig(t)
	q := health.Queue{Name: "celery", Layout: "celery"}
	r.want("nothing", q, 0, 0, health.NotKnown, 0)
	r.do("LPUSH", "celery", "a", "b")
	r.do("LPUSH", "celery\x06\x163", "c")
	r.do("LPUSH", "celery\x06\x169", "d")
	r.want("priorities", q, 4, 0, health.NotKnown, health.NotKnown)
	r.do("HSET", "unacked", "tag", "x")
	r.do("ZADD", "unacked_index", unixIn(-time.Minute), "tag")
	r.want("some are taken, from this queue or another", q, 4, health.NotKnown, health.NotKnown, health.NotKnown)
	r.do("ZADD", "unacked_index", unixIn(-2*time.Hour), "tag")
	r.want("a dead worker's is put back by one that lives", q, 5, health.NotKnown, health.NotKnown, health.NotKnown)
}

func TestRedisRQRules(t *testing.T) {
	r := newRedisRig(t)
	q := health.Queue{Name: "default", Layout: "rq"}
	r.missing("nothing was ever enqueued", q)
	r.do("SADD", "rq:queues", "rq:queue:default")
	r.want("empty", q, 0, 0, 0, 0)
	r.do("RPUSH", "rq:queue:default", "j1", "j2")
	r.do("HSET", "rq:job:j1", "enqueued_at", time.Now().UTC().Add(-10*time.Minute).Format("2006-01-02T15:04:05.000000Z"))
	r.want("waiting", q, 2, 0, 0, 10*time.Minute)
	r.do("ZADD", "rq:wip:default", unixIn(time.Minute), "j0", "+inf", "j9", unixIn(-time.Hour), "lost")
	r.do("ZADD", "rq:scheduled:default", unixIn(-time.Second), "j3", unixIn(time.Minute), "j4")
	r.want("started, scheduled, due", q, 3, 2, 1, health.NotKnown)
}
