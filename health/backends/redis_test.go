package backends_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"qsuper/health"
	"qsuper/health/healthtest"
	"qsuper/test/servers"
)

var redisDatabases atomic.Int64

// redisRig is a database of a Redis, and a user for the probe who may do
// anything: that it changes nothing is the probe's doing.
type redisRig struct {
	t      *testing.T
	server *servers.Redis
	client *redis.Client
	db     int
	names  atomic.Int64
}

func newRedisRig(t *testing.T) *redisRig {
	t.Helper()
	r := &redisRig{t: t, server: servers.RedisServer(t), db: int(redisDatabases.Add(1))}
	r.client = redis.NewClient(&redis.Options{Addr: r.server.Addr, DB: r.db, DialerRetries: 1})
	t.Cleanup(func() { r.client.Close() })
	r.do("FLUSHDB")
	r.do("ACL", "SETUSER", "probe", "reset", "on", ">"+nasty, "~*", "&*", "+@all")
	return r
}

func (r *redisRig) do(words ...any) any {
	r.t.Helper()
	v, err := r.client.Do(context.Background(), words...).Result()
	if err != nil && err != redis.Nil {
		r.t.Fatalf("%v: %v", words, err)
	}
	return v
}

func (r *redisRig) spec(t testing.TB, addr, password, more string) health.Spec {
	u := url.URL{Scheme: "redis", User: url.UserPassword("probe", password), Host: addr, Path: "/" + strconv.Itoa(r.db)}
	return spec(t, "redis", "{type: redis, url: %q%s}", u.String(), more)
}

func (r *redisRig) plain(t testing.TB) health.Spec { return r.spec(t, r.server.Addr, nasty, "") }

// queue is a fresh one.
func (r *redisRig) queue(layout string) health.Queue {
	return health.Queue{Name: fmt.Sprintf("ürgent 'x' %d", r.names.Add(1)), Layout: layout, Prefix: map[string]string{"laravel": "app_database_"}[layout]}
}

// broken is a queue that cannot be counted: its key holds something else.
func (r *redisRig) broken(layout string, key func(health.Queue) string) func(*testing.T) health.Queue {
	return func(*testing.T) health.Queue {
		q := r.queue(layout)
		r.do("SET", key(q), "text")
		return q
	}
}

func (r *redisRig) texts(words ...any) []string {
	list, _ := r.do(words...).([]any)
	var texts []string
	for _, v := range list {
		texts = append(texts, fmt.Sprint(v))
	}
	return texts
}

func unixIn(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }

