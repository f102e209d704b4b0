package test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"qsuper/test/servers"
)

// closedGate waits until a gate of "orders" is closed with all of these words in
// its evidence, and checks that explain says the same to a person.
func closedGate(d *daemon, name string, words ...string) {
	d.T.Helper()
	var g gateJSON
	says := func(text string) bool {
		for _, w := range words {
			if !strings.Contains(text, w) {
				return false
			}
		}
		return true
	}
	defer func() {
		if d.T.Failed() {
			d.T.Logf("the last look at the gate %s: %+v, expected %q", name, g, words)
		}
	}()
	eventually(d.T, patience, "the gate "+name+" is closed with its evidence", func() bool {
		var why explainJSON
		d.JSON(&why, "explain", "orders")
		g = why.Gate(name)
		return g.State == "closed" && says(g.Evidence)
	})
	// Long evidence is folded for a person.
	if r := d.Must("explain", "orders"); !says(strings.Join(strings.Fields(r.Stdout), " ")) {
		d.T.Errorf("explain does not say %q:\n%s", words, r.Stdout)
	}
	if c := d.Consumer("orders"); c.Running != 0 || c.Reason == "" {
		d.T.Errorf("status: running %d, reason %q", c.Running, c.Reason)
	}
}

// orders is a file with a consumer of the queue "orders" on a connection; the
// consumer itself is this test binary and never gets that far.
func orders(connection, keys string) string {
	me, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("connections:\n  backend: %s\nconsumers:\n  orders:\n    command: [%q]\n    env: {%s: worker}\n    queue: {connection: backend, name: orders%s}\n",
		connection, me, consumerEnv, keys)
}

// line is a way to a server that can be cut.
type line struct {
	t    *testing.T
	to   string
	addr string

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
	done     sync.WaitGroup
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	l := &line{t: t, to: to, addr: "127.0.0.1:0"}
	l.restore()
	t.Cleanup(l.cut)
	return l
}

// cut closes every connection and refuses new ones.
func (l *line) cut() {
	l.mu.Lock()
	_ = l.listener.Close()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
	l.mu.Unlock()
	l.done.Wait()
}

// restore accepts connections again, at the same address.
func (l *line) restore() {
	l.t.Helper()
	listener, err := net.Listen("tcp", l.addr)
	if err != nil {
		l.t.Fatal(err)
	}
	l.listener, l.addr = listener, listener.Addr().String()
	l.done.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			l.done.Go(func() { l.carry(in) })
		}
	})
}

func (l *line) carry(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer out.Close()
	l.mu.Lock()
	l.conns = append(l.conns, in, out)
	l.mu.Unlock()
	l.done.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
	_, _ = io.Copy(in, out)
}

// outage checks what a shop says while its backend is away, and that it goes on
// by itself when the backend is back.
func (s *shop) outage(to string, replace func(addr string)) {
	t := s.t
	way := newLine(t, to)
	s.setUp()
	direct := s.connection
	replace(way.addr)
	if s.connection == direct {
		t.Fatalf("the connection does not go through %s: %s", way.addr, s.connection)
	}
	d := startDaemon(t, s.config(0, "instances: 2", "idle_timeout: 2s"))
	closedGate(d, "depth", "ready 0")
	way.cut()
	closedGate(d, "connection", "backend", "refused")
	s.publish(50)
	way.restore()
	eventually(t, patience, "all messages are handled", func() bool { return s.handled().len(t) >= 50 })
	d.StopAll()
	s.handled().once(t, 50)
}

