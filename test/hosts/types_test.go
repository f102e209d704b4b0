package hosts

import (
	"fmt"
	"testing"
	"time"

	"qsuper/test/servers"
)

// ttl is the shortest that leaves an exclusive process the time to be killed in.
const ttl = 7 * time.Second

// lockServer is a real server that can be harmed.
type lockServer interface {
	Kill(testing.TB)
	Start(testing.TB)
	Pause(testing.TB, bool)
}

// lockType is one row of the matrix. To add a type, add a line to lockTypes.
type lockType struct {
	name    string
	holdOff time.Duration // docs/shared-slots.md: after a host that did not give its slots back
	forgets bool          // a server that is killed has lost what it knew
	late    time.Duration // likewise: how long after its ttl a lease may end

	// open starts a server and returns its address, and the head of a file for a
	// host that reaches it at another.
	open func(t *testing.T) (s lockServer, addr string, head func(addr string) string)
}

var lockTypes = []lockType{
	{name: "mysql", holdOff: ttl, open: func(t *testing.T) (lockServer, string, func(string) string) {
		return onMariaDB(t, servers.MariaDB(t), "")
	}},
	{name: "mysql-session", holdOff: ttl, open: func(t *testing.T) (lockServer, string, func(string) string) {
		return onMariaDB(t, servers.NewMariaDB(t), ", mode: session")
	}},
	{name: "postgres", holdOff: ttl, open: func(t *testing.T) (lockServer, string, func(string) string) {
		return onPostgreSQL(t, servers.PostgreSQL(t), "")
	}},
	{name: "postgres-session", holdOff: ttl, open: func(t *testing.T) (lockServer, string, func(string) string) {
		return onPostgreSQL(t, servers.NewPostgreSQL(t), ", mode: session")
	}},
	{name: "redis", holdOff: ttl, forgets: true, open: func(t *testing.T) (lockServer, string, func(string) string) {
		r := servers.RedisServer(t)
		r.Do(t, "FLUSHALL")
		return r, r.Addr, onConnection("redis", "", func(addr string) string { return fmt.Sprintf("url: \"redis://%s/0\"", addr) })
	}},
	{name: "etcd", holdOff: 2 * time.Second, open: func(t *testing.T) (lockServer, string, func(string) string) {
		e := servers.NewEtcd(t)
		return e, e.Addr, func(addr string) string {
			return fmt.Sprintf("locks:\n  fleet: {type: etcd, endpoints: [\"http://%s\"], ttl: %s}\n", addr, ttl)
		}
	}},
	// A session ends ttl·4/3 after the servers have heard of it, by a clock of ticks of 0.5 s.
	{name: "zookeeper", holdOff: 2 * time.Second, late: ttl/3 + 500*time.Millisecond, open: func(t *testing.T) (lockServer, string, func(string) string) {
		z := servers.ZooKeeperServer(t)
		return z, z.Addr, func(addr string) string {
			return fmt.Sprintf("locks:\n  fleet: {type: zookeeper, servers: [%q], ttl: %s}\n", addr, ttl)
		}
	}},
}

func onMariaDB(t *testing.T, m *servers.Maria, keys string) (lockServer, string, func(string) string) {
	name, _ := m.NewDatabase(t)
	return m, m.Addr, onConnection("mysql", keys, func(addr string) string { return fmt.Sprintf("dsn: \"root@tcp(%s)/%s\"", addr, name) })
}

func onPostgreSQL(t *testing.T, p *servers.Postgres, keys string) (lockServer, string, func(string) string) {
	name, _ := p.NewDatabase(t)
	return p, p.Addr, onConnection("postgres", keys, func(addr string) string {
		return fmt.Sprintf("url: \"postgres://postgres@%s/%s?sslmode=disable\"", addr, name)
	})
}

// onConnection is the head of a file for a type that uses an entry of connections; more
// are keys of its lock.
func onConnection(typ, more string, keys func(addr string) string) func(string) string {
	return func(addr string) string {
		return fmt.Sprintf("connections:\n  store: {type: %s, %s}\nlocks:\n  fleet: {type: %s, connection: store, ttl: %s%s}\n", typ, keys(addr), typ, ttl, more)
	}
}