// layouts are the queues of the conformance suite, moved as the frameworks do.
func (r *redisRig) layouts() map[string]*healthtest.Queues {
	plain := func(q health.Queue) string { return q.Prefix + q.Name }
	list := func(layout string, key func(health.Queue) string, push string) *healthtest.Queues {
		return &healthtest.Queues{
			New:    func(*testing.T) health.Queue { return r.queue(layout) },
			Broken: r.broken(layout, key),
			Publish: func(_ *testing.T, q health.Queue, bodies ...string) {
				for _, b := range bodies {
					r.do(push, key(q), b)
				}
			},
			Content:    func(_ *testing.T, q health.Queue) []string { return r.texts("LRANGE", key(q), 0, -1) },
			RoundTrips: 1,
		}
	}
	all := map[string]*healthtest.Queues{
		"list": list("list", plain, "RPUSH"), "stream": r.stream("stream", "workers"), "symfony": r.stream("symfony", ""),
		"laravel": list("laravel", func(q health.Queue) string { return q.Prefix + "queues:" + q.Name }, "RPUSH"),
		"celery":  list("celery", plain, "RPUSH"), "rq": list("rq", func(q health.Queue) string { return "rq:queue:" + q.Name }, "RPUSH"),
		"sidekiq": list("sidekiq", func(q health.Queue) string { return "queue:" + q.Name }, "RPUSH"),
		"bullmq":  list("bullmq", func(q health.Queue) string { return "bull:" + q.Name + ":wait" }, "RPUSH"),
	}
	all["laravel"].Take = func(_ *testing.T, q health.Queue) {
		key := q.Prefix + "queues:" + q.Name
		r.do("ZADD", key+":reserved", unixIn(time.Minute), r.do("LPOP", key))
	}
	for _, name := range []string{"rq", "sidekiq", "bullmq"} {
		all[name].New = func(*testing.T) health.Queue {
			q := r.queue(name)
			r.do("SADD", "rq:queues", "rq:queue:"+q.Name)
			r.do("SADD", "queues", q.Name)
			r.do("HSET", "bull:"+q.Name+":meta", "version", "5")
			return q
		}
		all[name].Missing = func(*testing.T) health.Queue { return r.queue(name) }
	}
	for _, name := range []string{"rq", "bullmq"} { // an empty queue has them at zero
		all[name].Take, all[name].Delay = r.take(name), r.delay(name)
	}
	all["laravel"].Delay = func(_ *testing.T, q health.Queue) {
		r.do("ZADD", q.Prefix+"queues:"+q.Name+":delayed", unixIn(time.Minute), "later")
	}
	since := time.Now().Add(-time.Minute)
	jobs := map[string]func(q health.Queue){ // as their frameworks write them
		"laravel": func(q health.Queue) {
			r.do("RPUSH", q.Prefix+"queues:"+q.Name, fmt.Sprintf(`{"createdAt":%d}`, since.Unix()))
		},
		"sidekiq": func(q health.Queue) { r.do("LPUSH", "queue:"+q.Name, fmt.Sprintf(`{"enqueued_at":%d}`, since.Unix())) },
		"bullmq": func(q health.Queue) {
			r.do("HSET", "bull:"+q.Name+":1", "timestamp", since.UnixMilli())
			r.do("LPUSH", "bull:"+q.Name+":wait", "1")
		},
		"rq": func(q health.Queue) {
			r.do("HSET", "rq:job:of "+q.Name, "enqueued_at", since.UTC().Format("2006-01-02T15:04:05.000000Z"))
			r.do("RPUSH", "rq:queue:"+q.Name, "of "+q.Name)
		},
		"stream":  func(q health.Queue) { r.do("XADD", q.Name, "*", "message", "a") },
		"symfony": func(q health.Queue) { r.do("XADD", q.Name, "*", "message", "a") },
	}
	for name, publish := range jobs {
		all[name].Age = func(_ *testing.T, q health.Queue) { publish(q) }
	}
	return all
}

func (r *redisRig) take(layout string) func(*testing.T, health.Queue) {
	return func(_ *testing.T, q health.Queue) {
		if layout == "rq" {
			r.do("ZADD", "rq:wip:"+q.Name, unixIn(time.Minute), r.do("LPOP", "rq:queue:"+q.Name))
			return
		}
		r.do("RPOPLPUSH", "bull:"+q.Name+":wait", "bull:"+q.Name+":active")
	}
}

func (r *redisRig) delay(layout string) func(*testing.T, health.Queue) {
	return func(_ *testing.T, q health.Queue) {
		if layout == "rq" {
			r.do("ZADD", "rq:scheduled:"+q.Name, unixIn(time.Minute), "later")
			return
		}
		r.do("ZADD", "bull:"+q.Name+":delayed", time.Now().Add(time.Minute).UnixMilli()*4096, "later")
	}
}

