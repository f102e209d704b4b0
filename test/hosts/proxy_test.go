package hosts

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// weather is what a proxy does to what passes through it.
type weather int

const (
	fair  weather = iota
	cut           // resets what is open and what comes
	hole          // stands still: connections stay, nothing passes in either direction
	deaf          // requests pass, answers do not
	slug          // everything takes slugDelay longer, in each direction
	worst         // end of the list
)

func (w weather) String() string {
	return [...]string{"fair", "cut", "hole", "deaf", "slug"}[w]
}

// slugDelay makes a round trip about as long as a request may take at all, less
// what the servers need: half a second of ttl/6.
const slugDelay = 150 * time.Millisecond

// proxy stands between one host and the lock server. It listens where the host
// sees it, and asks the server from where the test runs.
type proxy struct {
	target   string
	listener net.Listener

	mu      sync.Mutex
	changed *sync.Cond
	weather weather
	closed  bool
	open    map[net.Conn]bool
	all     sync.WaitGroup
}

func newProxy(t *testing.T, l net.Listener, target string) *proxy {
	t.Helper()
	p := &proxy{target: target, listener: l, open: map[net.Conn]bool{}}
	p.changed = sync.NewCond(&p.mu)
	p.all.Go(p.serve)
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.set(cut)
		_ = l.Close()
		p.all.Wait()
	})
	return p
}

// set changes the weather, also for what is open. What stood still goes on where it was.
func (p *proxy) set(w weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.weather = w
	p.changed.Broadcast()
	if w == cut {
		for c := range p.open {
			reset(c)
		}
	}
}

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

func (p *proxy) serve() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.all.Go(func() { p.handle(c) })
	}
}

// admit notes a connection; false: it is reset.
func (p *proxy) admit(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.weather == cut {
		reset(c)
		return false
	}
	p.open[c] = true
	return true
}

func (p *proxy) handle(down net.Conn) {
	if !p.admit(down) {
		return
	}
	defer p.done(down)
	if !p.pass(true) {
		return
	}
	up, err := net.Dial("tcp", p.target)
	if err != nil || !p.admit(up) {
		return
	}
	defer p.done(up)
	var both sync.WaitGroup
	both.Go(func() { p.pump(up, down, true); _ = up.(*net.TCPConn).CloseWrite() })
	both.Go(func() { p.pump(down, up, false); _ = down.(*net.TCPConn).CloseWrite() })
	both.Wait()
}

func (p *proxy) done(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// pump carries bytes in one direction, as the weather is at the moment.
func (p *proxy) pump(to io.Writer, from io.Reader, request bool) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			if !p.pass(request) {
				return
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits until something may pass; false: never.
func (p *proxy) pass(request bool) bool {
	p.mu.Lock()
	if p.weather == slug {
		p.mu.Unlock()
		<-after(slugDelay)
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	for !p.closed && (p.weather == hole || p.weather == deaf && !request) {
		p.changed.Wait()
	}
	return !p.closed && p.weather != cut
}
