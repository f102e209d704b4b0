package backends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"qsuper/health"
	"qsuper/internal/kind"
)

// natsConfig is `type: nats`: JetStream.
type natsConfig struct {
	URL          kind.Secret   `yaml:"url,required"`  // nats:// or tls://user:password@host:4222, several after commas
	PasswordFile kind.Path     `yaml:"password_file"` // file with the password, instead of one in the file
	Credentials  kind.Path     `yaml:"credentials"`   // .creds file, instead of a user and a password
	TLS          kind.TLS      `yaml:"tls"`           // for a server with TLS
	Timeout      kind.Duration `yaml:"timeout"`
}

func init() {
	health.Register(health.Kind{
		Type: "nats", QueueKeys: []string{"name", "group"}, CheckQueue: checkStream,
	}, natsConfig{Timeout: health.DefaultTimeout}, openNATS)
}

// Validate says what is wrong with the URL, without showing it.
func (c *natsConfig) Validate() error {
	_, _, err := c.servers()
	if err == nil && c.Credentials != "" && c.PasswordFile != "" {
		return errors.New("credentials and password_file exclude each other")
	}
	return err
}

// servers reads the URLs, of which the first may hold a user, and returns them
// without it. Its errors do not show them.
func (c *natsConfig) servers() (servers []string, user *url.Userinfo, err error) {
	for text := range strings.SplitSeq(c.URL.Reveal(), ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
			return nil, nil, errors.New("url must be nats://user:password@host:4222 or tls://…; special characters are percent-encoded, more servers follow after commas")
		}
		if c.TLS.Enabled() && u.Scheme != "tls" {
			return nil, nil, errors.New("tls needs a url that starts with tls://")
		}
		if user == nil {
			user = u.User
		}
		u.User = nil
		servers = append(servers, u.String())
	}
	return servers, user, nil
}

func checkStream(q health.Queue) error {
	for _, name := range []string{q.Name, q.Group} {
		if name == "" || strings.ContainsAny(name, " \t\r\n.*>/\\") {
			return errors.New("name must be that of a stream, and group that of its durable consumer: without spaces and . * > / \\")
		}
	}
	return nil
}

type natsConn struct {
	config  natsConfig
	servers []string
	user    *url.Userinfo
	*password
	socket socket
	life   lifetime
	conn   atomic.Pointer[nats.Conn] // nil: not connected
	looks  int
}

func openNATS(c natsConfig) (health.Conn, error) {
	n := &natsConn{config: c, life: newLifetime(), password: &password{file: c.PasswordFile}}
	var err error
	n.servers, n.user, err = c.servers()
	if n.user != nil {
		text, given := n.user.Password()
		if !given {
			text = n.user.Username() // a token
		}
		n.text = text
	}
	return n, err
}

// natsDialer dials within ctx, which the library does not know of.
type natsDialer struct {
	ctx    context.Context
	socket *socket
	err    error // of the last attempt, which the library keeps to itself
}

func (d *natsDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(d.ctx, network, address)
	if err == nil {
		d.socket.keep(conn)
	}
	d.err = err
	return conn, err
}

// connect makes sure that there is a connection: one that breaks is replaced at
// the next look, and not in the background.
func (n *natsConn) connect(ctx context.Context) (*nats.Conn, error) {
	if conn := n.conn.Load(); conn != nil {
		if conn.IsConnected() {
			return conn, nil
		}
		conn.Close()
	}
	o, err := n.options()
	if err != nil {
		return nil, err
	}
	dialer := &natsDialer{ctx: ctx, socket: &n.socket}
	o.CustomDialer = dialer
	conn, err := o.Connect()
	if errors.Is(err, nats.ErrNoServers) && dialer.err != nil {
		err = dialer.err
	}
	if errors.Is(err, nats.ErrAuthorization) {
		err = &health.Denied{Err: err}
	}
	if err != nil {
		return nil, err
	}
	n.conn.Store(conn)
	return conn, nil
}

// options take the password and the certificates of the moment.
func (n *natsConn) options() (nats.Options, error) {
	o := nats.GetDefaultOptions()
	o.Servers, o.Name = n.servers, "qsuper"
	o.AllowReconnect, o.NoRandomize, o.NoEcho = false, true, true
	o.Timeout = n.config.Timeout
	o.PingInterval = -1                                             // the looks are pings enough
	o.AsyncErrorCB = func(*nats.Conn, *nats.Subscription, error) {} // it would print
	if n.config.Credentials != "" {
		if err := nats.UserCredentials(string(n.config.Credentials))(&o); err != nil {
			return o, fmt.Errorf("read credentials: %w", err)
		}
	}
	secret, err := n.current()
	if err != nil {
		return o, err
	}
	if n.user != nil {
		if _, given := n.user.Password(); given || n.file != "" {
			o.User, o.Password = n.user.Username(), secret
		} else {
			o.Token = secret
		}
	}
	if o.Secure = strings.HasPrefix(n.servers[0], "tls:"); o.Secure {
		o.TLSConfig, err = n.config.TLS.Config()
	}
	return o, err
}

