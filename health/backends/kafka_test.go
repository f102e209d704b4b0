package backends_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"qsuper/health"
	"qsuper/health/healthtest"
	"qsuper/test/servers"
)

// kafkaRig is a cluster of one broker in this process, with a session.
type kafkaRig struct {
	t       *testing.T
	cluster *kfake.Cluster
	addr    string
	client  *kgo.Client
	admin   *kadm.Client
	topics  int
}

func newKafkaRig(t *testing.T, port int, more ...kfake.Opt) *kafkaRig {
	t.Helper()
	options := append([]kfake.Opt{kfake.NumBrokers(1), kfake.Ports(port), kfake.EnableSASL(), kfake.Superuser("PLAIN", "probe", nasty)}, more...)
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		t.Fatal(err)
	}
	r := &kafkaRig{t: t, cluster: cluster, addr: cluster.ListenAddrs()[0]}
	t.Cleanup(cluster.Close)
	if len(more) > 0 {
		return r
	}
	r.client, err = kgo.NewClient(kgo.SeedBrokers(r.addr), kgo.SASL(plain.Auth{User: "probe", Pass: nasty}.AsMechanism()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	r.admin = kadm.NewClient(r.client)
	return r
}

func (r *kafkaRig) section(password, more string) string {
	return fmt.Sprintf("{type: kafka, brokers: [%q], user: probe, password: %q%s}", r.addr, password, more)
}

// queue makes a topic of three partitions.
func (r *kafkaRig) queue() health.Queue {
	r.t.Helper()
	r.topics++
	q := health.Queue{Name: fmt.Sprint("t", r.topics), Group: "workers"}
	if _, err := r.admin.CreateTopic(context.Background(), 3, 1, nil, q.Name); err != nil {
		r.t.Fatal(err)
	}
	return q
}

func (r *kafkaRig) publish(q health.Queue, bodies ...string) {
	r.t.Helper()
	for i, b := range bodies {
		if err := r.client.ProduceSync(context.Background(), &kgo.Record{Topic: q.Name, Partition: int32(i % 3), Value: []byte(b)}).FirstErr(); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *kafkaRig) commit(q health.Queue, partition int32, at int64) {
	r.t.Helper()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: q.Name, Partition: partition, At: at, LeaderEpoch: -1})
	if err := r.admin.CommitAllOffsets(context.Background(), q.Group, offsets); err != nil {
		r.t.Fatal(err)
	}
}

// content reads the topic without a group, and minds what the group has committed.
func (r *kafkaRig) content(q health.Queue) (bodies []string) {
	r.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(r.addr), kgo.SASL(plain.Auth{User: "probe", Pass: nasty}.AsMechanism()), kgo.ConsumeTopics(q.Name))
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	bodies = make([]string, 3)
	for n := 0; n < 3; {
		f := c.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			r.t.Fatal(err)
		}
		f.EachRecord(func(rec *kgo.Record) { bodies[rec.Partition] = string(rec.Value); n++ })
	}
	if committed, err := r.admin.FetchOffsets(ctx, q.Group); err != nil && !errors.Is(err, kerr.GroupIDNotFound) || len(committed[q.Name]) > 0 {
		r.t.Errorf("the group has committed %v, %v", committed[q.Name], err)
	}
	return bodies
}

func TestKafka(t *testing.T) {
	r := newKafkaRig(t, 0)
	r.publish(r.queue(), "w") // the session connects before anything is counted
	healthtest.Run(t, healthtest.Suite{
		Row:  "kafka",
		Spec: func(t *testing.T, _, _ string) health.Spec { return spec(t, "kafka", "%s", r.section(nasty, "")) },
		Queues: &healthtest.Queues{
			New:     func(*testing.T) health.Queue { return r.queue() },
			Missing: func(*testing.T) health.Queue { return health.Queue{Name: "nobody", Group: "workers"} },
			Publish: func(_ *testing.T, q health.Queue, bodies ...string) { r.publish(q, bodies...) },
			Content: func(_ *testing.T, q health.Queue) []string { return r.content(q) },
		},
	})
	if topics, err := r.admin.ListTopics(t.Context()); err != nil || topics.Has("nobody") {
		t.Errorf("looking at a topic has made it: %v", err)
	}
}

func TestKafkaRules(t *testing.T) {
	r := newKafkaRig(t, 0)
	p := health.NewProbe("c", spec(t, "kafka", "%s", r.section(nasty, "")), 10*time.Second)
	defer p.Close(context.Background())
	want := func(what string, q health.Queue, ready int64) {
		t.Helper()
		o := p.Look(t.Context(), []health.Queue{q})
		if got := o.Readings[0]; got.State != health.OK || got.Ready != ready || got.Useful != 3 {
			t.Errorf("%s: want ready %d of 3 partitions, got %+v", what, ready, o)
		}
	}
	q := r.queue()
	r.publish(q, "a", "b", "c", "d", "e", "f")
	want("nothing is committed: everything waits", q, 6)
	r.commit(q, 0, 2)
	r.commit(q, 1, 1)
	want("some is", q, 3)
	other := q
	other.Group = "others"
	want("another group's lag is its own", other, 6)
	r.commit(q, 2, 2)
	r.commit(q, 1, 9) // the topic was made anew: more was committed than there is
	want("never less than nothing", q, 0)
	if _, err := r.admin.DeleteRecords(t.Context(), kadm.OffsetsFromRecords(kgo.Record{Topic: q.Name, Partition: 0, Offset: 1})); err != nil {
		t.Fatal(err)
	}
	want("what was deleted waits for nobody", other, 4)
}

