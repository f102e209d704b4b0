package control

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

// A daemon whose engine is being restarted keeps its socket but does not
// answer for a moment; the client asks again for retryFor before it says so.
const (
	retryFor   = 2 * time.Second
	retryEvery = 20 * time.Millisecond
)

// transport makes one connection per request. http.Transport would hide behind
// errors of its own whether the daemon refused, vanished or was never there.
type transport struct{ socket string }

// RoundTrip returns the errors of the socket as they are.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	conn, err := t.dial(req.Context())
	if err != nil {
		return nil, err
	}
	// Closing is what wakes a read that waits; whoever closes is done with it.
	unwatch := context.AfterFunc(req.Context(), func() { conn.Close() })
	req.Close = true
	written := req.Write(conn)
	// A server that refuses answers before it has read everything, so the
	// answer counts more than the failed write.
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		unwatch()
		conn.Close()
		return nil, errors.Join(err, written)
	}
	resp.Body = &answerBody{resp.Body, conn, unwatch}
	return resp, nil
}

type answerBody struct {
	io.ReadCloser
	conn    net.Conn
	unwatch func() bool
}

func (b *answerBody) Close() error {
	b.unwatch()
	return b.conn.Close()
}

func (t transport) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	for deadline := time.Now().Add(retryFor); ; {
		conn, err := d.DialContext(ctx, "unix", t.socket)
		// Refused: nobody listens at the moment. EAGAIN: more connections wait
		// there than the kernel queues.
		again := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EAGAIN)
		if !again || time.Now().After(deadline) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retryEvery):
		}
	}
}
