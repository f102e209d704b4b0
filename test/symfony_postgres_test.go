package test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"qsuper/test/servers"
)

// postgresShop is a shop on a database of its own.
func postgresShop(t *testing.T) *shop {
	s := newShop(t)
	server := servers.PostgreSQL(t)
	name, db := server.NewDatabase(t)
	s.connection = fmt.Sprintf("{type: postgres, url: %q}", server.DSN(name))
	s.env["DATABASE_URL"] = fmt.Sprintf("postgres://postgres@%s/%s?serverVersion=15", server.Addr, name)
	s.env["MESSENGER_DSN"] = "doctrine://default?queue_name=orders"
	count := func(where string) (n int) {
		if err := db.QueryRow("SELECT COUNT(*) FROM messenger_messages WHERE " + where).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	s.left = func() int { return count("true") }
	s.inFlight = func() int { return count("delivered_at IS NOT NULL") }
	return s
}

func TestSymfonyOnPostgresStoppedInTheMiddle(t *testing.T) { postgresShop(t).stoppedInTheMiddle() }

// Symfony's own transport notifies of a message: with an interval of an hour its
// worker starts at once.
func TestSymfonyOnPostgresIsWokenByNotify(t *testing.T) {
	s := postgresShop(t)
	s.setUp()
	d := newDaemon(t, s.config(0, "instances: 1"))
	path := d.Path("qsuper.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "interval: 100ms", "interval: 1h", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Start()
	eventually(t, patience, "the empty queue is seen", func() bool {
		c := d.Consumer("orders")
		return c.Running == 0 && c.Queue != nil && c.Queue.State == "ok" && c.Queue.Ready != nil && *c.Queue.Ready == 0
	})
	s.publish(3)
	eventually(t, patience, "the messages are handled", func() bool { return s.handled().len(t) >= 3 })
	d.StopAll()
	s.handled().once(t, 3)
}
