package healthtest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between a probe and a real server. It can be a network that is
// slow, hangs or is cut, and it counts connections.
type proxy struct {
	t      *testing.T
	addr   string
	target string // "" = accept and never answer
	delay  time.Duration

	mu       sync.Mutex
	thawed   *sync.Cond
	frozen   bool
	listener net.Listener
	conns    map[net.Conn]bool
	accepted int
	wg       sync.WaitGroup
}

// newProxy listens until the test ends. Each direction takes delay.
func newProxy(t *testing.T, target string, delay time.Duration) *proxy {
	t.Helper()
	p := &proxy{t: t, addr: "127.0.0.1:0", target: target, delay: delay, conns: map[net.Conn]bool{}}
	p.thawed = sync.NewCond(&p.mu)
	p.listen()
	t.Cleanup(func() { p.cut(); p.wg.Wait() })
	return p
}

// listen accepts connections, again after cut.
func (p *proxy) listen() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.listener, p.addr = l, l.Addr().String()
	p.mu.Unlock()
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(c)
		}
	})
}

// cut closes everything: connections end, new ones are refused.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = false
	p.thawed.Broadcast()
	p.listener.Close()
	for c := range p.conns {
		c.Close()
	}
}

// freeze makes everything that is sent from now on get stuck, or lets it go on.
func (p *proxy) freeze(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = on
	p.thawed.Broadcast()
}

// counts returns how many connections there were and are.
func (p *proxy) counts() (accepted, live int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	live = len(p.conns)
	if p.target != "" {
		live /= 2 // each has a second one to the server
	}
	return p.accepted, live
}

func (p *proxy) track(c net.Conn, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		p.conns[c] = true
		return
	}
	delete(p.conns, c)
	c.Close()
}

func (p *proxy) serve(c net.Conn) {
	p.mu.Lock()
	p.accepted++
	p.mu.Unlock()
	p.track(c, true)
	if p.target == "" {
		p.wg.Go(func() {
			_, _ = io.Copy(io.Discard, c)
			p.track(c, false)
		})
		return
	}
	s, err := net.Dial("tcp", p.target)
	if err != nil {
		p.track(c, false)
		return
	}
	p.track(s, true)
	p.pump(c, s)
	p.pump(s, c)
}

// pump carries what one side says to the other; both end together.
func (p *proxy) pump(from, to net.Conn) {
	type parcel struct {
		data []byte
		due  time.Time
	}
	under := make(chan parcel, 1024)
	p.wg.Go(func() {
		defer close(under)
		for {
			b := make([]byte, 32<<10)
			n, err := from.Read(b)
			if n > 0 {
				under <- parcel{b[:n], time.Now().Add(p.delay)}
			}
			if err != nil {
				return
			}
		}
	})
	p.wg.Go(func() {
		defer p.track(to, false)
		defer p.track(from, false)
		for one := range under {
			<-time.After(time.Until(one.due))
			p.mu.Lock()
			for p.frozen {
				p.thawed.Wait()
			}
			p.mu.Unlock()
			if _, err := to.Write(one.data); err != nil {
				from.Close()
			}
		}
	})
}