// stream is a stream with a consumer group that exists from the beginning.
func (r *redisRig) stream(layout, group string) *healthtest.Queues {
	name := group
	if name == "" {
		name = "symfony"
	}
	qs := &healthtest.Queues{
		New: func(*testing.T) health.Queue {
			q := r.queue(layout)
			q.Group = group
			r.do("XGROUP", "CREATE", q.Name, name, "0", "MKSTREAM")
			return q
		},
		Missing: func(*testing.T) health.Queue { return health.Queue{Name: "nobody's", Layout: layout, Group: group} },
		Broken:  r.broken(layout, func(q health.Queue) string { return q.Name }),
		Publish: func(_ *testing.T, q health.Queue, bodies ...string) {
			for _, b := range bodies {
				r.do("XADD", q.Name, "*", "message", b)
			}
		},
		Take: func(_ *testing.T, q health.Queue) {
			r.do("XREADGROUP", "GROUP", name, "me", "COUNT", 1, "STREAMS", q.Name, ">")
		},
		Content: func(_ *testing.T, q health.Queue) (bodies []string) {
			touched := r.do("XPENDING", q.Name, name).([]any)[0]
			for _, e := range r.do("XRANGE", q.Name, "-", "+").([]any) {
				body := fmt.Sprint(e.([]any)[1].([]any)[1])
				if touched != int64(0) {
					body += " was touched"
				}
				bodies = append(bodies, body)
			}
			return bodies
		},
		RoundTrips: 1,
	}
	if layout == "symfony" {
		qs.Delay = func(_ *testing.T, q health.Queue) {
			r.do("ZADD", q.Name+"__queue", time.Now().Add(time.Minute).UnixMilli(), "later")
		}
	}
	return qs
}

