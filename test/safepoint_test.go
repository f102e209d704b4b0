package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"qsuper/test/servers"
)

// Fifty stops in the middle of work of a consumer that knows no signal: each
// ends between two messages, so none is cut in half, handled twice or left "in
// progress", where Magento would not touch it again for a day.
func TestStopsBetweenTwoMessages(t *testing.T) {
	const stops, messages = 50, 3000
	a, db := mariaApp(t, "magento/bin/magento")
	a.env["APP_WORK_MS"] = "3"
	a.run("app:setup")
	a.run("app:publish", fmt.Sprint(messages), "orders")
	d := startDaemon(t, a.file(db, "type: magento", "spawn: always", "max_messages: 100000", "stop: {grace: 60s}"))
	idle := 0
	for n := range stops {
		d.UntilRunning("orders", 1)
		at := a.handled().len(t)
		eventually(t, time.Minute, "it works", func() bool { return a.handled().len(t) > at || at >= messages })
		if r := d.Run("stop", "orders"); r.Code != 0 {
			t.Fatalf("stop %d: code %d\n%s%s", n, r.Code, r.Stdout, r.Stderr)
		}
		if a.handled().len(t) < messages {
			idle++
		}
		d.Must("start", "orders")
	}
	eventually(t, time.Minute, "all messages are handled", func() bool { return a.handled().len(t) >= messages })
	d.Must("stop", "orders")
	a.handled().once(t, messages)
	t.Logf("%d of %d stops fell into work", idle, stops)
	if idle < stops/2 {
		t.Errorf("only %d of %d stops fell into work", idle, stops)
	}
}

// Four such consumers on one queue, all of them always busy, and a message that a crash
// has left in progress: what is in progress does not say whose it is. Each stop, of one
// and of all, finds the moment between two messages of each.
func TestStopsOfManyOnOneQueue(t *testing.T) {
	const instances, single, messages = 4, 3, 2500
	a, db := mariaApp(t, "magento/bin/magento")
	a.env["APP_WORK_MS"] = "60"
	a.run("app:setup")
	a.run("app:publish", fmt.Sprint(messages), "orders")
	name := a.env["DATABASE_URL"][strings.LastIndex(a.env["DATABASE_URL"], "/")+1:]
	servers.MariaDB(t).Exec(t, fmt.Sprintf("INSERT INTO `%s`.queue_message_status (queue_id, message_id, status, updated_at) "+
		"SELECT id, 999999, 3, NOW() - INTERVAL 10 HOUR FROM `%[1]s`.queue", name))
	d := startDaemon(t, a.file(db, "type: magento", "spawn: always", fmt.Sprintf("instances: %d", instances), "max_messages: 100000", "stop: {grace: 280s}"))
	busy, at := 0, 0
	stop := func(names string) {
		d.UntilRunning("orders", instances)
		eventually(t, time.Minute, "they work", func() bool { n := a.handled().len(t); return n > at+instances || n >= messages })
		if a.handled().len(t) < messages {
			busy++
		}
		began := time.Now()
		if r := d.Run("stop", names, "--timeout", "300s"); r.Code != 0 || !strings.Contains(r.Stdout, "between two messages") {
			t.Fatalf("stop %s: code %d\n%s%s", names, r.Code, r.Stdout, r.Stderr)
		}
		at = a.handled().len(t)
		t.Logf("%s stopped after %.1f s; %d messages are handled", names, time.Since(began).Seconds(), at)
		d.Must("start", names)
	}
	for n := range single {
		stop(fmt.Sprintf("orders/%d", n))
	}
	stop("orders")
	eventually(t, 2*time.Minute, "all messages are handled", func() bool { return a.handled().len(t) >= messages })
	d.Must("stop", "orders")
	a.handled().once(t, messages)
	t.Logf("%d of %d stops began in the middle of work", busy, single+1) // on a slow machine a stop may last until the queue is empty
	if busy < 2 {
		t.Errorf("only %d of %d stops began in the middle of work", busy, single+1)
	}
}
