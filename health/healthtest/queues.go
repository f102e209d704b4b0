package healthtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"qsuper/health"
)

// settled looks until the numbers are as wanted: what a management interface
// says lags behind. Numbers that the type cannot know are not compared.
func (p *probe) settled(q health.Queue, want health.Reading) {
	p.t.Helper()
	var got health.Reading
	settled := eventually(p.t, fmt.Sprintf("the reading is %+v", want), func() bool {
		got = p.up(q).Readings[0]
		known := got
		known.Err, known.Oldest, known.Consumers, known.Useful = "", 0, 0, 0
		return known == want
	})
	if !settled {
		p.t.Fatalf("the last reading was %+v", got)
	}
}

// depth counts, and returns the queue that it has left with a message taken, if it can.
func (s *Suite) depth(t *testing.T) health.Queue {
	p := s.open(t, s.Addr, s.Password, patience)
	q := s.Queues.New(t)
	want := health.Reading{State: health.OK, InFlight: health.NotKnown, Delayed: health.NotKnown}
	if s.Queues.Take != nil || s.Queues.InFlightZero {
		want.InFlight = 0
	}
	if s.Queues.Delay != nil {
		want.Delayed = 0
	}
	p.settled(q, want)
	s.Queues.Publish(t, q, "a")
	want.Ready = 1
	p.settled(q, want)
	s.Queues.Publish(t, q, "b", "c", "d", "e")
	want.Ready = 5
	p.settled(q, want)
	if s.Queues.Take != nil {
		s.Queues.Take(t, q)
		want.Ready, want.InFlight = 4, 1
		p.settled(q, want)
	}
	if s.Queues.Delay != nil {
		s.Queues.Delay(t, q)
		want.Delayed = 1
		p.settled(q, want)
	}
	if s.Queues.Missing != nil {
		for range 3 {
			if r := p.up(s.Queues.Missing(t)).Readings[0]; r.State != health.Missing {
				t.Errorf("a missing queue is %+v", r)
			}
		}
	}
	return q
}

// names checks what a type says that is in progress: nothing in a new queue, and what
// depth has left in its own.
func (s *Suite) names(t *testing.T, left health.Queue) {
	leaks(t)
	s.listed(t, s.Queues.New(t), 0)
	if s.Queues.Take != nil {
		s.listed(t, left, 1)
	}
	if s.Queues.Missing != nil {
		s.listed(t, s.Queues.Missing(t), -1)
	}
}

// listed checks how many messages a type names that are in progress, if it names them;
// -1: it must fail, as what is not there is not empty.
func (s *Suite) listed(t *testing.T, q health.Queue, want int) {
	t.Helper()
	conn, err := s.Spec(t, s.Addr, s.Password).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l, ok := conn.(health.Lister)
	if !ok {
		return
	}
	list, err := l.InProgress(t.Context(), q)
	switch {
	case want < 0 && err == nil:
		t.Errorf("what is in progress in a missing queue is %v", list)
	case want < 0:
	case err != nil || len(list) != want:
		t.Errorf("%v are in progress, want %d (%v)", list, want, err)
	case want > 0 && (list[0].ID == "" || list[0].Age > time.Minute || list[0].Age < health.NotKnown):
		t.Errorf("in progress: %+v", list[0])
	}
}

// age wants that of a message where the type can tell it, from the second look on
// at the latest, and none where it cannot.
func (s *Suite) age(t *testing.T) {
	p := s.open(t, s.Addr, s.Password, patience)
	q := s.Queues.New(t)
	if s.Queues.Age == nil {
		s.Queues.Publish(t, q, "a")
		p.settledReady(q, 1)
		if r := p.up(q).Readings[0]; r.Oldest != health.NotKnown {
			t.Errorf("an age that is not promised: %+v", r)
		}
		return
	}
	s.Queues.Age(t, q)
	eventually(t, "the age is known", func() bool {
		r := p.up(q).Readings[0]
		return r.Ready == 1 && r.Oldest >= 0 && r.Oldest < time.Hour
	})
}

func (s *Suite) oneBadQueue(t *testing.T) {
	p := s.open(t, s.Addr, s.Password, patience)
	full, empty := s.Queues.New(t), s.Queues.New(t)
	s.Queues.Publish(t, full, "a", "b", "c")
	queues, want := []health.Queue{full}, []string{"ok 3"}
	if s.Queues.Missing != nil {
		queues, want = append(queues, s.Queues.Missing(t)), append(want, "missing -1")
	}
	if s.Queues.Broken != nil {
		queues, want = append(queues, s.Queues.Broken(t)), append(want, "unknown -1")
	}
	queues, want = append(queues, empty, full), append(want, "ok 0", "ok 3")
	for range 3 {
		var got []string
		for _, r := range p.up(queues...).Readings {
			got = append(got, fmt.Sprintf("%s %d", r.State, r.Ready))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

// untouched proves that a probe reads only, and keeps one connection.
func (s *Suite) untouched(t *testing.T) {
	addr := s.Addr
	var net *proxy
	if addr != "" {
		net = newProxy(t, addr, 0)
		addr = net.addr
	}
	p := s.open(t, addr, s.Password, patience)
	q := s.Queues.New(t)
	bodies := []string{"first", "second", "third"}
	s.Queues.Publish(t, q, bodies...)
	p.settledReady(q, 3)
	queues := []health.Queue{q}
	if s.Queues.Missing != nil {
		queues = append(queues, s.Queues.Missing(t))
	}
	for i := range 1000 {
		if r := p.up(queues...).Readings[0]; r.State != health.OK || r.Ready != 3 {
			t.Fatalf("look %d: %+v", i, r)
		}
	}
	if net != nil {
		if accepted, live := net.counts(); accepted > max(s.Connections, 1) || live != accepted {
			t.Errorf("it connected %d times and has %d connections, want %d that last", accepted, live, max(s.Connections, 1))
		}
	}
	if d := cmp.Diff(bodies, s.Queues.Content(t, q)); d != "" {
		t.Errorf("messages after 1,000 looks (-want +got):\n%s", d)
	}
}

func (p *probe) settledReady(q health.Queue, want int64) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%d messages are ready", want), func() bool { return p.up(q).Readings[0].Ready == want })
}
