package backends_test

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"qsuper/health"
	"qsuper/health/healthtest"
	"qsuper/test/servers"
)

// nasty is a password that must be escaped everywhere.
const nasty = `p@ss/w:rd%ü "x"#`

// rabbitRig is a vhost, an administrator's channel in it, and a user who may do
// nothing there: what a probe as that user gets, it gets by reading.
type rabbitRig struct {
	broker  *servers.Rabbit
	url     string // of the administrator
	user    string
	channel *amqp.Channel
	queues  atomic.Int64
}

func newRabbitRig(t *testing.T) *rabbitRig {
	t.Helper()
	r := &rabbitRig{broker: servers.RabbitMQ(t)}
	r.url = r.broker.NewVhost(t)
	r.user = "probe-" + r.url[strings.LastIndex(r.url, "/")+1:]
	r.broker.NewUser(t, r.url, r.user, nasty, "^$")
	conn, err := amqp.Dial(r.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if r.channel, err = conn.Channel(); err != nil {
		t.Fatal(err)
	}
	return r
}

// amqpURL is the URL of the powerless user at another address.
func (r *rabbitRig) amqpURL(t *testing.T, addr, password string) string {
	u, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	u.Host, u.User = addr, url.UserPassword(r.user, password)
	return u.String()
}

func (r *rabbitRig) addr(t *testing.T) string {
	u, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func (r *rabbitRig) declare(t *testing.T) health.Queue {
	t.Helper()
	name := fmt.Sprintf("orders %d/ü", r.queues.Add(1))
	if _, err := r.channel.QueueDeclare(name, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	return health.Queue{Name: name}
}

func (r *rabbitRig) publish(t *testing.T, q health.Queue, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if err := r.channel.PublishWithContext(t.Context(), "", q.Name, true, false, amqp.Publishing{Body: []byte(body), Timestamp: time.Now().Add(-time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *rabbitRig) get(t *testing.T, q health.Queue, ack bool) (amqp.Delivery, bool) {
	t.Helper()
	d, ok, err := r.channel.Get(q.Name, ack)
	if err != nil {
		t.Fatal(err)
	}
	return d, ok
}

func (r *rabbitRig) content(t *testing.T, q health.Queue) []string {
	var bodies []string
	for {
		d, ok := r.get(t, q, true)
		if !ok {
			return bodies
		}
		if d.Redelivered {
			d.Body = append(d.Body, " was delivered before"...)
		}
		bodies = append(bodies, string(d.Body))
	}
}

func TestRabbitMQ(t *testing.T) {
	r := newRabbitRig(t)
	queues := &healthtest.Queues{
		New:        r.declare,
		Missing:    func(*testing.T) health.Queue { return health.Queue{Name: "nobody's"} },
		Publish:    r.publish,
		Content:    r.content,
		RoundTrips: 1,
	}
	suite := healthtest.Suite{Addr: r.addr(t), Password: nasty, Queues: queues}
	suite.Spec = func(t *testing.T, addr, password string) health.Spec {
		return spec(t, "rabbitmq", "{type: rabbitmq, url: %q}", r.amqpURL(t, addr, password))
	}
	t.Run("amqp", func(t *testing.T) { healthtest.Run(t, suite) })

	queues.Take = func(t *testing.T, q health.Queue) { r.get(t, q, false) }
	queues.Age = func(t *testing.T, q health.Queue) { r.publish(t, q, "a") }
	suite.Row = "rabbitmq"
	suite.Addr, suite.Password = "", "" // what the network does to it has been seen
	suite.Spec = func(t *testing.T, _, _ string) health.Spec {
		file := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(file, []byte(nasty+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return spec(t, "rabbitmq", "{type: rabbitmq, url: %q, management_url: %q, password_file: %q}",
			r.amqpURL(t, r.addr(t), "old"), r.broker.ManagementURL, file)
	}
	t.Run("management", func(t *testing.T) { healthtest.Run(t, suite) })
}

func TestRabbitMQConsumersAndAge(t *testing.T) {
	r := newRabbitRig(t)
	q := r.declare(t)
	r.publish(t, q, "a")
	s := spec(t, "rabbitmq", "{type: rabbitmq, url: %q, management_url: %q}", r.url, r.broker.ManagementURL)
	eventually(t, "the age of the message is known", func() bool {
		got := reading(t, s, q)
		return got.Ready == 1 && got.Consumers == 0 && got.Oldest >= time.Minute && got.Oldest < 2*time.Minute
	})
	if _, err := r.channel.Consume(q.Name, "", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the consumer and the message it holds are seen", func() bool {
		got := reading(t, s, q)
		return got.Ready == 0 && got.Consumers == 1 && got.InFlight == 1
	})
}

// A queue that appears is seen soon; until then the broker is not bothered.
func TestRabbitMQMissingQueueAppears(t *testing.T) {
	r := newRabbitRig(t)
	s := spec(t, "rabbitmq", "{type: rabbitmq, url: %q}", r.url)
	p := health.NewProbe("c", s, 5*time.Second)
	defer p.Close(t.Context())
	q := health.Queue{Name: "late"}
	if got := p.Look(t.Context(), []health.Queue{q}).Readings[0]; got.State != health.Missing || !strings.Contains(got.Err, "no queue 'late'") {
		t.Fatalf("got %+v", got)
	}
	if _, err := r.channel.QueueDeclare("late", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is seen", func() bool {
		return p.Look(t.Context(), []health.Queue{q}).Readings[0].State == health.OK
	})
}

// An exclusive queue of another connection is there, but nobody else may ask.
func TestRabbitMQLockedQueueIsUnknown(t *testing.T) {
	r := newRabbitRig(t)
	if _, err := r.channel.QueueDeclare("mine", false, false, true, false, nil); err != nil {
		t.Fatal(err)
	}
	got := reading(t, spec(t, "rabbitmq", "{type: rabbitmq, url: %q}", r.url), health.Queue{Name: "mine"})
	if got.State != health.Unknown || !strings.Contains(got.Err, "RESOURCE_LOCKED") {
		t.Errorf("got %+v", got)
	}
}

// The broker itself ends the connection, as in a restart of it.
func TestRabbitMQBrokerEndsTheConnection(t *testing.T) {
	r := newRabbitRig(t)
	q := r.declare(t)
	p := health.NewProbe("c", spec(t, "rabbitmq", "{type: rabbitmq, url: %q}", r.amqpURL(t, r.addr(t), nasty)), 5*time.Second)
	defer p.Close(t.Context())
	if o := p.Look(t.Context(), []health.Queue{q}); !o.Up {
		t.Fatal(o.Err)
	}
	var mine []struct {
		Name   string
		User   string
		Client struct {
			Name string `json:"connection_name"`
		} `json:"client_properties"`
	}
	eventually(t, "the broker lists the connection", func() bool {
		r.broker.API(t, http.MethodGet, "/api/vhosts/"+r.url[strings.LastIndex(r.url, "/")+1:]+"/connections", nil, &mine)
		for _, c := range mine {
			if c.User == r.user && c.Client.Name == "qsuper" {
				r.broker.API(t, http.MethodDelete, "/api/connections/"+url.PathEscape(c.Name), nil, nil)
				return true
			}
		}
		return false
	})
	eventually(t, "it is up again", func() bool { return p.Look(t.Context(), []health.Queue{q}).Up })
}

// The depth must not wait for, or go down with, the management API.
func TestRabbitMQManagementTrouble(t *testing.T) {
	r := newRabbitRig(t)
	q := r.declare(t)
	r.publish(t, q, "a")
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }))
	defer hang.Close()
	huge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for req.Context().Err() == nil {
			fmt.Fprint(w, strings.Repeat(" ", 1<<16))
		}
	}))
	defer huge.Close()
	for name, c := range map[string]struct{ url, reason string }{
		"wrong password": {strings.Replace(r.broker.ManagementURL, "://", "://guest:hidden@", 1), "status 401"},
		"hangs":          {hang.URL, "does not answer"},
		"endless":        {huge.URL, "not known"},
		"refused":        {"http://127.0.0.1:1", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			got := look(t, spec(t, "rabbitmq", "{type: rabbitmq, url: %q, management_url: %q}", r.url, c.url), q)
			m := got.Readings[0]
			if !got.Up || m.State != health.OK || m.Ready != 1 || m.InFlight != health.NotKnown || !strings.Contains(m.Err, c.reason) || strings.Contains(m.Err, "hidden") {
				t.Errorf("got %+v", got)
			}
			if got.Latency > 3*time.Second {
				t.Errorf("it took %s", got.Latency)
			}
		})
	}
}

