package test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"qsuper/test/servers"
)

// redisApp is an application with its queue "orders" in a Redis.
type redisApp struct {
	*app
	server  *servers.Redis
	preset  string
	publish func(n int)
	left    func() int // messages that wait or are with a worker
}

// length is what a command that counts answers.
func length(t *testing.T, server *servers.Redis, words ...string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimPrefix(server.Do(t, words...), ":"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func symfonyOnRedis(t *testing.T) *redisApp {
	r := &redisApp{app: newApp(t, "symfony/bin/console"), server: servers.RedisServer(t), preset: "type: symfony, receivers: [async]"}
	// Workers with one name would take each other's messages.
	r.env["MESSENGER_DSN"] = "redis://" + r.server.Addr + "/orders/symfony/worker-{slot}?delete_after_ack=1"
	r.publish = func(n int) { r.run("app:publish", fmt.Sprint(n)) }
	r.left = func() int { return length(t, r.server, "XLEN", "orders") }
	return r
}

func laravelOnRedis(t *testing.T) *redisApp {
	r := &redisApp{app: newApp(t, "laravel/artisan"), server: servers.RedisServer(t), preset: "type: laravel, args: [--sleep=1]"}
	r.env["REDIS_URL"] = "redis://" + r.server.Addr + "/0"
	r.publish = func(n int) { r.run("app:publish", fmt.Sprint(n), "--queue=orders") }
	r.left = func() int {
		return length(t, r.server, "LLEN", "app_database_queues:orders") + length(t, r.server, "ZCARD", "app_database_queues:orders:reserved") +
			length(t, r.server, "ZCARD", "app_database_queues:orders:delayed")
	}
	return r
}

// Genuine workers of both frameworks: none while nothing waits, four for many
// messages, none again; each message is handled once. Twice, because what the
// first round leaves behind (streams, groups, the frameworks' own sets) is what
// the second finds.
func TestWorkersOnRedisFromZeroToFourAndBack(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T) *redisApp{"symfony": symfonyOnRedis, "laravel": laravelOnRedis} {
		t.Run(name, func(t *testing.T) { prepare(t).fromZeroToFourAndBack() })
	}
}

func (r *redisApp) fromZeroToFourAndBack() {
	t := r.t
	const messages = 120
	r.server.Do(t, "FLUSHDB")
	t.Cleanup(func() { r.server.Do(t, "FLUSHDB") })
	r.env["APP_WORK_MS"] = "30"
	file := r.file(fmt.Sprintf("{type: redis, url: \"redis://%s/0\"}", r.server.Addr), r.preset,
		"instances: {min: 0, max: 4, per_instance: 10, cooldown: 500ms}", "idle_timeout: 1s", "max_messages: 50")
	if strings.Contains(r.preset, "laravel") {
		file = strings.Replace(file, "name: orders}", "name: orders, prefix: app_database_}", 1)
	}
	d := startDaemon(t, file)
	eventually(t, patience, "the queue is known", func() bool { c := d.Consumer("orders"); return c.Queue != nil && c.Queue.State != "unknown" })
	if c := d.Consumer("orders"); c.Running != 0 {
		t.Errorf("before any message: %+v", c)
	}
	for round := 1; round <= 2; round++ {
		r.publish(messages)
		eventually(t, patience, "four instances run", func() bool { return d.Consumer("orders").Running == 4 })
		eventually(t, patience, "all messages are handled", func() bool { return r.handled().len(t) >= round*messages })
		eventually(t, patience, "no instance runs", func() bool { c := d.Consumer("orders"); return c.Running == 0 && c.State == "waiting" })
		if n := r.left(); n != 0 {
			t.Errorf("round %d: Redis still has %d messages", round, n)
		}
		c := d.Consumer("orders")
		if c.Crashes != 0 || c.Queue.State != "ok" || c.Queue.Ready == nil || *c.Queue.Ready != 0 {
			t.Errorf("round %d: status at the end: %+v", round, c)
		}
	}
	d.StopAll()
	seen := map[string]int{}
	for _, e := range r.handled().read(t) {
		seen[e.ID]++
	}
	for id, n := range seen {
		if n != 2 { // both rounds have the same names
			t.Errorf("message %s was handled %d times in two rounds", id, n)
		}
	}
	if len(seen) != messages {
		t.Errorf("%d different messages were handled, want %d", len(seen), messages)
	}
	t.Logf("2 × %d messages by %d processes", messages, r.processes().runs(t))
}
