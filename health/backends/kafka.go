package backends

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"qsuper/health"
	"qsuper/internal/kind"
)

const (
	// kafkaTopics is how old what is known of topics and their partitions may be;
	// it is asked for again in the look that finds it older.
	kafkaTopics = 10 * time.Second
	// Offsets that a partition is asked for.
	kafkaStart, kafkaEnd = -2, -1
)

// kafkaConfig is `type: kafka`.
type kafkaConfig struct {
	Brokers      []string    `yaml:"brokers,required"`                               // host:port of some; the others are learnt from them
	User         string      `yaml:"user"`                                           // not set: no login
	Password     kind.Secret `yaml:"password"`                                       // of the user
	PasswordFile kind.Path   `yaml:"password_file"`                                  // file with the password, instead of one in the file
	SASL         string      `yaml:"sasl" oneof:"plain scram-sha-256 scram-sha-512"` // how it logs in
	TLS          kind.TLS    `yaml:"tls"`                                            // for a server with TLS
}

func init() {
	health.Register(health.Kind{
		Type: "kafka", QueueKeys: []string{"name", "group"}, CheckQueue: func(q health.Queue) error {
			if q.Group == "" {
				return errors.New("group is missing: the consumer group whose lag counts")
			}
			return named(q)
		},
	}, kafkaConfig{SASL: "plain"}, openKafka)
}

// Validate says what is wrong with the section.
func (c *kafkaConfig) Validate() error {
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			return fmt.Errorf("brokers: %.60q must be host:port, such as 127.0.0.1:9092", b)
		}
	}
	switch {
	case len(c.Brokers) == 0:
		return errors.New("brokers is empty: name one at least")
	case c.User == "" && (!c.Password.IsZero() || c.PasswordFile != ""):
		return errors.New("user is missing")
	}
	return nil
}

// kafka measures how far groups are behind. It has one connection per
// broker, which is the library's.
type kafka struct {
	client *kgo.Client
	*password
	life lifetime

	mu      sync.Mutex
	sockets map[net.Conn]bool
}

// tracked is a socket that is closed with the connection: the library would wait
// for a broker that does not answer.
type tracked struct {
	net.Conn
	of *kafka
}

func (t *tracked) Close() error {
	t.of.mu.Lock()
	delete(t.of.sockets, t.Conn)
	t.of.mu.Unlock()
	return t.Conn.Close()
}

func (k *kafka) track(conn net.Conn) net.Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sockets[conn] = true
	if k.life.ctx.Err() != nil {
		conn.Close()
	}
	return &tracked{conn, k}
}

func openKafka(c kafkaConfig) (health.Conn, error) {
	k := &kafka{password: &password{text: c.Password.Reveal(), file: c.PasswordFile}, life: newLifetime(), sockets: map[net.Conn]bool{}}
	options := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID("qsuper"), kgo.DisableClientMetrics(),
		kgo.RequestRetries(1), kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }),
		kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address, c.TLS)
			if err != nil {
				return nil, err
			}
			return k.track(conn), nil
		}),
	}
	if c.User != "" {
		options = append(options, kgo.SASL(c.mechanism(k.password)))
	}
	var err error
	k.client, err = kgo.NewClient(options...)
	return k, err
}

// cut closes all sockets.
func (k *kafka) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for conn := range k.sockets {
		if secured, ok := conn.(*tls.Conn); ok {
			conn = secured.NetConn()
		}
		conn.Close()
	}
}

// during is the context of one call, at the end of which sockets are closed: a
// broker that has accepted and says nothing is waited for whatever the context.
func (k *kafka) during(ctx context.Context) (context.Context, func()) {
	ctx, cancel := k.life.during(ctx)
	stop := context.AfterFunc(ctx, k.cut)
	return ctx, func() { stop(); cancel() }
}

// mechanism logs in with the password of the moment.
func (c kafkaConfig) mechanism(secret *password) sasl.Mechanism {
	if c.SASL == "plain" {
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			text, err := secret.current()
			return plain.Auth{User: c.User, Pass: text}, err
		})
	}
	auth := func(context.Context) (scram.Auth, error) {
		text, err := secret.current()
		return scram.Auth{User: c.User, Pass: text}, err
	}
	if c.SASL == "scram-sha-256" {
		return scram.Sha256(auth)
	}
	return scram.Sha512(auth)
}

// Ping implements health.Conn.
func (k *kafka) Ping(ctx context.Context) error {
	ctx, done := k.during(ctx)
	defer done()
	return kafkaTrouble(k.client.Ping(ctx))
}

// kafkaTrouble names a refused login for what it is.
func kafkaTrouble(err error) error {
	if errors.Is(err, kerr.SaslAuthenticationFailed) {
		return &health.Denied{Err: err}
	}
	return err
}

// isKafkas says whether an error is a broker's own word.
func isKafkas(err error) bool {
	_, yes := errors.AsType[*kerr.Error](err)
	return yes
}

