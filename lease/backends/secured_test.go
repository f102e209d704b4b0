package backends_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"qsuper/health"
	"qsuper/lease"
	"qsuper/test/servers"
)

// takes says how a store answers to someone who takes a lease.
func takes(t *testing.T, s lease.Store) error {
	t.Helper()
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	answers, err := s.Take(ctx, "web1/b/x", 10*time.Second, []lease.Ask{{Key: "slot/orders/0"}})
	if err != nil {
		return err
	}
	if !answers[0].Granted {
		return fmt.Errorf("%+v", answers[0])
	}
	ok, err := s.Renew(ctx, "web1/b/x", 10*time.Second, []lease.Held{{Key: "slot/orders/0", Token: answers[0].Token}})
	if err != nil || !ok[0] {
		return fmt.Errorf("%v: %w", ok, err)
	}
	if _, err := s.List(ctx); err != nil {
		return err
	}
	if by, err := s.Claim(ctx, "web1/b/x", lease.Claim{Key: "job/a/1", Keep: time.Hour}); err != nil || by != "web1/b/x" {
		return fmt.Errorf("%q: %w", by, err)
	}
	return s.Release(ctx, "web1/b/x", []lease.Held{{Key: "slot/orders/0", Token: answers[0].Token}})
}

// said checks how a store answers: want is part of the error; "" = none. No error
// may show the password.
func said(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: %v, want %q", what, err, want)
	case err != nil && strings.Contains(err.Error(), "shopshop"):
		t.Errorf("%s shows a password: %v", what, err)
	}
}

func TestEtcdSecured(t *testing.T) {
	server := servers.EtcdSecured(t)
	tls := fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q}", server.CA, server.Cert, server.Key)
	for keys, want := range map[string]string{
		"user: shop\npassword: shopshop\n" + tls:   "",
		"user: root\npassword: rootroot\n" + tls:   "",
		"user: shop\npassword: shopshop2\n" + tls:  "log in: ",
		"user: nobody\npassword: shopshop\n" + tls: "log in: ",
		tls:                              "permission denied",
		"user: shop\npassword: shopshop": "certificate",
		fmt.Sprintf("user: shop\npassword: shopshop\ntls: {ca: %q}", server.CA):                                                        "tls: ",
		"user: shop\npassword: shopshop\n" + strings.Replace(tls, "tls: {", "tls: {server_name: other.example, ", 1):                   "other.example",
		"user: shop\npassword: shopshop\n" + fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q}", server.CA, server.Named, server.NamedKey): "CommonName",
		"user: shop\npassword_file: /no/such\n" + tls:                                                                                  "read password_file",
	} {
		s := store(t, "etcd", "type: etcd\nendpoints: [\""+server.URL+"\"]\n"+keys, lease.Place{Namespace: "shop", TTL: 10 * time.Second})
		said(t, keys, takes(t, s), want)
	}
	// A name space that the user may not touch, and a server that has forgotten its logins.
	said(t, "another name space", takes(t, store(t, "etcd", "type: etcd\nendpoints: [\""+server.URL+"\"]\nuser: shop\npassword: shopshop\n"+tls, lease.Place{Namespace: "other", TTL: 10 * time.Second})), "permission denied")
	s := store(t, "etcd", "type: etcd\nendpoints: [\""+server.URL+"\"]\nuser: shop\npassword: shopshop\n"+tls, lease.Place{Namespace: "shop", TTL: 10 * time.Second})
	if _, err := s.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Kill(t)
	server.Start(t)
	deadline := time.Now().Add(30 * time.Second)
	for _, err := s.List(t.Context()); err != nil; _, err = s.List(t.Context()) {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(50 * time.Millisecond)
	}
	said(t, "after a restart", takes(t, s), "")
}

func TestZooKeeperSecured(t *testing.T) {
	server := servers.ZooKeeperServer(t)
	tls := fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q}", server.CA, server.CA, server.Key)
	open := func(address, keys, ns string, ttl time.Duration) lease.Store {
		return store(t, "zookeeper", "type: zookeeper\nservers: [\""+address+"\"]\n"+keys, lease.Place{Namespace: ns, TTL: ttl})
	}
	mine := "chroot: /secured\nuser: shop\npassword: shopshop\n"
	for _, c := range []struct{ address, keys, want string }{
		{server.TLSAddr, mine + tls, ""},
		{server.Addr, mine, ""},
		{server.Addr, "chroot: /secured\nuser: shop\npassword: shopshop2\n", "may not do that"},
		{server.Addr, "chroot: /secured\n", "may not do that"},
		{server.TLSAddr, mine, "closed the connection"},
		{server.Addr, mine + tls, "closed the connection"},
		{server.TLSAddr, mine + fmt.Sprintf("tls: {ca: %q}", server.CA), "tls"},
		{server.TLSAddr, mine + strings.Replace(tls, "tls: {", "tls: {server_name: other.example, ", 1), "other.example"},
	} {
		said(t, c.address+" "+c.keys, takes(t, open(c.address, c.keys, "shop", 10*time.Second)), c.want)
	}
	said(t, "a ttl for which sessions are too short", takes(t, open(server.Addr, "", "long", time.Minute)), "raise maxSessionTimeout")
}

// What a connection says of TLS and passwords holds for the locks that use it.
func TestConnectionsSecured(t *testing.T) {
	maria, pg, redis := servers.MariaDB(t), servers.PostgreSQL(t), servers.RedisServer(t)
	my, _ := maria.NewDatabase(t)
	post, db := pg.NewDatabase(t)
	if _, err := db.Exec("DO $$ BEGIN CREATE ROLE secured LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object THEN END $$"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		typ  string
		conn string
		want string
	}{
		{"mysql", fmt.Sprintf("{type: mysql, dsn: %q, tls: {ca: %q}}", maria.DSN(my), maria.CA), ""},
		{"mysql", fmt.Sprintf("{type: mysql, dsn: %q, tls: {}}", maria.DSN(my)), "certificate"},
		{"postgres", fmt.Sprintf("{type: postgres, url: \"postgres://secured@%s/%s\", tls: {ca: %q, cert: %q, key: %q}}", pg.Addr, post, pg.CA, pg.CA, pg.Key), ""},
		{"postgres", fmt.Sprintf("{type: postgres, url: \"postgres://secured@%s/%s?sslmode=disable\"}", pg.Addr, post), "secured"},
		{"redis", fmt.Sprintf("{type: redis, url: \"rediss://%s/3\", tls: {ca: %q, cert: %q, key: %q}}", redis.TLSAddr, redis.CA, redis.CA, redis.Key), ""},
		{"redis", fmt.Sprintf("{type: redis, url: \"rediss://%s/3\", tls: {ca: %q}}", redis.TLSAddr, redis.CA), "take leases"},
	} {
		conn, err := health.Decode(c.typ, section(t, c.conn), "connections.c")
		if err != nil {
			t.Errorf("%s: %v", c.conn, err)
			continue
		}
		s := store(t, c.typ, "type: "+c.typ+"\nconnection: c", lease.Place{Namespace: "secured", TTL: 10 * time.Second, Connection: conn})
		said(t, c.conn, takes(t, s), c.want)
	}
}
