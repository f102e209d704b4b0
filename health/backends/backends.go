// Package backends holds one file per connection type.
//
// Each file registers its type with the keys, defaults and checks of its
// section, and opens a health.Conn. Nothing here writes to, takes from or
// creates anything in what it looks at.
package backends

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"qsuper/health"
	"qsuper/internal/kind"
)

// lifetime ends what runs on a connection when that is closed.
type lifetime struct {
	ctx context.Context
	end context.CancelFunc
}

// errClosed is why a call ends when its connection is closed.
var errClosed = errors.New("connection is closed")

func newLifetime() lifetime {
	ctx, end := context.WithCancel(context.Background())
	return lifetime{ctx, end}
}

// during returns a context that is done when ctx is or the lifetime ends.
func (l lifetime) during(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if l.ctx.Err() != nil { // at once: what AfterFunc runs comes a little later
		cancel(errClosed)
	}
	stop := context.AfterFunc(l.ctx, func() { cancel(errClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// socket is what a library talks through that heeds no context: it is closed
// under a call whose context ends.
type socket struct {
	mu   sync.Mutex
	conn net.Conn
	call int  // the number of the call
	cut  bool // its context has ended
}

// keep takes the place of an earlier one.
func (s *socket) keep(conn net.Conn) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn() // closing it does not wait for the other side
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	if s.cut {
		conn.Close()
	}
}

// until closes what is kept when ctx ends before done is called, or the next
// call begins.
func (s *socket) until(ctx context.Context) (done func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call++
	s.cut = false
	call := s.call
	return context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.call == call {
			s.sever()
		}
	})
}

func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sever()
}

func (s *socket) sever() {
	s.cut = true
	if s.conn != nil {
		s.conn.Close()
	}
}

// lateness makes the error of ctx of one that a library reports when a deadline
// that it took from ctx has passed, which it may notice a moment earlier.
func lateness(ctx context.Context, err error) error {
	var n net.Error
	deadline, ok := ctx.Deadline()
	if err == nil || !ok || !errors.As(err, &n) || !n.Timeout() || time.Until(deadline) > 20*time.Millisecond {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// password is a secret from the file itself or from `password_file`. The latter
// is read for every new connection, so that a rotated one counts.
type password struct {
	text string
	file kind.Path // "" = text holds

	mu   sync.Mutex
	read []string // what the file has held
}

// current returns the password to use now.
func (p *password) current() (string, error) {
	if p.file == "" {
		return p.text, nil
	}
	b, err := os.ReadFile(string(p.file))
	if err != nil {
		return "", fmt.Errorf("read password_file: %w", err)
	}
	text := string(bytes.TrimRight(b, "\r\n"))
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.read) == 0 || p.read[len(p.read)-1] != text {
		p.read = append(p.read, text)
	}
	return text, nil
}

// Secrets implements health.Secretive.
func (p *password) Secrets() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{p.text}, p.read...)
}

// unknown is a reading for a queue that could not be counted.
func unknown(format string, args ...any) health.Reading {
	return nothing(health.Unknown, format, args...)
}

// missing is a reading for a queue that is not there.
func missing(format string, args ...any) health.Reading {
	return nothing(health.Missing, format, args...)
}

func nothing(state health.State, format string, args ...any) health.Reading {
	return health.Reading{
		State: state, Ready: health.NotKnown, InFlight: health.NotKnown, Delayed: health.NotKnown,
		Oldest: health.NotKnown, Consumers: health.NotKnown, Err: fmt.Sprintf(format, args...),
	}
}

// counted is a reading of which only the depth is known.
func counted(ready int64) health.Reading {
	return health.Reading{
		State: health.OK, Ready: ready, InFlight: health.NotKnown, Delayed: health.NotKnown,
		Oldest: health.NotKnown, Consumers: health.NotKnown,
	}
}

// seconds turns an age into a duration. Clocks that differ a little make ages
// that are slightly negative: such a message is new.
func seconds(s float64) time.Duration {
	if s < 0 && s > -60 {
		s = 0
	}
	if s < 0 || s > 1e10 {
		return health.NotKnown
	}
	return time.Duration(s * float64(time.Second))
}

// named requires `name`.
func named(q health.Queue) error {
	if q.Name == "" {
		return errors.New("name is missing: say which queue to look at")
	}
	return nil
}
