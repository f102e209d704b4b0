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

	// open starts a server and returns its address, and the head of a file for a
	// host that reaches it at another.
	open func(t *testing.T) (s lockServer, addr string, head func(addr string) string)
}

var lockTypes = []lockType{
	{name: "mysql", holdOff: ttl, open: func(t *testing.T) (lockServer, string, func(string) string) {
		m := servers.MariaDB(t)
		name, _ := m.NewDatabase(t)
		return m, m.Addr, onConnection("mysql", func(addr string) string { return fmt.Sprintf("dsn: \"root@tcp(%s)/%s\"", addr, name) })
	}},
	{name: "postgres", holdOff: ttl, open: func(t *testing.T) (lockServer, string, func(string) string) {
		p := servers.PostgreSQL(t)
		name, _ := p.NewDatabase(t)
		return p, p.Addr, onConnection("postgres", func(addr string) string {
			return fmt.Sprintf("url: \"postgres://postgres@%s/%s?sslmode=disable\"", addr, name)
		})
	}},
	{name: "redis", holdOff: ttl, forgets: true, open: func(t *testing.T) (lockServer, string, func(string) string) {
		r := servers.RedisServer(t)
		r.Do(t, "FLUSHALL")
		return r, r.Addr, onConnection("redis", func(addr string) string { return fmt.Sprintf("url: \"redis://%s/0\"", addr) })
	}},
	{name: "etcd", holdOff: 2 * time.Second, open: func(t *testing.T) (lockServer, string, func(string) string) {
		e := servers.NewEtcd(t)
		return e, e.Addr, func(addr string) string {
			return fmt.Sprintf("locks:\n  fleet: {type: etcd, endpoints: [\"http://%s\"], ttl: %s}\n", addr, ttl)
		}
	}},
}

// onConnection is the head of a file for a type that uses an entry of connections.
func onConnection(typ string, keys func(addr string) string) func(string) string {
	return func(addr string) string {
		return fmt.Sprintf("connections:\n  store: {type: %s, %s}\nlocks:\n  fleet: {type: %s, connection: store, ttl: %s}\n", typ, keys(addr), typ, ttl)
	}
}