func TestRedis(t *testing.T) {
	r := newRedisRig(t)
	for name, queues := range r.layouts() {
		suite := healthtest.Suite{
			Addr: r.server.Addr, Password: nasty, Queues: queues, Row: "redis/" + name,
			Spec: func(t *testing.T, addr, password string) health.Spec { return r.spec(t, addr, password, "") },
		}
		if name != "laravel" { // what the network does to it has been seen
			suite.Addr, suite.Password = "", ""
			suite.Spec = func(t *testing.T, _, _ string) health.Spec {
				file := filepath.Join(t.TempDir(), "password")
				if err := os.WriteFile(file, []byte(nasty+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				return r.spec(t, r.server.Addr, "old", fmt.Sprintf(", password_file: %q", file))
			}
		}
		if name == "celery" { // nothing in flight is all that it can say of that
			suite.Queues.InFlightZero = true
		}
		t.Run(name, func(t *testing.T) { healthtest.Run(t, suite) })
	}
	eventually(t, "the server has no session of the probe left", func() bool {
		return !strings.Contains(fmt.Sprint(r.do("CLIENT", "LIST")), "user=probe")
	})
}

// A user who may only read these keys is enough; one who may not is told so.
func TestRedisRights(t *testing.T) {
	r := newRedisRig(t)
	r.do("ACL", "SETUSER", "probe", "reset", "on", ">"+nasty, "~queues:*", "+@read", "+select", "+ping")
	r.do("RPUSH", "queues:a", "x")
	p := health.NewProbe("c", r.plain(t), 5*time.Second)
	defer p.Close(context.Background())
	o := p.Look(t.Context(), []health.Queue{{Name: "a", Layout: "laravel"}, {Name: "secret", Layout: "list"}, {Name: "a", Layout: "laravel", Prefix: ""}})
	if !o.Up || o.Readings[0].State != health.OK || o.Readings[0].Ready != 1 || o.Readings[1].State != health.Unknown || !strings.Contains(o.Readings[1].Err, "NOPERM") {
		t.Errorf("got %+v", o)
	}
	r.do("ACL", "SETUSER", "default", "off")
	defer func() { // by a session that is still logged in
		r.do("ACL", "SETUSER", "default", "on")
	}()
	for section, reason := range map[string]string{
		fmt.Sprintf("{type: redis, url: redis://%s}", r.server.Addr):                  "NOAUTH",
		fmt.Sprintf("{type: redis, url: redis://probe:wrong@%s}", r.server.Addr):      "WRONGPASS",
		fmt.Sprintf("{type: redis, url: redis://probe@%s/%d}", r.server.Addr, 100000): "",
	} {
		o := look(t, spec(t, "redis", "%s", section), health.Queue{Name: "a", Layout: "list"})
		if o.Up || !strings.Contains(o.Err, reason) {
			t.Errorf("%s: %+v", section, o)
		}
	}
}

func TestRedisServerRestart(t *testing.T) {
	r := newRedisRig(t)
	s := spec(t, "redis", "{type: redis, url: redis://%s/%d}", r.server.Addr, r.db)
	p := health.NewProbe("c", s, 5*time.Second)
	defer p.Close(context.Background())
	q := []health.Queue{{Name: "a", Layout: "list"}}
	for range 2 {
		if o := p.Look(t.Context(), q); !o.Up {
			t.Fatalf("got %+v", o)
		}
		r.server.Kill(t)
		if o := p.Look(t.Context(), q); o.Up {
			t.Errorf("killed, but %+v", o)
		}
		r.server.Start(t)
	}
	r.server.Kill(t)
	r.server.Start(t)
	if o := p.Look(t.Context(), q); !o.Up {
		t.Errorf("started again unseen, but %+v", o)
	}
}

func TestRedisTLS(t *testing.T) {
	r := newRedisRig(t)
	r.do("RPUSH", "a", "x")
	q := health.Queue{Name: "a", Layout: "list"}
	at := func(scheme, addr, more string) health.Spec {
		u := url.URL{Scheme: scheme, User: url.UserPassword("probe", nasty), Host: addr, Path: "/" + strconv.Itoa(r.db)}
		return spec(t, "redis", "{type: redis, url: %q%s}", u.String(), more)
	}
	both := fmt.Sprintf("cert: %q, key: %q", r.server.CA, r.server.Key)
	if got := reading(t, at("rediss", r.server.TLSAddr, fmt.Sprintf(", tls: {ca: %q, %s}", r.server.CA, both)), q); got.Ready != 1 {
		t.Errorf("with tls: %+v", got)
	}
	for more, reason := range map[string]string{
		"": "certificate", ", tls: {" + both + "}": "certificate", fmt.Sprintf(", tls: {ca: %q}", r.server.CA): "", // it hangs up, sooner or later
		fmt.Sprintf(", tls: {ca: %q, server_name: other.example, %s}", r.server.CA, both): "other.example",
	} {
		if o := look(t, at("rediss", r.server.TLSAddr, more), q); o.Up || !strings.Contains(o.Err, reason) {
			t.Errorf("%s: %+v", more, o)
		}
	}
	if o := look(t, at("rediss", r.server.Addr, fmt.Sprintf(", tls: {ca: %q, %s}", r.server.CA, both)), q); o.Up {
		t.Errorf("TLS with a plain port: %+v", o)
	}
}

func TestRedisWatch(t *testing.T) {
	r := newRedisRig(t)
	conn, err := r.plain(t).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	q := health.Queue{Name: "default", Layout: "laravel"}
	if err := conn.(health.Waker).Watch(t.Context(), []health.Queue{q}, func() { t.Error("woken though events are off") }); err != nil {
		t.Errorf("events are off, but %v", err)
	}
	if on := fmt.Sprint(r.do("CONFIG", "GET", "notify-keyspace-events")); strings.ContainsAny(strings.TrimPrefix(on, "map[notify-keyspace-events"), "KAlzt") {
		t.Fatalf("the probe has switched them on: %s", on)
	}
	r.do("CONFIG", "SET", "notify-keyspace-events", "Kltz")
	defer r.do("CONFIG", "SET", "notify-keyspace-events", "")
	for layout, publish := range map[string][]any{
		"laravel": {"RPUSH", "queues:default", "x"}, "symfony": {"XADD", "default", "*", "message", "x"},
		"bullmq": {"LPUSH", "bull:default:wait", "1"}, "celery": {"LPUSH", "default\x06\x166", "x"},
	} {
		r.do("FLUSHDB")
		q := health.Queue{Name: "default", Layout: layout}
		w := healthtest.Watched{
			Spec: r.plain(t), Queue: q, Publish: func() { r.do(publish...) },
			Aside: func() { r.do("RPUSH", "elsewhere", "x"); r.do("ZADD", "queues:default:reserved", 1, "x") },
		}
		if layout == "laravel" {
			w.Cut = func() { r.do("CLIENT", "KILL", "TYPE", "pubsub") }
		}
		t.Run(layout, func(t *testing.T) { healthtest.Watch(t, w) })
	}
}

func TestRedisRefuses(t *testing.T) {
	refused(t, "redis", map[string]string{
		"{type: redis}":                                      "url is missing",
		`{type: redis, url: "u:hidden@h:1"}`:                 "url must be",
		`{type: redis, url: "http://u:hidden@h:1"}`:          "url must be",
		`{type: redis, url: "redis://u:hidden@h:1/x"}`:       "number of a database",
		`{type: redis, url: "redis://h?hidden=1"}`:           "no parameters",
		`{type: redis, url: "redis://u:hidden@h", tls: {}}`:  "rediss://",
		`{type: redis, url: "redis://h", timeout: 0s}`:       "must be more than 0",
		`{type: redis, url: "redis://h", table_prefix: "x"}`: "unknown key",
	})
	refusedQueues(t, "redis", map[string]health.Queue{
		"name is missing": {Layout: "list"}, "group is for": {Name: "x", Layout: "laravel", Group: "g"},
	})
	o := look(t, spec(t, "redis", "{type: redis, url: \"redis://%s\", password_file: /no/such}", servers.RedisServer(t).Addr))
	if o.Up || !strings.Contains(o.Err, "password_file") {
		t.Errorf("got %+v", o)
	}
}

// A queue that is looked for under a wrong prefix seems to be empty: what is behind
// another one is found, if it can be a queue and carries exactly its name.
func TestRedisElsewhere(t *testing.T) {
	t.Parallel()
	r := newRedisRig(t)
	r.do("RPUSH", "shop_database_queues:orders", "job")
	r.do("ZADD", "busy_queues:mails:reserved", 1, "job")
	r.do("RPUSH", "app:plain", "job")
	r.do("XADD", "app:events", "*", "a", "b")
	r.do("RPUSH", "other:bulk:wait", "job")
	r.do("RPUSH", "bull:letters:wait", "job")
	r.do("RPUSH", "ns:queue:low", "job")
	r.do("SET", "cache:text", "x")
	r.do("RPUSH", "shop_queues:orders_old", "job")
	r.do("RPUSH", "x:a*b", "job")
	r.do("RPUSH", "x:acb", "job")
	for _, c := range []struct {
		q    health.Queue
		want string
	}{
		{health.Queue{Name: "orders", Layout: "laravel"}, `"shop_database_"`},
		{health.Queue{Name: "orders", Layout: "laravel", Prefix: "laravel_database_"}, `"shop_database_"`},
		{health.Queue{Name: "orders", Layout: "laravel", Prefix: "shop_database_"}, ""},
		{health.Queue{Name: "mails", Layout: "laravel"}, `"busy_"`},
		{health.Queue{Name: "nothing", Layout: "laravel"}, ""},
		{health.Queue{Name: "plain", Layout: "list"}, `"app:"`},
		{health.Queue{Name: "events", Layout: "stream"}, `"app:"`},
		{health.Queue{Name: "bulk", Layout: "bullmq"}, `"other"`},
		{health.Queue{Name: "bulk", Layout: "bullmq", Prefix: "other"}, ""},
		{health.Queue{Name: "letters", Layout: "bullmq"}, ""}, // its own, behind the default prefix
		{health.Queue{Name: "low", Layout: "sidekiq"}, `"ns:"`},
		{health.Queue{Name: "text", Layout: "list"}, ""},
		{health.Queue{Name: "a*b", Layout: "list"}, `"x:"`},
	} {
		got := health.Elsewhere(t.Context(), r.plain(t), c.q)
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, not %s", c.q, got, c.want)
		}
	}
	if got := health.Elsewhere(t.Context(), r.spec(t, "127.0.0.1:1", nasty, ""), health.Queue{Name: "orders", Layout: "laravel"}); got != "" {
		t.Errorf("without a server: %q", got)
	}
}
