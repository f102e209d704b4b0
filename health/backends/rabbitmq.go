package backends

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"qsuper/health"
	"qsuper/internal/kind"
)

const (
	// rabbitLanes bounds the channels of a connection. Each asks for one queue at
	// a time, all at once, so that up to this many queues are one round trip. A
	// channel costs the broker some 33 KB (RabbitMQ 3.10, measured).
	rabbitLanes = 64
	// rabbitMissing is how long a missing queue is not asked for again: every
	// time closes a channel and makes the broker log an error.
	rabbitMissing = 5 * time.Second
	// rabbitHeartbeat keeps an idle connection alive and finds a dead one.
	rabbitHeartbeat = 10 * time.Second
	// rabbitGoodbye is how long the broker may take to answer that we leave.
	rabbitGoodbye = 300 * time.Millisecond
)

// rabbitConfig is `type: rabbitmq`.
type rabbitConfig struct {
	URL           kind.Secret `yaml:"url,required"`   // amqp:// or amqps://user:password@host:5672/vhost
	ManagementURL kind.Secret `yaml:"management_url"` // http://host:15672; without it unacknowledged messages are not known
	PasswordFile  kind.Path   `yaml:"password_file"`  // file with the password, instead of one in the file
	TLS           kind.TLS    `yaml:"tls"`            // for a server with TLS

	// Interval is the broker's collect_statistics_interval, or that of its finest
	// samples (management.sample_retention_policies) if that is longer than 5 s.
	Interval kind.Duration `yaml:"statistics_interval"`
}

// maxInterval bounds how long a process stands still for the broker's statistics.
const maxInterval = 10 * time.Second

func init() {
	health.Register(health.Kind{
		Type: "rabbitmq", QueueKeys: []string{"name", "layout"}, Layouts: []string{"plain"}, CheckQueue: checkRabbitQueue,
		Holder: true,
	}, rabbitConfig{Interval: kind.Duration(5 * time.Second)}, openRabbit)
}

// Validate says what is wrong with the URLs, without showing them.
func (c *rabbitConfig) Validate() error {
	uri, err := parseAMQP(c.URL.Reveal())
	if err != nil {
		return err
	}
	if c.TLS.Enabled() && uri.Scheme != "amqps" {
		return errors.New("tls needs a url that starts with amqps://")
	}
	if d := time.Duration(c.Interval); d < 100*time.Millisecond || d > maxInterval {
		return fmt.Errorf("statistics_interval must be from 100ms to %s", maxInterval)
	}
	if !c.ManagementURL.IsZero() {
		u, err := parseHTTP(c.ManagementURL.Reveal())
		if err != nil {
			return fmt.Errorf("management_%w", err)
		}
		if uri.Scheme == "amqps" && u.Scheme != "https" && u.User == nil && !onThisHost(u.Hostname()) {
			return errors.New("management_url would send the password of url in plain text: use https://, or a user of its own in management_url")
		}
	}
	return nil
}

// onThisHost says whether what is sent there stays on this machine.
func onThisHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// parseAMQP keeps the text out of its errors: it may hold a password.
func parseAMQP(text string) (amqp.URI, error) {
	uri, err := amqp.ParseURI(text)
	if err != nil {
		return uri, errors.New("url must be amqp://user:password@host:port/vhost or amqps://…; special characters are percent-encoded, a vhost / is left out")
	}
	for _, name := range uri.AuthMechanism {
		if !strings.EqualFold(name, "plain") && !strings.EqualFold(name, "external") {
			return uri, errors.New("url: auth_mechanism must be plain or external")
		}
	}
	return uri, nil
}

func checkRabbitQueue(q health.Queue) error {
	if len(q.Name) > 255 {
		return errors.New("name is longer than the 255 bytes AMQP allows")
	}
	return named(q)
}

// rabbit counts by passive declares, which the broker answers exactly and
// which, unlike fetching a message and giving it back, change nothing.
type rabbit struct {
	url        string
	uri        amqp.URI
	password   *password
	tls        kind.TLS
	interval   time.Duration
	management *management // nil: none configured
	life       lifetime
	missing    map[string]time.Time // queue -> when it was last found missing

	mu     sync.Mutex
	conn   *amqp.Connection // nil: not connected
	socket net.Conn         // what conn talks through
	lanes  []*amqp.Channel  // of conn; nil entries are opened when needed
}

func openRabbit(c rabbitConfig) (health.Conn, error) {
	uri, err := parseAMQP(c.URL.Reveal())
	if err != nil {
		return nil, err
	}
	r := &rabbit{
		url: c.URL.Reveal(), uri: uri, tls: c.TLS, interval: time.Duration(c.Interval), life: newLifetime(), missing: map[string]time.Time{},
		password: &password{text: uri.Password, file: c.PasswordFile},
	}
	if !c.ManagementURL.IsZero() {
		r.management, err = newManagement(c.ManagementURL.Reveal(), uri, r.password, c.TLS)
	}
	return r, err
}

// Secrets implements health.Secretive.
func (r *rabbit) Secrets() []string {
	secrets := r.password.Secrets()
	if r.management != nil {
		secrets = append(secrets, r.management.password.Secrets()...)
	}
	return secrets
}

// Ping makes one round trip on a channel.
func (r *rabbit) Ping(ctx context.Context) error {
	done, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	ch, err := r.lane(0)
	if err == nil {
		err = ch.Qos(0, 0, false) // the setting that every channel begins with
	}
	return err
}

