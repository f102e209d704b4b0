package backends

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"qsuper/health"
	"qsuper/internal/kind"
)

// redisBuffer is the size in bytes of each of a connection's two buffers, which
// last as long as the connection; the library's own are 256 KiB together.
const redisBuffer = 8 << 10

// redisConfig is `type: redis`: Redis, Valkey and what else speaks its protocol.
type redisConfig struct {
	URL          kind.Secret   `yaml:"url,required"`  // redis:// or rediss://user:password@host:6379/db, unix:///path
	PasswordFile kind.Path     `yaml:"password_file"` // file with the password, instead of one in the file
	TLS          kind.TLS      `yaml:"tls"`           // for a server with TLS
	Timeout      kind.Duration `yaml:"timeout"`
}

func init() {
	health.Register(health.Kind{
		Type: "redis", QueueKeys: []string{"name", "layout", "prefix", "group"}, Layouts: redisLayoutNames, CheckQueue: checkRedisQueue,
		Asked: []string{"key"},
	}, redisConfig{Timeout: health.DefaultTimeout}, openRedis)
}

// Validate says what is wrong with the URL, without showing it.
func (c *redisConfig) Validate() error {
	_, err := c.options()
	return err
}

// options reads the URL. Its errors do not show it: it may hold a password.
func (c *redisConfig) options() (*redis.Options, error) {
	text := c.URL.Reveal()
	u, err := url.Parse(text)
	if err != nil || !slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme) {
		return nil, errors.New("url must be redis://user:password@host:port/db, rediss://… for TLS, or unix:///path/to.sock; special characters are percent-encoded")
	}
	if c.TLS.Enabled() && u.Scheme != "rediss" {
		return nil, errors.New("tls needs a url that starts with rediss://")
	}
	if strings.Trim(u.RawQuery, "db=0123456789") != "" {
		return nil, errors.New("url must have no parameters but db: the connection is qsuper's own")
	}
	o, err := redis.ParseURL(text)
	if err != nil {
		return nil, errors.New("url must end with /db, the number of a database, or with nothing")
	}
	return o, nil
}

// Redis makes a client of one connection to the server of a `type: redis`
// connection, with its credentials and TLS. It tries everything once, and heeds
// the deadlines of its contexts, but not their cancellation. It does not dial.
// secrets are those that must not be shown.
func Redis(s health.Spec) (client *redis.Client, secrets func() []string, err error) {
	c, ok := health.Settings[redisConfig](s)
	if !ok {
		return nil, nil, errors.New("the connection is not of type redis")
	}
	client, secret, err := c.client(&socket{})
	if err != nil {
		return nil, nil, err
	}
	return client, secret.Secrets, nil
}

// client takes the password and the certificates of the moment in which it connects.
func (c redisConfig) client(s *socket) (*redis.Client, *password, error) {
	hushRedis()
	o, err := c.options()
	if err != nil {
		return nil, nil, err
	}
	secret, user, encrypted := &password{text: o.Password, file: c.PasswordFile}, o.Username, o.TLSConfig != nil
	o.TLSConfig = nil // the dialer's doing
	o.CredentialsProviderContext = func(context.Context) (string, string, error) {
		text, err := secret.current()
		return user, text, err
	}
	o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if err == nil && encrypted {
			conn, err = secure(ctx, conn, address, c.TLS)
		}
		if err == nil {
			s.keep(conn)
		}
		return conn, err
	}
	o.Protocol, o.DisableIdentity = 2, true
	o.MaxRetries, o.DialerRetries = -1, 1
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = c.Timeout, c.Timeout, c.Timeout, c.Timeout
	o.PoolSize, o.MaxActiveConns, o.PipelinePoolSize = 1, 1, -1
	o.ReadBufferSize, o.WriteBufferSize = redisBuffer, redisBuffer
	o.ConnMaxIdleTime = -1
	return redis.NewClient(o), secret, nil
}

// hushRedis keeps the library from writing to stderr: what it says comes back
// as errors as well.
var hushRedis = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

type redisConn struct {
	config redisConfig
	client *redis.Client
	*password
	socket socket
	life   lifetime

	hints map[health.Queue]string // what the last look has learnt for the next
}

func openRedis(c redisConfig) (health.Conn, error) {
	r := &redisConn{config: c, life: newLifetime(), hints: map[health.Queue]string{}}
	var err error
	r.client, r.password, err = c.client(&r.socket)
	return r, err
}

// during is the context of one call; the library does not see that one is
// cancelled, so its socket is closed.
func (r *redisConn) during(ctx context.Context) (context.Context, func()) {
	ctx, cancel := r.life.during(ctx)
	stop := r.socket.until(ctx)
	return ctx, func() { stop(); cancel() }
}

// Ping implements health.Conn.
func (r *redisConn) Ping(ctx context.Context) error {
	ctx, done := r.during(ctx)
	defer done()
	return redisTrouble(ctx, r.client.Ping(ctx).Err())
}

// Close implements health.Conn.
func (r *redisConn) Close() error {
	r.life.end()
	r.socket.close()
	return r.client.Close()
}

// Measure sends the commands of all queues at once. Streams of which the server
// cannot say how much waits are asked about a second time.
func (r *redisConn) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	ctx, done := r.during(ctx)
	defer done()
	now := time.Now()
	readings := make([]health.Reading, len(queues))
	questions := make([]*redisQuestion, len(queues))
	for i, q := range queues {
		questions[i] = redisLayouts[q.Layout](q, now, r.hints[q])
	}
	for pass := 0; pass < 2 && len(questions) > 0; pass++ {
		var more []*redisQuestion
		answers, err := r.ask(ctx, questions)
		if err != nil {
			return nil, err
		}
		for i, question := range questions {
			if question == nil {
				more = append(more, nil)
				continue
			}
			a := &redisAnswers{list: answers[i]}
			reading, next := question.read(a)
			if a.err != nil {
				reading, next = unknown("%v", a.err), nil
			}
			readings[i] = reading
			more = append(more, next)
			r.hints[queues[i]] = a.hint
		}
		if questions = more; !slices.ContainsFunc(more, func(q *redisQuestion) bool { return q != nil }) {
			break
		}
	}
	r.forget(queues)
	return readings, nil
}