// Ping makes a round trip.
func (n *natsConn) Ping(ctx context.Context) error {
	ctx, end := context.WithTimeout(ctx, n.config.Timeout) // the library insists on a deadline
	defer end()
	ctx, cancel := n.life.during(ctx)
	defer cancel()
	defer n.socket.until(ctx)()
	conn, err := n.connect(ctx)
	if err != nil {
		return err
	}
	return conn.FlushWithContext(ctx)
}

// Measure asks for the consumer and the stream of every queue at once.
func (n *natsConn) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	ctx, cancel := n.life.during(ctx)
	defer cancel()
	defer n.socket.until(ctx)()
	conn, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	n.looks++
	inbox := fmt.Sprintf("%s.%d.", conn.NewRespInbox(), n.looks)
	sub, err := conn.SubscribeSync(inbox + "*")
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	for i, q := range queues {
		for j, subject := range []string{"$JS.API.CONSUMER.INFO." + q.Name + "." + q.Group, "$JS.API.STREAM.INFO." + q.Name} {
			if err := conn.PublishRequest(subject, inbox+strconv.Itoa(2*i+j), nil); err != nil {
				return nil, err
			}
		}
	}
	answers := make([]*natsInfo, 2*len(queues))
	for range answers {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		i, err := strconv.Atoi(strings.TrimPrefix(m.Subject, inbox))
		if err != nil || i < 0 || i >= len(answers) {
			return nil, fmt.Errorf("an answer came to %q, which nobody asked for", m.Subject)
		}
		answers[i] = parseNATS(m)
	}
	readings := make([]health.Reading, len(queues))
	for i := range queues {
		readings[i] = natsReading(answers[2*i], answers[2*i+1])
	}
	return readings, nil
}

// natsInfo is what is read of either answer.
type natsInfo struct {
	Error *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`

	// Of a consumer.
	Pending    int64 `json:"num_pending"`
	AckPending int64 `json:"num_ack_pending"`
	Delivered  struct {
		Last time.Time `json:"last_active"`
	} `json:"delivered"`
	Now time.Time `json:"ts"` // of newer servers

	// Of a stream.
	State struct {
		Messages int64     `json:"messages"`
		First    time.Time `json:"first_ts"`
	} `json:"state"`

	Config struct {
		AckWait   time.Duration `json:"ack_wait"`  // of a consumer
		Retention string        `json:"retention"` // of a stream
	} `json:"config"`

	wrong string // why it is no answer
}

// Codes of JetStream's errors.
const (
	natsNoConsumer = 10014
	natsNoStream   = 10059
)

func parseNATS(m *nats.Msg) *natsInfo {
	info := &natsInfo{}
	switch {
	case m.Header.Get("Status") == "503":
		info.wrong = "JetStream does not answer: it is not enabled for this account, or the user may not ask"
	case json.Unmarshal(m.Data, info) != nil:
		info.wrong = "JetStream's answer is not understood"
	case info.Error != nil && !slices.Contains([]int{natsNoConsumer, natsNoStream}, info.Error.Code):
		info.wrong = info.Error.Description
	}
	return info
}

// natsReading makes a reading of both answers. A consumer that does not exist is
// made by the first worker: until then the whole stream waits. Messages whose
// time to be acknowledged is over are given out again, but only to a worker that
// asks: while none lives they wait.
func natsReading(consumer, stream *natsInfo) health.Reading {
	switch {
	case stream.wrong != "":
		return unknown("%s", stream.wrong)
	case stream.Error != nil:
		return missing("%s", stream.Error.Description)
	case consumer.wrong != "":
		return unknown("%s", consumer.wrong)
	}
	waiting := stream.State.Messages
	r := counted(waiting)
	r.InFlight = 0
	if consumer.Error == nil {
		r.Ready, r.InFlight = consumer.Pending, consumer.AckPending
		now := consumer.Now
		if now.IsZero() {
			now = time.Now()
		}
		if wait := consumer.Config.AckWait; wait > 0 && r.InFlight > 0 && now.Sub(consumer.Delivered.Last) > wait {
			r.Ready, r.InFlight = r.Ready+r.InFlight, 0
		}
	}
	switch {
	case r.Ready == 0:
		r.Oldest = 0
	case r.Ready == waiting && stream.Config.Retention == "workqueue": // what was acknowledged is gone
		r.Oldest = seconds(time.Since(stream.State.First).Seconds())
	}
	return r
}

func (n *natsConn) Secrets() []string { return n.password.Secrets() }

func (n *natsConn) Close() error {
	n.life.end()
	n.socket.close()
	if conn := n.conn.Load(); conn != nil {
		conn.Close()
	}
	return nil
}
