package backends_test

import (
	"testing"
	"time"

	"qsuper/lease"
	"qsuper/lease/leasetest"
	"qsuper/test/servers"
)

func TestPostgres(t *testing.T) {
	pg := servers.PostgreSQL(t)
	name, _ := pg.NewDatabase(t)
	conn := connection(t, "postgres", "type: postgres\nurl: "+pg.DSN(name))
	leasetest.Run(t, leasetest.Subject{TTL: 2 * time.Second, Restart: again(pg), Open: func(t *testing.T, ns string, ttl time.Duration) lease.Store {
		return store(t, "postgres", "type: postgres\nconnection: db", lease.Place{Namespace: ns, TTL: ttl, Connection: conn})
	}})
}

func TestPostgresSessions(t *testing.T) {
	pg := servers.PostgreSQL(t)
	name, _ := pg.NewDatabase(t)
	conn := connection(t, "postgres", "type: postgres\nurl: "+pg.DSN(name))
	leasetest.Run(t, leasetest.Subject{TTL: 2 * time.Second, Restart: again(pg), Open: func(t *testing.T, ns string, ttl time.Duration) lease.Store {
		return store(t, "postgres", "type: postgres\nconnection: db\nmode: session", lease.Place{Namespace: ns, TTL: ttl, Connection: conn})
	}})
}

func TestRedis(t *testing.T) {
	server := servers.RedisServer(t)
	conn := connection(t, "redis", "type: redis\nurl: redis://"+server.Addr+"/5")
	leasetest.Run(t, leasetest.Subject{TTL: 2 * time.Second, Restart: again(server), Loses: true, Open: func(t *testing.T, ns string, ttl time.Duration) lease.Store {
		return store(t, "redis", "type: redis\nconnection: cache", lease.Place{Namespace: ns, TTL: ttl, Connection: conn})
	}})
}

func TestEtcd(t *testing.T) {
	server := servers.EtcdMain(t)
	leasetest.Run(t, leasetest.Subject{TTL: 3 * time.Second, Restart: again(server), Open: func(t *testing.T, ns string, ttl time.Duration) lease.Store {
		return store(t, "etcd", "type: etcd\nendpoints: [\"http://127.0.0.1:1\", \""+server.URL+"\"]", lease.Place{Namespace: ns, TTL: ttl})
	}})
}
