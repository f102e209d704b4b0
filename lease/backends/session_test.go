package backends

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"qsuper/health"
	"qsuper/internal/kind"
	"qsuper/lease"
	"qsuper/test/servers"
)

// openSessions opens a store on a connection that is given as in a file.
func openSessions(t *testing.T, typ, conn, ns string, ttl time.Duration) *sessions {
	t.Helper()
	section := func(text string) *kind.Node {
		n, problems := kind.Parse("test.yaml", []byte(text), func(string) (string, bool) { return "", false })
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return n
	}
	to, err := health.Decode(typ, section("type: "+typ+"\n"+conn), "connections.db")
	if err != nil {
		t.Fatal(err)
	}
	spec, err := lease.Decode(typ, section("type: "+typ+"\nconnection: db\nmode: session"), "locks.fleet")
	if err != nil {
		t.Fatal(err)
	}
	if !spec.Kind().Sessions {
		t.Error("mode: session does not say that leases end with a connection")
	}
	s, err := spec.Open(lease.Place{Namespace: ns, TTL: ttl, Connection: to})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.(*hidden).Store.(*sessions)
}

// onBoth runs a test on a real server of each type.
func onBoth(t *testing.T, test func(t *testing.T, typ, conn string)) {
	t.Run("mysql", func(t *testing.T) {
		maria := servers.MariaDB(t)
		name, _ := maria.NewDatabase(t)
		test(t, "mysql", "dsn: "+maria.DSN(name))
	})
	t.Run("postgres", func(t *testing.T) {
		pg := servers.PostgreSQL(t)
		name, _ := pg.NewDatabase(t)
		test(t, "postgres", "url: "+pg.DSN(name))
	})
}

// soon is the context of a request to a server that answers.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

const slot0 = "slot/orders/0"

func take(t *testing.T, s *sessions, owner string) lease.Answer {
	t.Helper()
	a, err := s.Take(soon(t), owner, s.ttl, []lease.Ask{{Key: slot0}, {Key: "slot/orders/1"}})
	if err != nil {
		t.Fatal(err)
	}
	return a[0]
}

func renew(t *testing.T, s *sessions, owner string, token uint64) (bool, error) {
	t.Helper()
	ok, err := s.Renew(soon(t), owner, s.ttl, []lease.Held{{Key: slot0, Token: token}})
	return err == nil && ok[0], err
}

func poll(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !cond(); <-tick.C {
		if time.Since(began) > time.Minute {
			t.Fatal(what + ": not within a minute")
		}
	}
}

// A host whose connection has ended is followed after half a ttl; one that comes back
// before has its lease still.
func TestSessionThatEnds(t *testing.T) {
	onBoth(t, func(t *testing.T, typ, conn string) {
		const ttl = 8 * time.Second
		a, b := openSessions(t, typ, conn, "ends", ttl), openSessions(t, typ, conn, "ends", ttl)
		token := take(t, a, "web1/b/x").Token
		first := a.now.id
		if _, err := a.now.exec(soon(t), a.server.kill(first), nil); err == nil && typ == "mysql" {
			t.Log("the server has answered to the end of a session in that session")
		}
		if other := take(t, b, "web2/b/x"); other.Granted || other.By != "web1/b/x" {
			t.Fatalf("%+v", other)
		}
		if ok, err := renew(t, a, "web1/b/x", token); !ok || err != nil {
			t.Fatalf("after the connection was made anew: %v %v", ok, err)
		}
		if a.now.id == first {
			t.Fatal("the session was not ended")
		}
		sent := time.Now()
		if ok, err := renew(t, a, "web1/b/x", token); !ok || err != nil {
			t.Fatal(ok, err)
		}
		_ = a.Close()
		var next lease.Answer
		poll(t, "the other host takes over", func() bool { next = take(t, b, "web2/b/x"); return next.Granted })
		if took := time.Since(sent); took < ttl/2*99/100 || took > ttl {
			t.Errorf("taken over %s after the last renewal; ttl is %s", took, ttl)
		}
		if next.Token <= token || next.Clean {
			t.Errorf("%+v follows token %d", next, token)
		}
		list, err := b.List(soon(t))
		if err != nil || len(list) != 2 || list[0].Owner != "web2/b/x" || list[1].Owner != "web2/b/x" {
			t.Errorf("%+v %v", list, err)
		}
		again := openSessions(t, typ, conn, "ends", ttl)
		if ok, err := renew(t, again, "web1/b/x", token); ok || err != nil {
			t.Errorf("a lease that another host has is renewed: %v %v", ok, err)
		}
	})
}