// TLS begins before AMQP does, so any server that unwraps it will do.
func TestRabbitMQTLS(t *testing.T) {
	r := newRabbitRig(t)
	q := r.declare(t)
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", r.addr(t))
			if err != nil {
				c.Close()
				return
			}
			go func() { _, _ = io.Copy(s, c); s.Close() }()
			go func() { _, _ = io.Copy(c, s); c.Close() }()
		}
	}()
	amqps := strings.Replace(r.amqpURL(t, l.Addr().String(), nasty), "amqp:", "amqps:", 1)
	if got := reading(t, spec(t, "rabbitmq", "{type: rabbitmq, url: %q, tls: {ca: %q}}", amqps, ca), q); got.State != health.OK {
		t.Errorf("got %+v", got)
	}
	for section, reason := range map[string]string{
		fmt.Sprintf("{type: rabbitmq, url: %q}", amqps):                                                 "certificate",
		fmt.Sprintf("{type: rabbitmq, url: %q, tls: {ca: %q, server_name: other.example}}", amqps, ca):  "other.example",
		fmt.Sprintf("{type: rabbitmq, url: %q}", strings.Replace(amqps, "127.0.0.1:", "localhost:", 1)): "localhost",
	} {
		if o := look(t, spec(t, "rabbitmq", "%s", section), q); o.Up || !strings.Contains(o.Err, reason) {
			t.Errorf("%s: %+v", section, o)
		}
	}
}