// Measure implements health.Meter.
func (r *rabbit) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	done, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if r.management != nil {
		r.management.refresh()
	}
	readings := make([]health.Reading, len(queues))
	var ask []int
	for i, q := range queues {
		if time.Since(r.missing[q.Name]) < rabbitMissing {
			readings[i] = missing("no such queue; asked again every %s", rabbitMissing)
			continue
		}
		ask = append(ask, i)
	}
	if err := r.askAll(queues, ask, readings); err != nil {
		return nil, err
	}
	for _, i := range ask {
		delete(r.missing, queues[i].Name)
		if readings[i].State == health.Missing {
			r.missing[queues[i].Name] = time.Now()
		}
	}
	if r.management != nil {
		r.management.add(ctx, queues, readings)
	}
	return readings, nil
}

// askAll asks for the queues whose indices are in ask, spread over the lanes.
func (r *rabbit) askAll(queues []health.Queue, ask []int, readings []health.Reading) error {
	lanes := min(len(ask), len(r.lanes))
	errs := make([]error, lanes)
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			for at := lane; at < len(ask) && errs[lane] == nil; at += lanes {
				i := ask[at]
				readings[i], errs[lane] = r.ask(lane, queues[i].Name)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// ask counts one queue. Its error means that the connection is lost.
func (r *rabbit) ask(lane int, queue string) (health.Reading, error) {
	ch, err := r.lane(lane)
	if err != nil {
		return health.Reading{}, err
	}
	q, err := ch.QueueDeclarePassive(queue, false, false, false, false, nil)
	if err == nil {
		reading := counted(int64(q.Messages))
		reading.Consumers = int64(q.Consumers)
		return reading, nil
	}
	r.mu.Lock()
	r.lanes[lane] = nil // the broker closes a channel on which it refused something
	r.mu.Unlock()
	var refusal *amqp.Error
	switch {
	case !errors.As(err, &refusal) || !refusal.Recover:
		return health.Reading{}, err
	case refusal.Code == amqp.NotFound && !strings.Contains(refusal.Reason, " down "):
		return missing("%s", refusal.Reason), nil
	}
	return unknown("%s", refusal.Reason), nil
}

// lane returns an open channel. Each lane is used by one goroutine at a time.
func (r *rabbit) lane(i int) (*amqp.Channel, error) {
	r.mu.Lock()
	conn, ch := r.conn, r.lanes[i]
	r.mu.Unlock()
	if conn == nil {
		return nil, errClosed
	}
	if ch != nil && !ch.IsClosed() {
		return ch, nil
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lanes[i] = ch
	return ch, nil
}

// connect makes sure that there is a connection, and that its socket is closed
// should ctx end before done is called: the library heeds no context, and moves
// the deadlines of its socket itself.
func (r *rabbit) connect(ctx context.Context) (done func(), err error) {
	r.mu.Lock()
	conn, socket := r.conn, r.socket
	r.mu.Unlock()
	ctx, cancel := r.life.during(ctx)
	if conn != nil && !conn.IsClosed() {
		stop := context.AfterFunc(ctx, func() { socket.Close() })
		return func() { stop(); cancel() }, nil
	}
	stop := func() bool { return true }
	done = func() { stop(); cancel() }
	config, err := r.config()
	if err != nil {
		done()
		return nil, err
	}
	config.Dial = func(network, address string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, address)
		if err == nil {
			socket = c
			stop = context.AfterFunc(ctx, func() { c.Close() })
		}
		return c, err
	}
	socket = nil
	conn, err = amqp.DialConfig(r.url, config)
	if err != nil {
		done()
		if socket != nil {
			socket.Close()
		}
		if refusal, ok := errors.AsType[*amqp.Error](err); ok && refusal.Server && refusal.Code == amqp.AccessRefused {
			err = &health.Denied{Err: err}
		}
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lanes := rabbitLanes
	if most := int(conn.Config.ChannelMax); most > 0 { // 0 = the broker sets no limit
		lanes = min(lanes, most)
	}
	r.conn, r.socket, r.lanes = conn, socket, make([]*amqp.Channel, lanes)
	return done, nil
}

func (r *rabbit) config() (amqp.Config, error) {
	secret, err := r.password.current()
	if err != nil {
		return amqp.Config{}, err
	}
	config := amqp.Config{
		Heartbeat:  rabbitHeartbeat,
		Locale:     "en_US",
		Properties: amqp.Table{"product": "qsuper", "connection_name": "qsuper"},
	}
	for _, name := range r.uri.AuthMechanism {
		if strings.EqualFold(name, "external") {
			config.SASL = append(config.SASL, &amqp.ExternalAuth{})
		}
	}
	if config.SASL == nil {
		config.SASL = []amqp.Authentication{outspoken{&amqp.PlainAuth{Username: r.uri.Username, Password: secret}, config.Properties}}
	}
	if r.uri.Scheme == "amqps" {
		config.TLSClientConfig, err = r.tls.Config()
	}
	return config, err
}

// outspoken asks the broker to say that it refuses a password; it would keep
// silent for 3 s and hang up. The library has no setting for that, and sets the
// capabilities in the properties it was given before it asks for a response.
type outspoken struct {
	amqp.Authentication
	properties amqp.Table
}

func (o outspoken) Response() string {
	if capabilities, ok := o.properties["capabilities"].(amqp.Table); ok {
		capabilities["authentication_failure_close"] = true
	}
	return o.Authentication.Response()
}

// Close says goodbye, but does not wait long for the answer.
func (r *rabbit) Close() error {
	r.life.end()
	if r.management != nil {
		r.management.close()
	}
	r.mu.Lock()
	conn, socket := r.conn, r.socket
	r.conn, r.socket = nil, nil
	r.mu.Unlock()
	if conn == nil {
		return nil
	}
	cut := time.AfterFunc(rabbitGoodbye, func() { socket.Close() })
	defer cut.Stop()
	_ = conn.Close()
	return socket.Close()
}