// What a host says of itself is not listed any more when its session has ended, and
// is while a session is merely late.
func TestSessionsAreListed(t *testing.T) {
	onBoth(t, func(t *testing.T, typ, conn string) {
		const ttl = 4 * time.Second
		a, b, look := openSessions(t, typ, conn, "list", ttl), openSessions(t, typ, conn, "list", ttl), openSessions(t, typ, conn, "list", ttl)
		for _, u := range []struct {
			s     *sessions
			owner string
		}{{a, "web1/b/x"}, {b, "web2/b/x"}} {
			if _, err := u.s.Take(soon(t), u.owner, ttl, []lease.Ask{{Key: lease.HostPrefix + u.owner}}); err != nil {
				t.Fatal(err)
			}
		}
		_ = a.Close()
		there := func() (owners []string) {
			list, err := look.List(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				owners = append(owners, r.Owner)
			}
			return owners
		}
		poll(t, "the one that has left is not listed", func() bool { return len(there()) < 2 })
		if got := there(); len(got) != 1 || got[0] != "web2/b/x" {
			t.Errorf("%v", got)
		}
		poll(t, "nor the other, which nobody renews", func() bool { return len(there()) == 0 })
	})
}

// The network has swallowed the end of a session: its locks are in the way of the
// next, which ends it. A stranger's session is left alone.
func TestSessionThatLingers(t *testing.T) {
	onBoth(t, func(t *testing.T, typ, conn string) {
		const ttl = time.Minute
		a := openSessions(t, typ, conn, "lingers", ttl)
		token := take(t, a, "web1/b/x").Token
		old := a.now
		defer old.close()
		a.former, a.now = []int64{old.id}, nil
		ok, err := renew(t, a, "web1/b/x", token)
		if ok || err == nil || !strings.Contains(err.Error(), fmt.Sprintf("session %d of the server still has locks", old.id)) {
			t.Fatalf("%v %v", ok, err)
		}
		poll(t, "the old session is ended", func() bool { ok, _ := renew(t, a, "web1/b/x", token); return ok })
		if _, err := number(soon(t), old, a.server.id()); err == nil {
			t.Error("the old session goes on")
		}
		kept := a.now
		defer kept.close()
		a.former, a.now = nil, nil // an engine that knows nothing of the one before
		for range 3 {
			if ok, err := renew(t, a, "web1/b/x", token); ok || err == nil {
				t.Fatalf("%v %v", ok, err)
			}
		}
		if _, err := number(soon(t), kept, a.server.id()); err != nil {
			t.Errorf("a session that nobody knew was ended: %v", err)
		}
	})
}

// Two databases of one server, or two names of daemons, have nothing to do with each
// other, although the server's locks know no databases.
func TestSessionsOfTwoShops(t *testing.T) {
	maria := servers.MariaDB(t)
	one, _ := maria.NewDatabase(t)
	two, _ := maria.NewDatabase(t)
	for _, place := range [][2]string{{one, "shop"}, {two, "shop"}, {one, "shop2"}} {
		if a := take(t, openSessions(t, "mysql", "dsn: "+maria.DSN(place[0]), place[1], time.Minute), "web1/b/x"); !a.Granted {
			t.Errorf("%v: %+v", place, a)
		}
	}
}

// A real pooler gives a session to whoever needs one. It is refused at once, and
// accepted when it keeps one for each connection.
func TestPgBouncer(t *testing.T) {
	pg := servers.PostgreSQL(t)
	name, _ := pg.NewDatabase(t)
	for mode, refused := range map[string]bool{"session": false, "transaction": true, "statement": true} {
		t.Run(mode, func(t *testing.T) {
			pooler := pg.PgBouncer(t, mode)
			url := fmt.Sprintf("url: postgres://shop@%s/%s?sslmode=disable", pooler.Addr, name)
			s := openSessions(t, "postgres", url, "pooled-"+mode, 10*time.Second)
			answers, err := s.Take(soon(t), "web1/b/x", s.ttl, []lease.Ask{{Key: slot0}})
			t.Logf("%v", err)
			switch {
			case refused && !errors.Is(err, errPooled):
				t.Errorf("not refused: %v", err)
			case !refused && (err != nil || !answers[0].Granted):
				t.Errorf("%+v %v", answers, err)
			}
		})
	}
}

