package faults

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// weather is what a proxy does to connections.
type weather int

const (
	fair  weather = iota // passes on
	shut                 // refuses: nobody listens
	cut                  // resets what is open and what comes
	hole                 // accepts and never answers
	slug                 // answers byte by byte
	noise                // answers with something that is no protocol at all
)

// proxy stands between qsuper and a server, on loopback.
type proxy struct {
	addr   string
	target string

	mu       sync.Mutex
	listener net.Listener // nil while shut
	weather  weather
	open     map[net.Conn]bool
	accepted int
	all      sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	p := &proxy{target: target, open: map[net.Conn]bool{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	p.serve(l)
	t.Cleanup(func() { p.set(t, shut); p.all.Wait() })
	return p
}

func (p *proxy) serve(l net.Listener) {
	p.listener = l
	p.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.accepted++
			w := p.weather
			p.open[c] = true
			p.mu.Unlock()
			p.all.Go(func() { p.handle(c, w) })
		}
	})
}

// set changes the weather, also for what is open.
func (p *proxy) set(t *testing.T, w weather) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.weather = w
	if w == shut && p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	if w != shut && p.listener == nil {
		l, err := net.Listen("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		p.serve(l)
	}
	for c := range p.open {
		_ = c.(*net.TCPConn).SetLinger(0) // a reset, as a firewall or a dying host gives it
		_ = c.Close()
	}
	clear(p.open)
}

// connections is how many are open, and how many there have been.
func (p *proxy) connections() (open, accepted int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open), p.accepted
}

func (p *proxy) done(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

func (p *proxy) handle(c net.Conn, w weather) {
	defer p.done(c)
	switch w {
	case cut:
		_ = c.(*net.TCPConn).SetLinger(0)
		return
	case hole:
		_, _ = io.Copy(io.Discard, c) // until the other side gives up
		return
	case noise:
		_, _ = c.Write([]byte("\x16\x03\x01\x00\xff\xff 220 what?\r\n\r\n"))
		return
	}
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer up.Close()
	go func() { _, _ = io.Copy(up, c); _ = up.Close() }()
	if w != slug {
		_, _ = io.Copy(c, up)
		return
	}
	for b := make([]byte, 1); ; <-time.After(100 * time.Millisecond) {
		if _, err := up.Read(b); err != nil {
			return
		}
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// broker is a queue server that speaks HTTP, behind a proxy.
type broker struct {
	*proxy
	mu    sync.Mutex
	ready int
	auth  string // "user:password" it wants; "" = none
	asked int
}

func newBroker(t *testing.T, ready int) *broker {
	t.Helper()
	b := &broker{ready: ready}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.asked++
		if user, password, _ := r.BasicAuth(); b.auth != "" && user+":"+password != b.auth {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/missing" {
			http.NotFound(w, r)
			return
		}
		_, _ = fmt.Fprintf(w, "%d", b.ready)
	}))
	t.Cleanup(s.Close)
	b.proxy = newProxy(t, s.Listener.Addr().String())
	return b
}

// requests is how many it has answered, those of strangers included.
func (b *broker) requests() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked
}

// connection is its entry in the file, with a timeout that a test can wait for.
func (b *broker) connection() string {
	return "connections:\n  broker: {type: http, url: \"http://" + b.addr + "\", timeout: 500ms}\n"
}
