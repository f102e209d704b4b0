package test

import (
	"fmt"
	"testing"
	"time"
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