func TestRabbitMQRefuses(t *testing.T) {
	refused(t, "rabbitmq", map[string]string{
		"{type: rabbitmq}": "url is missing",
		`{type: rabbitmq, url: "amqp://u:hid den@h"}`:                                   "url must be amqp://",
		`{type: rabbitmq, url: "amqp://u:hidden/@h:1"}`:                                 "url must be amqp://",
		`{type: rabbitmq, url: "http://u:hidden@h"}`:                                    "url must be amqp://",
		`{type: rabbitmq, url: "amqp://h?auth_mechanism=x"}`:                            "auth_mechanism",
		`{type: rabbitmq, url: "amqp://h", tls: {}}`:                                    "tls needs",
		`{type: rabbitmq, url: "amqp://h", management_url: "x"}`:                        "management_url must be http://",
		`{type: rabbitmq, url: "amqp://h", dsn: x}`:                                     "unknown key",
		`{type: rabbitmq, url: "amqps://u:hidden@h", management_url: "http://h:15672"}`: "in plain text",
	})
	refusedQueues(t, "rabbitmq", map[string]health.Queue{
		"name is missing": {}, "longer": {Name: strings.Repeat("x", 256)},
	})
}

func TestRabbitMQWrongPassword(t *testing.T) {
	r := newRabbitRig(t)
	o := look(t, spec(t, "rabbitmq", "{type: rabbitmq, url: %q}", r.amqpURL(t, r.addr(t), "wrong")), health.Queue{Name: "x"})
	if o.Up || !strings.Contains(o.Err, "ACCESS_REFUSED") || !strings.Contains(o.Err, "asked again every 30s") || o.Latency > 2*time.Second {
		t.Errorf("got %+v", o)
	}
}

func TestRabbitMQWrongVhost(t *testing.T) {
	o := look(t, spec(t, "rabbitmq", "{type: rabbitmq, url: %q}", servers.RabbitMQ(t).AMQPURL+"/nobody"), health.Queue{Name: "x"})
	if o.Up || !strings.Contains(o.Err, "vhost") {
		t.Errorf("got %+v", o)
	}
}

func holder(t *testing.T, section string, args ...any) health.Holder {
	t.Helper()
	c, err := spec(t, "rabbitmq", section, args...).Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(health.Holder)
}

// What a client holds is told once it has done nothing for long enough, by its address;
// about others, or one that must not stand still for so long, nothing is said.
func TestRabbitMQTellsWhatAClientHolds(t *testing.T) {
	r := newRabbitRig(t)
	client := func(beat string) (health.Holder, *amqp.Channel, netip.AddrPort) {
		var socket net.Conn
		interval, _ := time.ParseDuration(beat)
		conn, err := amqp.DialConfig(r.url, amqp.Config{Heartbeat: interval, Dial: func(network, addr string) (net.Conn, error) {
			var err error
			socket, err = net.Dial(network, addr)
			return socket, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		return holder(t, "{type: rabbitmq, url: %q, management_url: %q, statistics_interval: 500ms}", r.url, r.broker.ManagementURL), ch, socket.LocalAddr().(*net.TCPAddr).AddrPort()
	}
	h, ch, end := client("60s")
	held := func(ends ...netip.AddrPort) (int64, error) { return h.Held(t.Context(), ends) }
	if h.Lag() != 6500*time.Millisecond {
		t.Errorf("lag %v", h.Lag())
	}
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Publish("", q.Name, false, false, amqp.Publishing{Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	var m amqp.Delivery
	for ok := false; !ok; {
		if m, ok, err = ch.Get(q.Name, false); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(h.Lag()) // the promise is about this very time
	if n, err := held(end); n != 1 || err != nil {
		t.Errorf("one is held: %d, %v", n, err)
	}
	if err := m.Ack(false); err != nil {
		t.Fatal(err)
	}
	<-time.After(h.Lag())
	if n, err := held(end, netip.MustParseAddrPort("192.0.2.1:1")); n != 0 || err != nil {
		t.Errorf("none is held: %d, %v", n, err)
	}
	if _, err := held(netip.MustParseAddrPort("192.0.2.1:1")); err == nil || !strings.Contains(err.Error(), "known") {
		t.Errorf("a stranger: %v", err)
	}
	_, _, hasty := client("5s")
	eventually(t, "its heartbeat is known", func() bool {
		_, err := held(hasty)
		return err != nil && strings.Contains(err.Error(), "heartbeat of 5s")
	})
	without := holder(t, "{type: rabbitmq, url: %q}", r.url)
	if _, err := without.Held(t.Context(), nil); err == nil || without.Lag() != 0 {
		t.Errorf("without a management_url: %v, %v", err, without.Lag())
	}
}