// forget drops the hints of queues that are no longer asked for.
func (r *redisConn) forget(queues []health.Queue) {
	if len(r.hints) <= len(queues) {
		return
	}
	for q := range r.hints {
		if !slices.Contains(queues, q) {
			delete(r.hints, q)
		}
	}
}

// ask sends the commands of all questions, of which some may be nil.
func (r *redisConn) ask(ctx context.Context, questions []*redisQuestion) ([][]*redis.Cmd, error) {
	pipe := r.client.Pipeline()
	answers := make([][]*redis.Cmd, len(questions))
	for i, q := range questions {
		if q == nil {
			continue
		}
		for _, command := range q.commands {
			answers[i] = append(answers[i], pipe.Do(ctx, command...))
		}
	}
	if pipe.Len() == 0 {
		return answers, nil
	}
	commands, err := pipe.Exec(ctx)
	for _, command := range commands {
		own := command.Err()
		if own != nil && (!answered(own) || shut(own)) {
			return nil, redisTrouble(ctx, own)
		}
		if own == err {
			err = nil // it is about one command, not about logging in
		}
	}
	return answers, redisTrouble(ctx, err)
}

// answered says whether an error is the server's own word.
func answered(err error) bool {
	var e redis.Error
	return errors.As(err, &e)
}

// redisTrouble names an error of the connection for what it is.
func redisTrouble(ctx context.Context, err error) error {
	if err == nil || !answered(err) {
		return lateness(ctx, err)
	}
	for _, word := range []string{"WRONGPASS", "NOAUTH", "invalid password", "invalid username-password"} {
		if strings.Contains(err.Error(), word) {
			return &health.Denied{Err: err}
		}
	}
	return err
}

// shut says whether the server refuses everybody or everything: a login that is
// missing, data that is being loaded, a replica without its master.
func shut(err error) bool {
	word, _, _ := strings.Cut(err.Error(), " ")
	return slices.Contains([]string{"NOAUTH", "WRONGPASS", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY"}, word)
}

// redisQuestion is what is asked about one queue. read makes a reading of the
// answers, and a second question where these do not do.
type redisQuestion struct {
	commands [][]any
	read     func(a *redisAnswers) (health.Reading, *redisQuestion)
}

func (q *redisQuestion) add(command ...any) int {
	q.commands = append(q.commands, command)
	return len(q.commands) - 1
}

// redisAnswers are the answers to the commands of a question, in their order.
// The first that is an error where a number was expected is kept.
type redisAnswers struct {
	list []*redis.Cmd
	err  error
	hint string // for the next look
}

// count is a number; an error becomes that of the question.
func (a *redisAnswers) count(i int) int64 {
	n, err := a.list[i].Int64()
	if err != nil && a.err == nil {
		a.err = err
	}
	return n
}

// text is a string, "" where there is none or the server refuses to tell it.
func (a *redisAnswers) text(i int) string {
	s, _ := a.list[i].Text()
	return s
}

// items is a list, empty where there is none or the server refuses to tell it.
func (a *redisAnswers) items(i int) []any {
	list, _ := a.list[i].Slice()
	return list
}

// Watch subscribes to the keyspace events of what is pushed to the queues. They
// cost a server and are off unless its owner has switched them on (such as
// notify-keyspace-events Kltz); that is not ours to change.
func (r *redisConn) Watch(ctx context.Context, queues []health.Queue, wake func()) error {
	ctx, done := r.during(ctx)
	defer done()
	tells, err := r.tells(ctx)
	if err != nil || !tells {
		return err
	}
	var channels []string
	for _, q := range queues {
		for _, key := range redisWakes(q) {
			channels = append(channels, fmt.Sprintf("__keyspace@%d__:%s", r.client.Options().DB, key))
		}
	}
	sub := r.client.Subscribe(ctx, channels...)
	defer sub.Close()
	wake()
	for silent := false; ; {
		message, err := sub.ReceiveTimeout(ctx, redisSilence)
		var late net.Error
		switch {
		case err != nil && errors.As(err, &late) && late.Timeout() && !silent && ctx.Err() == nil:
			silent = true // nothing has happened, or nobody is there any more
			if err := sub.Ping(ctx); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		silent = false
		if m, ok := message.(*redis.Message); ok && slices.Contains(redisPushes, m.Payload) {
			wake()
		}
	}
}

// redisSilence is after how much of it a subscription is checked.
const redisSilence = time.Minute

// redisPushes are the events that bring messages.
var redisPushes = []string{"lpush", "rpush", "linsert", "xadd", "zadd"}

// tells says whether keyspace events of lists, streams or sorted sets are on. A
// user who may not ask subscribes, and may hear nothing.
func (r *redisConn) tells(ctx context.Context) (bool, error) {
	client, _, err := r.config.client(&r.socket)
	if err != nil {
		return false, err
	}
	defer client.Close()
	settings, err := client.ConfigGet(ctx, "notify-keyspace-events").Result()
	if err != nil {
		return answered(err) && !shut(err), err
	}
	flags := settings["notify-keyspace-events"]
	return strings.Contains(flags, "K") && strings.ContainsAny(flags, "Altz"), nil
}