// Measure asks the coordinator of each group how far it is, and the leaders of
// the partitions where these begin and end, all at the same time.
func (k *kafka) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	ctx, done := k.during(ctx)
	defer done()
	topics, err := k.topics(ctx, queues)
	if err != nil {
		return nil, kafkaTrouble(err)
	}
	var start, end kafkaOffsets
	groups := map[string]kafkaOffsets{}
	for _, q := range queues {
		groups[q.Group] = nil
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	wg.Go(func() { start = k.offsets(ctx, topics, kafkaStart) })
	wg.Go(func() { end = k.offsets(ctx, topics, kafkaEnd) })
	for _, group := range slices.Collect(maps.Keys(groups)) {
		wg.Go(func() {
			committed := k.committed(ctx, group)
			mu.Lock()
			defer mu.Unlock()
			groups[group] = committed
		})
	}
	wg.Wait()
	for _, answer := range append(slices.Collect(maps.Values(groups)), start, end) {
		if whole := answer[place{}]; whole.err != nil && !isKafkas(whole.err) {
			return nil, kafkaTrouble(whole.err)
		}
	}
	readings := make([]health.Reading, len(queues))
	for i, q := range queues {
		readings[i] = kafkaReading(q, topics, start, end, groups[q.Group])
	}
	return readings, nil
}

// kafkaTopic is what is known of a topic.
type kafkaTopic struct {
	partitions []int32
	err        error
}

func (k *kafka) topics(ctx context.Context, queues []health.Queue) (map[string]kafkaTopic, error) {
	req := kmsg.NewPtrMetadataRequest()
	seen := map[string]bool{}
	for _, q := range queues {
		if seen[q.Name] {
			continue
		}
		seen[q.Name] = true
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(q.Name)
		req.Topics = append(req.Topics, t)
	}
	resp, err := k.client.RequestCachedMetadata(ctx, req, kafkaTopics)
	if err != nil {
		return nil, err
	}
	topics := map[string]kafkaTopic{}
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		known := kafkaTopic{err: kerr.ErrorForCode(t.ErrorCode)}
		for _, p := range t.Partitions {
			known.partitions = append(known.partitions, p.Partition)
		}
		topics[*t.Topic] = known
	}
	return topics, nil
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// kafkaOffsets are offsets by partition; the error of a whole request is that of
// the empty place.
type kafkaOffsets map[place]kafkaOffset

type kafkaOffset struct {
	at  int64 // -1 = none was committed
	err error
}

func (o kafkaOffsets) of(topic string, partition int32) kafkaOffset {
	if whole, failed := o[place{}]; failed {
		return whole
	}
	if v, ok := o[place{topic, partition}]; ok {
		return v
	}
	return kafkaOffset{at: -1}
}

// offsets asks where all partitions begin, or end.
func (k *kafka) offsets(ctx context.Context, topics map[string]kafkaTopic, which int64) kafkaOffsets {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	for name, topic := range topics {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = name
		for _, partition := range topic.partitions {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, which, -1
			t.Partitions = append(t.Partitions, p)
		}
		if len(t.Partitions) > 0 {
			req.Topics = append(req.Topics, t)
		}
	}
	found := kafkaOffsets{}
	if len(req.Topics) == 0 {
		return found
	}
	resp, err := req.RequestWith(ctx, k.client)
	if err != nil {
		return kafkaOffsets{place{}: {err: err}}
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			found[place{t.Topic, p.Partition}] = kafkaOffset{p.Offset, kerr.ErrorForCode(p.ErrorCode)}
		}
	}
	return found
}

// committed asks for everything that a group has committed.
func (k *kafka) committed(ctx context.Context, group string) kafkaOffsets {
	req := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	req.Groups, req.Group = append(req.Groups, g), group
	resp, err := req.RequestWith(ctx, k.client)
	if err != nil {
		return kafkaOffsets{place{}: {err: err}}
	}
	found := kafkaOffsets{}
	for _, g := range resp.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); errors.Is(err, kerr.GroupIDNotFound) {
			return found // nobody has been in it
		} else if err != nil {
			return kafkaOffsets{place{}: {err: err}}
		}
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				found[place{t.Topic, p.Partition}] = kafkaOffset{p.Offset, kerr.ErrorForCode(p.ErrorCode)}
			}
		}
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return kafkaOffsets{place{}: {err: err}}
	}
	for _, t := range resp.Topics { // brokers before 3.0
		for _, p := range t.Partitions {
			found[place{t.Topic, p.Partition}] = kafkaOffset{p.Offset, kerr.ErrorForCode(p.ErrorCode)}
		}
	}
	return found
}

// kafkaReading is how far a group is behind in a topic. Where it has committed
// nothing everything that is left in the partition waits. A partition has one
// consumer of a group at a time: more than there are partitions is of no use.
func kafkaReading(q health.Queue, topics map[string]kafkaTopic, start, end, committed kafkaOffsets) health.Reading {
	topic, known := topics[q.Name]
	switch {
	case !known || errors.Is(topic.err, kerr.UnknownTopicOrPartition):
		return missing("there is no such topic")
	case topic.err != nil:
		return unknown("%v", topic.err)
	}
	lag := int64(0)
	for _, partition := range topic.partitions {
		first, last, done := start.of(q.Name, partition), end.of(q.Name, partition), committed.of(q.Name, partition)
		for _, o := range []kafkaOffset{first, last, done} {
			if o.err != nil {
				return unknown("partition %d: %v", partition, o.err)
			}
		}
		lag += max(last.at-max(first.at, done.at), 0)
	}
	r := counted(lag)
	r.Useful = int64(len(topic.partitions))
	if lag == 0 {
		r.Oldest = 0
	}
	return r
}

func (k *kafka) Close() error {
	k.life.end()
	k.cut()
	k.client.Close()
	return nil
}
