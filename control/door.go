package control

import (
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// Limits of the socket. Of maxConns places, streams and waiting commands have
// own shares, so that neither readers nor patient operators can lock out a
// status or a stop.
const (
	maxConns   = 256
	maxStreams = 160
	maxWaiting = 64

	// A connection that has not sent a whole request header by then gives up
	// its place when somebody waits for one.
	patience = 250 * time.Millisecond
)

// crowd knows the connections that are open.
//
// mu guards conns and each conn's busy and since; nothing waits under it.
type crowd struct {
	places chan struct{} // one token for each open connection
	mu     sync.Mutex
	conns  map[*conn]struct{}
}

func newCrowd() *crowd {
	return &crowd{places: make(chan struct{}, maxConns), conns: map[*conn]struct{}{}}
}

// conn is one admitted connection.
type conn struct {
	*net.UnixConn
	peer  Peer
	crowd *crowd
	once  sync.Once
	busy  bool      // a handler answers a request of it
	since time.Time // of busy
}

// Close gives the place back.
func (c *conn) Close() error {
	err := c.UnixConn.Close()
	c.once.Do(func() {
		c.crowd.mu.Lock()
		delete(c.crowd.conns, c)
		c.crowd.mu.Unlock()
		<-c.crowd.places
	})
	return err
}

func (c *conn) setBusy(busy bool) {
	c.crowd.mu.Lock()
	c.busy, c.since = busy, time.Now()
	c.crowd.mu.Unlock()
}

func (cr *crowd) join(u *net.UnixConn, p Peer) *conn {
	c := &conn{UnixConn: u, peer: p, crowd: cr, since: time.Now()}
	cr.mu.Lock()
	cr.conns[c] = struct{}{}
	cr.mu.Unlock()
	return c
}

// place waits for a place. When all are taken, connections that dawdle are
// closed one by one, the oldest first. False: closed ended the wait.
func (cr *crowd) place(closed <-chan struct{}) bool {
	for {
		select {
		case cr.places <- struct{}{}:
			return true
		case <-closed:
			return false
		default:
		}
		wait := cr.evict()
		select {
		case cr.places <- struct{}{}:
			return true
		case <-closed:
			return false
		case <-time.After(wait):
		}
	}
}

// evict closes the connection that has been without a request for longest, if
// that is longer than patience, and returns when it makes sense to ask again.
func (cr *crowd) evict() time.Duration {
	oldest, since := cr.oldestIdle()
	if oldest == nil {
		return patience
	}
	if left := patience - time.Since(since); left > 0 {
		return left
	}
	oldest.Close()
	return 0
}

func (cr *crowd) oldestIdle() (oldest *conn, since time.Time) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	for c := range cr.conns {
		if !c.busy && (oldest == nil || c.since.Before(since)) {
			oldest, since = c, c.since
		}
	}
	return oldest, since
}

// closeIdle ends every connection that is not being answered.
func (cr *crowd) closeIdle() {
	for {
		c, _ := cr.oldestIdle()
		if c == nil {
			return
		}
		c.Close()
	}
}

// door is the listener handed to net/http: it lets in whom policy allows.
// Others are closed before a byte of theirs is read.
type door struct {
	*socket
	policy policy
	crowd  *crowd
	log    *slog.Logger
	once   sync.Once
	closed chan struct{}

	refused   uint32 // uid of the last refusal; only Accept uses these two
	refusedAt time.Time
}

func newDoor(s *socket, cr *crowd, log *slog.Logger) *door {
	p := policy{uid: uint32(os.Geteuid()), gid: s.gid}
	return &door{socket: s, policy: p, crowd: cr, log: log, closed: make(chan struct{})}
}

// Accept returns the next admitted connection, a *conn.
func (d *door) Accept() (net.Conn, error) {
	for {
		u, err := d.AcceptUnix()
		if err != nil {
			return nil, err
		}
		p, err := peerOf(u)
		if err != nil || !d.policy.allows(p) {
			d.refuse(p, err)
			u.Close()
			continue
		}
		if !d.crowd.place(d.closed) {
			u.Close()
			return nil, net.ErrClosed
		}
		return d.crowd.join(u, p), nil
	}
}

// refuse logs once a minute and user: a stranger must not fill the log.
func (d *door) refuse(p Peer, err error) {
	now := time.Now()
	if p.UID == d.refused && now.Sub(d.refusedAt) < time.Minute {
		return
	}
	d.refused, d.refusedAt = p.UID, now
	attrs := []any{"uid", p.UID, "pid", p.PID}
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	d.log.Warn("control connection refused", attrs...)
}

// Close also ends an Accept that waits for a place.
func (d *door) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.socket.Close()
}
