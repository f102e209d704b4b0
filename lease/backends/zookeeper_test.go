package backends_test

import (
	"strings"
	"testing"
	"time"

	"qsuper/lease"
	"qsuper/lease/leasetest"
	"qsuper/test/servers"
)

func TestZooKeeper(t *testing.T) {
	server := servers.ZooKeeperServer(t)
	leasetest.Run(t, leasetest.Subject{TTL: 3 * time.Second, Restart: again(server), Open: func(t *testing.T, ns string, ttl time.Duration) lease.Store {
		return store(t, "zookeeper", "type: zookeeper\nservers: [\"127.0.0.1:1\", \""+server.Addr+"\"]\nchroot: /apps/shop", lease.Place{Namespace: ns, TTL: ttl})
	}})
}

func TestZooKeeperKeys(t *testing.T) {
	for keys, want := range map[string]string{
		"servers: []":    "servers is empty",
		"servers: [zk1]": "must look like host:2181",
		"servers: [\"zk1:2181/apps\"]\nchroot: apps": "chroot must be a path",
		"servers: [\"zk1:2181\"]\npassword: x":       "password needs a user",
		"servers: [\"zk1:2181\"]\nuser: \"a:b\"":     "must not contain a colon",
	} {
		_, err := lease.Decode("zookeeper", section(t, "type: zookeeper\n"+keys), "locks.l")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
}
