package backends_test

import (
	"testing"
	"time"

	"qsuper/health"
	"qsuper/internal/kind"
	"qsuper/lease"
	_ "qsuper/lease/backends"
	"qsuper/lease/leasetest"
	"qsuper/test/servers"
)

// section parses a piece of a file.
func section(t *testing.T, text string) *kind.Node {
	t.Helper()
	n, problems := kind.Parse("test.yaml", []byte(text), func(string) (string, bool) { return "", false })
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return n
}

func connection(t *testing.T, typ, text string) health.Spec {
	t.Helper()
	s, err := health.Decode(typ, section(t, text), "connections.c")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func store(t *testing.T, typ, text string, p lease.Place) lease.Store {
	t.Helper()
	s, err := lease.Decode(typ, section(t, text), "locks.l")
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// again kills a server and starts it.
func again(s interface {
	Kill(testing.TB)
	Start(testing.TB)
}) func(t *testing.T) {
	return func(t *testing.T) {
		s.Kill(t)
		s.Start(t)
	}
}

func TestMySQL(t *testing.T) {
	maria := servers.MariaDB(t)
	name, _ := maria.NewDatabase(t)
	conn := connection(t, "mysql", "type: mysql\ndsn: "+maria.DSN(name))
	leasetest.Run(t, leasetest.Subject{TTL: 2 * time.Second, Restart: again(maria), Open: func(t *testing.T, ns string, ttl time.Duration) lease.Store {
		return store(t, "mysql", "type: mysql\nconnection: db", lease.Place{Namespace: ns, TTL: ttl, Connection: conn})
	}})
}

func TestMySQLSessions(t *testing.T) {
	maria := servers.MariaDB(t)
	name, _ := maria.NewDatabase(t)
	conn := connection(t, "mysql", "type: mysql\ndsn: "+maria.DSN(name))
	leasetest.Run(t, leasetest.Subject{TTL: 2 * time.Second, Restart: again(maria), Open: func(t *testing.T, ns string, ttl time.Duration) lease.Store {
		return store(t, "mysql", "type: mysql\nconnection: db\nmode: session", lease.Place{Namespace: ns, TTL: ttl, Connection: conn})
	}})
}
