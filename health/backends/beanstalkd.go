package backends

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/beanstalkd/go-beanstalk"

	"qsuper/health"
	"qsuper/internal/kind"
)

// beanstalkdLanes is how many questions are sent before the first answer is read.
const beanstalkdLanes = 64

// beanstalkdConfig is `type: beanstalkd`. The server itself knows neither
// passwords nor TLS; `tls` is for what stands in front of it.
type beanstalkdConfig struct {
	Address string   `yaml:"address,required"` // host:port
	TLS     kind.TLS `yaml:"tls"`              // for a server with TLS
}

func init() {
	health.Register(health.Kind{
		Type: "beanstalkd", QueueKeys: []string{"name"}, InFlightNow: true, CheckQueue: checkTube,
	}, beanstalkdConfig{}, func(c beanstalkdConfig) (health.Conn, error) {
		return &beanstalkd{config: c, life: newLifetime()}, nil
	})
}

// Validate says what is wrong with the address.
func (c *beanstalkdConfig) Validate() error {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" || port == "" {
		return errors.New("address must be host:port, such as 127.0.0.1:11300")
	}
	return nil
}

func checkTube(q health.Queue) error {
	if len(q.Name) > 200 || strings.ContainsFunc(q.Name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("name must be that of a tube: at most 200 bytes without spaces")
	}
	return named(q)
}

type beanstalkd struct {
	config beanstalkdConfig
	socket socket
	life   lifetime
	conn   *beanstalk.Conn // nil: not connected
}

// Ping implements health.Conn.
func (b *beanstalkd) Ping(ctx context.Context) error {
	_, err := b.Measure(ctx, []health.Queue{{Name: "default"}})
	return err
}

// Measure asks for all tubes before it waits for the answers.
func (b *beanstalkd) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	ctx, cancel := b.life.during(ctx)
	defer cancel()
	defer b.socket.until(ctx)()
	if b.conn == nil {
		conn, err := dial(ctx, "tcp", b.config.Address, b.config.TLS)
		if err != nil {
			return nil, err
		}
		b.socket.keep(conn)
		b.conn = beanstalk.NewConn(conn)
	}
	readings := make([]health.Reading, len(queues))
	lanes := min(beanstalkdLanes, len(queues))
	errs := make([]error, lanes)
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			for i := lane; i < len(queues) && errs[lane] == nil; i += lanes {
				readings[i], errs[lane] = b.tube(queues[i].Name)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		b.socket.close()
		b.conn = nil
		for _, one := range errs { // the same one, most likely, once a lane
			if one != nil {
				return nil, one
			}
		}
	}
	return readings, nil
}

// tube counts one. A tube is there only while it has jobs or somebody uses it:
// one that is not is empty.
func (b *beanstalkd) tube(name string) (health.Reading, error) {
	t := beanstalk.Tube{Conn: b.conn, Name: name}
	stats, err := t.Stats()
	r := counted(0)
	switch {
	case errors.Is(err, beanstalk.ErrNotFound):
		r.InFlight, r.Delayed, r.Consumers, r.Oldest = 0, 0, 0, 0
		return r, nil
	case errors.Is(err, beanstalk.ErrOOM), errors.Is(err, beanstalk.ErrInternal), errors.Is(err, beanstalk.ErrBadFormat):
		return unknown("%v", err), nil
	case err != nil:
		var own beanstalk.ConnError
		if errors.As(err, &own) && errors.Unwrap(own) != nil {
			err = own.Err // without the command, which is always the same
		}
		return r, err
	}
	for key, into := range map[string]*int64{
		"current-jobs-ready": &r.Ready, "current-jobs-reserved": &r.InFlight, "current-jobs-delayed": &r.Delayed, "current-watching": &r.Consumers,
	} {
		if *into, err = strconv.ParseInt(stats[key], 10, 64); err != nil {
			return unknown("the server does not say %s", key), nil
		}
	}
	if name == "default" {
		r.Consumers = max(r.Consumers-1, 0) // everybody watches it who has not said otherwise, we too
	}
	if r.Ready == 0 {
		r.Oldest = 0
	}
	if n := stats["current-jobs-buried"]; n != "" && n != "0" {
		r.Err = fmt.Sprintf("%s jobs are buried: they wait for somebody to kick them", n)
	}
	return r, nil
}

func (b *beanstalkd) Close() error {
	b.life.end()
	b.socket.close()
	return nil
}
