package backends_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"qsuper/health"
	"qsuper/health/healthtest"
	"qsuper/test/servers"
)

// natsRig is a server with a session of its own.
type natsRig struct {
	t      *testing.T
	server *servers.Small
	js     nats.JetStreamContext
	names  atomic.Int64
}

func newNATSRig(t *testing.T, server *servers.Small, more ...nats.Option) *natsRig {
	t.Helper()
	nc, err := nats.Connect("nats://"+server.Addr, append(more, nats.UserInfo("probe", nasty), nats.MaxReconnects(-1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	r := &natsRig{t: t, server: server}
	if r.js, err = nc.JetStream(); err != nil {
		t.Fatal(err)
	}
	r.must(r.js.AccountInfo()) // the first request makes what the session keeps
	return r
}

func (r *natsRig) must(_ any, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *natsRig) url(scheme, addr, password string) string {
	u := url.URL{Scheme: scheme, User: url.UserPassword("probe", password), Host: addr}
	return u.String()
}

func (r *natsRig) spec(t *testing.T, addr, password string) health.Spec {
	return spec(t, "nats", "{type: nats, url: %q}", r.url("nats", addr, password))
}

// queue makes a work queue with its consumer.
func (r *natsRig) queue() health.Queue {
	q := health.Queue{Name: fmt.Sprint("s", r.names.Add(1)), Group: "workers"}
	r.must(r.js.AddStream(&nats.StreamConfig{Name: q.Name, Subjects: []string{q.Name}, Retention: nats.WorkQueuePolicy}))
	r.must(r.js.AddConsumer(q.Name, &nats.ConsumerConfig{Durable: q.Group, AckPolicy: nats.AckExplicitPolicy, AckWait: time.Minute}))
	return q
}

func (r *natsRig) take(q health.Queue) *nats.Msg {
	sub, err := r.js.PullSubscribe(q.Name, q.Group, nats.Bind(q.Name, q.Group))
	r.must(nil, err)
	list, err := sub.Fetch(1, nats.MaxWait(5*time.Second))
	r.must(nil, err)
	return list[0]
}

func TestNATS(t *testing.T) {
	r := newNATSRig(t, servers.NATS(t, nasty, false))
	healthtest.Run(t, healthtest.Suite{
		Addr: r.server.Addr, Password: nasty, Row: "nats",
		Spec: r.spec,
		Queues: &healthtest.Queues{
			New:     func(*testing.T) health.Queue { return r.queue() },
			Missing: func(*testing.T) health.Queue { return health.Queue{Name: "nobody", Group: "workers"} },
			Publish: func(_ *testing.T, q health.Queue, bodies ...string) {
				for _, b := range bodies {
					r.must(r.js.Publish(q.Name, []byte(b)))
				}
			},
			Take: func(_ *testing.T, q health.Queue) { r.take(q) },
			Age:  func(_ *testing.T, q health.Queue) { r.must(r.js.Publish(q.Name, nil)) },
			Content: func(_ *testing.T, q health.Queue) (bodies []string) {
				for range 3 {
					m := r.take(q)
					body := string(m.Data)
					if meta, err := m.Metadata(); err != nil || meta.NumDelivered != 1 {
						body += " was touched"
					}
					bodies = append(bodies, body)
				}
				return bodies
			},
			RoundTrips: 1,
		},
	})
}

func TestNATSRules(t *testing.T) {
	r := newNATSRig(t, servers.NATS(t, nasty, false))
	want := func(what string, q health.Queue, state health.State, ready, flight int64) {
		t.Helper()
		if got := reading(t, r.spec(t, r.server.Addr, nasty), q); got.State != state || got.Ready != ready || got.InFlight != flight {
			t.Errorf("%s: want %s, ready %d, in flight %d; got %+v", what, state, ready, flight, got)
		}
	}
	r.must(r.js.AddStream(&nats.StreamConfig{Name: "early", Subjects: []string{"early.>"}}))
	r.must(r.js.Publish("early.a", nil))
	r.must(r.js.Publish("early.b", nil))
	q := health.Queue{Name: "early", Group: "workers"}
	want("the first worker makes the consumer: everything waits", q, health.OK, 2, 0)
	want("no stream", health.Queue{Name: "late", Group: "workers"}, health.Missing, -1, -1)
	r.must(r.js.AddConsumer("early", &nats.ConsumerConfig{Durable: "workers", AckPolicy: nats.AckExplicitPolicy, AckWait: 500 * time.Millisecond, FilterSubject: "early.a"}))
	want("the consumer's own subject", q, health.OK, 1, 0)
	sub, err := r.js.PullSubscribe("early.a", "workers", nats.Bind("early", "workers"))
	r.must(nil, err)
	_, err = sub.Fetch(1)
	r.must(nil, err)
	// A worker that dies with it: only one that lives would be given it again.
	eventually(t, "what was not acknowledged waits again", func() bool {
		got := reading(t, r.spec(t, r.server.Addr, nasty), q)
		return got.Ready == 1 && got.InFlight == 0
	})
	old := r.queue()
	r.must(r.js.Publish(old.Name, nil))
	if got := reading(t, r.spec(t, r.server.Addr, nasty), old); got.Oldest < 0 || got.Oldest > time.Minute {
		t.Errorf("the age of a work queue: %+v", got)
	}
	p := health.NewProbe("c", r.spec(t, r.server.Addr, nasty), 5*time.Second)
	defer p.Close(t.Context())
	for range 2 {
		if o := p.Look(t.Context(), []health.Queue{old}); !o.Up || o.Readings[0].Ready != 1 {
			t.Errorf("got %+v", o)
		}
		r.server.Kill(t)
		if o := p.Look(t.Context(), []health.Queue{old}); o.Up {
			t.Errorf("killed, but %+v", o)
		}
		r.server.Start(t)
		eventually(t, "JetStream is back", func() bool { o := p.Look(t.Context(), []health.Queue{old}); return o.Up && o.Readings[0].Ready == 1 })
	}
}

func TestNATSTLS(t *testing.T) {
	server := servers.NATS(t, nasty, true)
	pem, err := os.ReadFile(server.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair(server.CA, server.Key)
	if err != nil {
		t.Fatal(err)
	}
	r := newNATSRig(t, server, nats.Secure(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}))
	q := r.queue()
	both := fmt.Sprintf("cert: %q, key: %q", server.CA, server.Key)
	section := func(scheme, addr, more string) health.Spec {
		return spec(t, "nats", "{type: nats, url: %q%s}", r.url(scheme, addr, nasty), more)
	}
	if got := reading(t, section("tls", server.Addr, fmt.Sprintf(", tls: {ca: %q, %s}", server.CA, both)), q); got.State != health.OK {
		t.Errorf("with tls: %+v", got)
	}
	for more, reason := range map[string]string{
		"": "certificate", ", tls: {" + both + "}": "certificate", fmt.Sprintf(", tls: {ca: %q}", server.CA): "",
		fmt.Sprintf(", tls: {ca: %q, server_name: other.example, %s}", server.CA, both): "other.example",
	} {
		if o := look(t, section("tls", server.Addr, more), q); o.Up || !strings.Contains(o.Err, reason) {
			t.Errorf("%s: %+v", more, o)
		}
	}
	plain := servers.NATS(t, nasty, false)
	if o := look(t, section("tls", plain.Addr, ""), q); o.Up || !strings.Contains(o.Err, "secure connection not available") {
		t.Errorf("TLS with a plain server: %+v", o)
	}
}

func TestNATSRefuses(t *testing.T) {
	refused(t, "nats", map[string]string{
		"{type: nats}": "url is missing", `{type: nats, url: "http://u:hidden@h"}`: "url must be", `{type: nats, url: "nats://u:hidden@h", tls: {}}`: "tls://",
		`{type: nats, url: "nats://h", credentials: a, password_file: b}`: "exclude",
	})
	refusedQueues(t, "nats", map[string]health.Queue{"name must be": {Name: "a.b", Group: "g"}, "durable consumer": {Name: "a"}})
}
