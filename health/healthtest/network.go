package healthtest

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"qsuper/health"
)

func (s *Suite) refused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p := s.open(t, l.Addr().String(), s.Password, short)
	for range 3 {
		if o := p.down(s.some(t)...); !strings.Contains(o.Err, "refused") {
			t.Errorf("the reason is %q", o.Err)
		}
	}
}

// some returns a queue, if there are any.
func (s *Suite) some(t *testing.T) []health.Queue {
	if s.Queues == nil {
		return nil
	}
	return []health.Queue{s.Queues.New(t)}
}

func (s *Suite) blackHole(t *testing.T) {
	queues := s.some(t)
	hole := newProxy(t, "", 0)
	p := s.open(t, hole.addr, s.Password, short)
	if s.ConnectIsEnough {
		p.up()
		return
	}
	for range 5 {
		if o := p.down(queues...); o.Err != fmt.Sprintf("no answer within %s", short) {
			t.Errorf("the reason is %q", o.Err)
		}
	}
	eventually(t, "one connection at most is left", func() bool { _, live := hole.counts(); return live <= 1 })
}

func (s *Suite) hangsLater(t *testing.T) {
	queues := s.some(t)
	net := newProxy(t, s.Addr, 0)
	p := s.open(t, net.addr, s.Password, 2*time.Second)
	p.up(queues...)
	net.freeze(true)
	for range 2 {
		began := time.Now()
		o := p.look(queues...)
		if took := time.Since(began); o.Up || took > 2*time.Second+most {
			t.Fatalf("after %s: %+v", took, o)
		}
	}
	net.freeze(false)
	eventually(t, "it answers again", func() bool { return p.look(queues...).Up })
	eventually(t, "one connection is left", func() bool { _, live := net.counts(); return live <= 1 })
}

func (s *Suite) outage(t *testing.T) {
	queues := s.some(t)
	net := newProxy(t, s.Addr, 0)
	p := s.open(t, net.addr, s.Password, patience)
	for range 3 {
		p.up(queues...)
		net.cut()
		eventually(t, "the outage is seen", func() bool { return !p.look(queues...).Up })
		net.listen()
		eventually(t, "the end of it is seen", func() bool { return p.look(queues...).Up })
	}
}

func (s *Suite) wrongPassword(t *testing.T) {
	wrong := "not " + s.Password
	p := s.open(t, s.Addr, wrong, patience)
	for range 2 {
		if o := p.look(s.some(t)...); o.Up || o.Latency > patience/2 {
			t.Errorf("a wrong password gave, after %s: up %v, %s", o.Latency, o.Up, o.Err)
		} else if !strings.Contains(o.Err, "asked again every 30s") {
			t.Errorf("a wrong password is tried every second, for the backend gave no *health.Denied: %s", o.Err)
		}
	}
}

// roundTrips puts the server 100 ms away: looks at many queues that take their
// turns would be slow. The best of some counts, since the machine may be busy.
func (s *Suite) roundTrips(t *testing.T) {
	const away = 100 * time.Millisecond
	var queues []health.Queue
	for range 50 {
		queues = append(queues, s.Queues.New(t))
	}
	net := newProxy(t, s.Addr, away/2)
	p := s.open(t, net.addr, s.Password, 2*patience)
	p.up(queues...)
	var took []time.Duration
	for range 5 {
		took = append(took, p.up(queues...).Latency)
	}
	if best := slices.Min(took); best > time.Duration(s.Queues.RoundTrips)*away+away*9/10 {
		t.Errorf("a look at %d queues took %s at best, more than %d round trips of %s", len(queues), best, s.Queues.RoundTrips, away)
	}
}
