package control

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Whatever arrives at the socket, the daemon answers with HTTP or hangs up, does
// nothing that no request has asked for, and answers the next one.
func FuzzAPI(f *testing.F) {
	for _, seed := range []string{
		"GET /v1/status?slots=true&name=a HTTP/1.1\r\nHost: q\r\n\r\n",
		"GET /v1/explain?name=../../etc/passwd HTTP/1.1\r\nHost: q\r\n\r\n",
		"GET /v1/logs?n=-1&follow=maybe&from=a/0@1.2.3 HTTP/1.1\r\nHost: q\r\n\r\n",
		"POST /v1/command HTTP/1.1\r\nHost: q\r\nContent-Length: 35\r\n\r\n{\"verb\":\"stop\",\"names\":[\"__proto__\"]}",
		"POST /v1/command HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{",
		"POST /v1/shutdown HTTP/1.1\r\nHost: q\r\nContent-Length: 99999999999\r\n\r\n{\"now\":true,\"now\":false}",
		"POST /v1/../v1/shutdown HTTP/1.1\r\nHost: q\r\n\r\n",
		"GET /v1/shutdown HTTP/1.1\r\nHost: q\r\nX-HTTP-Method-Override: POST\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x00\xff", "GET / HTTP/0.9\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	var asked atomic.Int64
	d := &fakeDaemon{
		do:       func(context.Context, Command) (CommandReply, error) { asked.Add(1); return CommandReply{}, nil },
		shutdown: func(context.Context, Shutdown) (CommandReply, error) { asked.Add(1); return CommandReply{}, nil },
		reload:   func(context.Context) (ReloadReply, error) { asked.Add(1); return ReloadReply{}, nil },
		upgrade:  func(context.Context, Upgrade) (UpgradeReply, error) { asked.Add(1); return UpgradeReply{}, nil },
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		r := newTestServer(t, d, "").start(t)
		asked.Store(0)
		answers := exchange(t, r.path, request)
		if len(answers) > 0 && !bytes.HasPrefix(answers, []byte("HTTP/1.")) {
			t.Errorf("answered %.100q", answers)
		}
		if n := asked.Load(); n > int64(bytes.Count(request, []byte("POST "))) {
			t.Errorf("%d things were done", n)
		}
		in := bufio.NewReader(bytes.NewReader(answers))
		for {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			if _, err := io.Copy(io.Discard, resp.Body); resp.StatusCode == http.StatusInternalServerError {
				t.Errorf("answered %s (%v)", resp.Status, err)
			}
		}
		if log := r.log.String(); strings.Contains(log, "panic") {
			t.Error(log)
		}
		if _, err := New(r.path).Status(t.Context(), StatusQuery{}); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// exchange sends all of a request and returns all that is answered.
func exchange(t *testing.T, path string, request []byte) []byte {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = c.Write(request) // it may hang up in the middle
		_ = c.(*net.UnixConn).CloseWrite()
	}()
	answers, err := io.ReadAll(c)
	if n, ok := err.(net.Error); ok && n.Timeout() {
		t.Errorf("neither answered nor hung up: %q", answers)
	}
	return answers
}
