package test

import (
	"context"
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"qsuper/test/servers"
)

// publish puts numbered messages into a queue of its own.
func publish(t *testing.T, url, queue string, n int) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	var last *amqp.DeferredConfirmation
	for i := range n {
		if last, err = ch.PublishWithDeferredConfirm("", queue, false, false, amqp.Publishing{Body: fmt.Appendf(nil, "m-%d", i+1)}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if ok, err := last.WaitContext(ctx); !ok || err != nil {
		t.Fatalf("published: %v, %v", ok, err)
	}
}

// Fifty stops in the middle of work, of consumers that know no signal and whose
// broker says seconds late who holds what: each ends between two messages, while
// the others go on. None is cut in half, so none comes for the second time.
func TestStopsBetweenTwoMessagesOfRabbitMQ(t *testing.T) {
	const instances, rounds, messages = 25, 2, 9000
	broker := servers.RabbitMQ(t)
	url := broker.NewVhost(t)
	a := newApp(t, "amqp/get")
	a.env["AMQP_URL"], a.env["APP_WORK_MS"], a.env["APP_REST_MS"] = url, "15", "60"
	publish(t, url, "orders", messages)
	text := fmt.Sprintf("connections:\n  broker: {type: rabbitmq, url: %q, management_url: %q, statistics_interval: 500ms}\nconsumers:\n  orders:\n    command: [php, %q, orders]\n"+
		"    queue: {connection: broker, name: orders}\n    spawn: always\n    instances: %d\n    stop: {grace: 120s, wait_for: idle}\n    env:\n", url, broker.ManagementURL, a.console, instances)
	for k, v := range a.env {
		text += fmt.Sprintf("      %s: %q\n", k, v)
	}
	d := startDaemon(t, text)
	busy := 0
	for round := range rounds {
		d.UntilRunning("orders", instances)
		at := a.handled().len(t)
		eventually(t, time.Minute, "they work", func() bool { return a.handled().len(t) > at+2*instances })
		began := time.Now()
		if r := d.Run("stop", "orders"); r.Code != 0 {
			t.Fatalf("stop %d: code %d\n%s%s", round, r.Code, r.Stdout, r.Stderr)
		}
		if a.handled().len(t) < messages {
			busy += instances
		}
		t.Logf("%d stopped after %v, %d messages are handled", instances, time.Since(began).Round(time.Millisecond), a.handled().len(t))
		d.Must("start", "orders")
	}
	eventually(t, 5*time.Minute, "all messages are handled", func() bool { return a.handled().len(t) >= messages })
	d.Must("stop", "orders")
	a.handled().once(t, messages)
	for _, e := range a.processes().read(t) {
		if e.Event == "redelivered" {
			t.Errorf("%s was cut in half: it came again, to %s", e.ID, e.Run)
		}
	}
	if busy < rounds*instances {
		t.Errorf("only %d of %d stops fell into work", busy, rounds*instances)
	}
}