func TestExplainRabbitMQ(t *testing.T) {
	broker := servers.RabbitMQ(t)
	t.Run("missing", func(t *testing.T) {
		d := startDaemon(t, orders(fmt.Sprintf("{type: rabbitmq, url: %q}", broker.NewVhost(t)), ""))
		closedGate(d, "queue", "orders", "does not exist")
		d.StopAll()
	})
	t.Run("wrong password", func(t *testing.T) {
		url := strings.Replace(broker.NewVhost(t), "guest:guest@", "guest:not-the-right-one@", 1)
		d := startDaemon(t, orders(fmt.Sprintf("{type: rabbitmq, url: %q}", url), ""))
		closedGate(d, "connection", "backend")
		for _, command := range []string{"status", "explain orders", "events", "check", "check --probe"} {
			if r := d.Run(strings.Fields(command)...); strings.Contains(r.Stdout+r.Stderr, "not-the-right-one") {
				t.Errorf("qsuper %s shows the password:\n%s%s", command, r.Stdout, r.Stderr)
			}
		}
		d.StopAll()
		if strings.Contains(tail(d.Path("daemon.log"), 1<<20), "not-the-right-one") {
			t.Error("the daemon's log shows the password")
		}
	})
	t.Run("away and back", func(t *testing.T) {
		s := rabbitShop(t)
		addr := strings.TrimPrefix(broker.AMQPURL[strings.Index(broker.AMQPURL, "@"):], "@")
		s.outage(addr, func(way string) { s.connection = strings.Replace(s.connection, addr, way, 1) })
	})
}

func TestExplainMariaDB(t *testing.T) {
	server := servers.MariaDB(t)
	t.Run("missing", func(t *testing.T) {
		name, _ := server.NewDatabase(t)
		d := startDaemon(t, orders(fmt.Sprintf("{type: mysql, dsn: %q}", server.DSN(name)), ", layout: symfony"))
		closedGate(d, "queue", "orders", "does not exist")
		d.StopAll()
	})
	t.Run("away and back", func(t *testing.T) {
		s := mariaShop(t)
		s.outage(server.Addr, func(way string) { s.connection = strings.Replace(s.connection, server.Addr, way, 1) })
	})
}

func TestExplainHeldSlot(t *testing.T) {
	q := newQueue(t)
	q.publish(3)
	d := newDaemon(t, q.file())
	locks := d.Path("state/locks")
	if err := os.MkdirAll(locks, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(locks, "orders.0"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	d.Start()
	me := fmt.Sprintf("pid %d", os.Getpid())
	var why explainJSON
	eventually(t, patience, "explain names the process that holds the slot", func() bool {
		d.JSON(&why, "explain", "orders")
		if len(why.Slots) != 1 {
			return false
		}
		for _, g := range why.Slots[0].Gates {
			if g.Name == "lock" && g.State == "closed" && strings.Contains(g.Evidence, me) {
				return true
			}
		}
		return false
	})
	if r := d.Must("explain", "orders"); !strings.Contains(strings.Join(strings.Fields(r.Stdout), " "), me) {
		t.Errorf("explain does not say %q:\n%s", me, r.Stdout)
	}
	if n := q.processes().len(t); n != 0 {
		t.Errorf("%d processes were started while the slot was held", n)
	}
	// Free again: it starts by itself.
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "all messages are handled", func() bool { return q.handled().len(t) >= 3 })
	d.StopAll()
	q.handled().once(t, 3)
}

func TestExplainSQLite(t *testing.T) {
	t.Run("empty", func(t *testing.T) {
		d := startDaemon(t, newQueue(t).file())
		closedGate(d, "depth", "ready 0")
		d.StopAll()
	})
	t.Run("missing", func(t *testing.T) {
		q := newQueue(t)
		if _, err := q.db.Exec("DROP TABLE messages"); err != nil {
			t.Fatal(err)
		}
		d := startDaemon(t, q.file())
		closedGate(d, "queue", "orders", "does not exist")
		d.StopAll()
	})
	t.Run("paused", func(t *testing.T) {
		q := newQueue(t)
		d := startDaemon(t, q.file())
		d.Must("pause", "orders")
		q.publish(1)
		closedGate(d, "paused", "paused by")
		d.Must("resume", "orders")
		eventually(t, patience, "the message is handled", func() bool { return q.handled().len(t) == 1 })
		d.StopAll()
	})
}