// Neither a broker that is gone nor one that never answers holds up a look.
func TestKafkaOutage(t *testing.T) {
	p := health.NewProbe("c", spec(t, "kafka", "{type: kafka, brokers: [\"127.0.0.1:1\"]}"), 5*time.Second)
	defer p.Close(context.Background())
	q := []health.Queue{{Name: "x", Group: "g"}}
	if o := p.Look(t.Context(), q); o.Up || !strings.Contains(o.Err, "refused") || o.Latency > 4*time.Second {
		t.Errorf("nobody there: %+v", o)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hole := health.NewProbe("c", spec(t, "kafka", "{type: kafka, brokers: [%q]}", l.Addr()), 300*time.Millisecond)
	defer hole.Close(context.Background())
	for range 3 {
		if o := hole.Look(t.Context(), q); o.Up || o.Latency > time.Second || o.Err != "no answer within 300ms" {
			t.Errorf("a broker that never answers: %+v", o)
		}
	}
	r := newKafkaRig(t, 0)
	_, port, _ := net.SplitHostPort(r.addr)
	n, _ := strconv.Atoi(port)
	live := health.NewProbe("c", spec(t, "kafka", "%s", r.section(nasty, "")), 5*time.Second)
	defer live.Close(context.Background())
	if o := live.Look(t.Context(), q); !o.Up || o.Readings[0].State != health.Missing {
		t.Errorf("got %+v", o)
	}
	r.client.Close()
	r.cluster.Close()
	if o := live.Look(t.Context(), q); o.Up {
		t.Errorf("gone, but %+v", o)
	}
	newKafkaRig(t, n)
	eventually(t, "it is back", func() bool { return live.Look(t.Context(), q).Up })
}

// A broker that answered once and stands still then holds up no look, and is found
// again on the same connection or another.
func TestKafkaHangsLater(t *testing.T) {
	r := newKafkaRig(t, 0)
	queues := []health.Queue{r.queue()}
	r.publish(queues[0], "a")
	p := health.NewProbe("c", spec(t, "kafka", "%s", r.section(nasty, "")), 2*time.Second)
	defer p.Close(context.Background())
	if o := p.Look(t.Context(), queues); !o.Up || o.Readings[0].Ready != 1 {
		t.Fatalf("got %+v", o)
	}
	goOn := make(chan struct{})
	r.cluster.ControlKey(int16(kmsg.OffsetFetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		r.cluster.SleepControl(func() { <-goOn })
		return nil, nil, false
	})
	for range 2 {
		if o := p.Look(t.Context(), queues); o.Up && o.Readings[0].State == health.OK || o.Latency > 3*time.Second {
			t.Errorf("a broker that stands still: %+v", o)
		}
	}
	close(goOn)
	eventually(t, "it answers again", func() bool { o := p.Look(t.Context(), queues); return o.Up && o.Readings[0].Ready == 1 })
}

// The stand-in hangs up on a wrong password; brokers say what is wrong with it.
func TestKafkaWrongPassword(t *testing.T) {
	r := newKafkaRig(t, 0)
	q := health.Queue{Name: "x", Group: "g"}
	if o := look(t, spec(t, "kafka", "%s", r.section("wrong", "")), q); o.Up {
		t.Errorf("got %+v", o)
	}
	r.cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	if o := look(t, spec(t, "kafka", "%s", r.section("wrong", "")), q); o.Up || !strings.Contains(o.Err, "asked again every 30s") {
		t.Errorf("got %+v", o)
	}
}

func TestKafkaTLS(t *testing.T) {
	server := servers.NATS(t, nasty, true) // for its certificate
	pair, err := tls.LoadX509KeyPair(server.CA, server.Key)
	if err != nil {
		t.Fatal(err)
	}
	r := newKafkaRig(t, 0, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}}))
	q := health.Queue{Name: "x", Group: "g"}
	if o := look(t, spec(t, "kafka", "%s", r.section(nasty, fmt.Sprintf(", tls: {ca: %q}", server.CA))), q); !o.Up {
		t.Errorf("with tls: %+v", o)
	}
	for more, reason := range map[string]string{
		"": "", ", tls: {}": "certificate", fmt.Sprintf(", tls: {ca: %q, server_name: other.example}", server.CA): "other.example",
	} {
		if o := look(t, spec(t, "kafka", "%s", r.section(nasty, more)), q); o.Up || !strings.Contains(o.Err, reason) {
			t.Errorf("%s: %+v", more, o)
		}
	}
	plainly := newKafkaRig(t, 0)
	if o := look(t, spec(t, "kafka", "%s", plainly.section(nasty, fmt.Sprintf(", tls: {ca: %q}", server.CA))), q); o.Up {
		t.Errorf("TLS with a plain broker: %+v", o)
	}
}

func TestKafkaRefuses(t *testing.T) {
	refused(t, "kafka", map[string]string{
		"{type: kafka}": "brokers is missing", "{type: kafka, brokers: [x]}": "host:port", "{type: kafka, brokers: []}": "brokers",
		`{type: kafka, brokers: ["h:1"], password: hidden}`: "user is missing", `{type: kafka, brokers: ["h:1"], user: u, sasl: gssapi}`: "scram-sha-256",
	})
	refusedQueues(t, "kafka", map[string]health.Queue{"group is missing": {Name: "x"}, "name is missing": {Group: "x"}})
}