// mixer is a pooler between the store and a real MariaDB: what it mixes goes to one of
// two sessions in turn.
type mixer struct {
	*mysqlServer
	honest int   // so many dials give a session of their own
	fakeID int64 // a bare question for the session's number is answered with this, and a larger one for each dial; 0: it is passed on

	sessions []database
	n        int
}

type mixed struct {
	m  *mixer
	id int64
}

func (m *mixer) dial(ctx context.Context) (database, error) {
	if m.honest--; m.honest >= 0 {
		return m.mysqlServer.dial(ctx)
	}
	for len(m.sessions) < 2 {
		conn, err := m.db.Conn(ctx)
		if err != nil {
			return nil, err
		}
		m.sessions = append(m.sessions, pool{conn})
	}
	m.fakeID++
	return mixed{m, m.fakeID}, nil
}

func (d mixed) next() database {
	d.m.n++
	return d.m.sessions[d.m.n/2%2]
}

func (d mixed) exec(ctx context.Context, text string, values []any) (int64, error) {
	return d.next().exec(ctx, text, values)
}

func (d mixed) query(ctx context.Context, text string, values []any, each func(scan func(...any) error) error) error {
	if d.id > 1 && text == d.m.id() {
		return each(func(into ...any) error { *into[0].(*int64) = d.id; return nil })
	}
	return d.next().query(ctx, text, values, each)
}

func (d mixed) close() error { return nil }

// A pooler of MySQL's protocol that mixes statements is refused, also one that answers
// itself which session it is, and one that comes in between later.
func TestMySQLPooler(t *testing.T) {
	maria := servers.MariaDB(t)
	name, _ := maria.NewDatabase(t)
	for what, m := range map[string]*mixer{"mixes": {}, "answers for the server": {fakeID: 1 << 40}, "comes later": {honest: 2}} {
		t.Run(what, func(t *testing.T) {
			s := openSessions(t, "mysql", "dsn: "+maria.DSN(name), "mixed", 10*time.Second)
			m.mysqlServer = s.server.(*mysqlServer)
			s.server = m
			if m.honest > 0 {
				token := take(t, s, "web1/b/x").Token
				s.leave() // the server has been started again, for instance
				if ok, err := renew(t, s, "web1/b/x", token); ok || !errors.Is(err, errPooled) {
					t.Errorf("%v %v", ok, err)
				}
				return
			}
			_, err := s.List(soon(t))
			t.Logf("%v", err)
			if !errors.Is(err, errPooled) {
				t.Errorf("not refused: %v", err)
			}
		})
	}
}

// What a server cannot do is said.
func TestSessionServers(t *testing.T) {
	for what, c := range map[string]struct {
		server sessionServer
		name   string
		value  string
		want   string
	}{
		"galera":        {&mysqlServer{}, "wsrep_on", "ON", "Galera"},
		"no galera":     {&mysqlServer{}, "wsrep_on", "OFF", ""},
		"postgresql 13": {&postgresServer{}, "", "130009", "before 14"},
		"postgresql 14": {&postgresServer{}, "", "140000", ""},
	} {
		err := c.server.fit(soon(t), says{c.name, c.value})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// says is a server that answers everything with a variable, or its value alone.
type says struct{ name, value string }

func (s says) exec(context.Context, string, []any) (int64, error) { return 0, nil }
func (s says) close() error                                       { return nil }

func (s says) query(_ context.Context, _ string, _ []any, each func(scan func(...any) error) error) error {
	row := [][]byte{[]byte(s.value)}
	if s.name != "" {
		row = [][]byte{[]byte(s.name), []byte(s.value)}
	}
	return each(func(into ...any) error { return scanText(row, into) })
}
