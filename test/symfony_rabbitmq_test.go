package test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"qsuper/test/servers"
)

// rabbitShop is a shop on a vhost of its own.
func rabbitShop(t *testing.T) *shop {
	s := newShop(t)
	broker := servers.RabbitMQ(t)
	url := broker.NewVhost(t)
	vhost := url[strings.LastIndex(url, "/")+1:]
	s.connection = fmt.Sprintf("{type: rabbitmq, url: %q, management_url: %q}", url, broker.ManagementURL)
	s.env["MESSENGER_DSN"] = url + "/orders"
	s.inFlight = func() int {
		var q struct {
			Unacked int `json:"messages_unacknowledged"`
		}
		broker.API(t, http.MethodGet, "/api/queues/"+vhost+"/orders", nil, &q)
		return q.Unacked
	}
	// The management API is half a second late; the broker itself is not. What a
	// consumer had taken is ready again at the latest when its connection is gone.
	s.left = func() int {
		conn, err := amqp.Dial(url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		q, err := ch.QueueDeclarePassive("orders", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		return q.Messages
	}
	return s
}

func TestSymfonyOnRabbitMQWhileTheEngineIsKilled(t *testing.T) { rabbitShop(t).engineKilled() }

func TestSymfonyOnRabbitMQStoppedInTheMiddle(t *testing.T) { rabbitShop(t).stoppedInTheMiddle() }
