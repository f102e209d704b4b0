package test

import (
	"fmt"
	"testing"

	"qsuper/test/servers"
)

// mariaShop is a shop on a database of its own.
func mariaShop(t *testing.T) *shop {
	s := newShop(t)
	server := servers.MariaDB(t)
	name, db := server.NewDatabase(t)
	s.connection = fmt.Sprintf("{type: mysql, dsn: %q}", server.DSN(name))
	s.env["MESSENGER_DSN"] = "doctrine://default?queue_name=orders"
	s.env["DATABASE_URL"] = fmt.Sprintf("mysql://root@%s/%s", server.Addr, name)
	count := func(where string) int {
		var n int
		if err := db.QueryRow("SELECT COUNT(*) FROM messenger_messages WHERE queue_name = 'orders' AND " + where).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	// What is done is marked with this date and deleted by the next consumer.
	const open = "(delivered_at IS NULL OR delivered_at < '9999-12-31 23:59:59')"
	s.left = func() int { return count(open) }
	s.inFlight = func() int { return count("delivered_at IS NOT NULL AND " + open) }
	return s
}

func TestSymfonyOnMariaDBWhileTheEngineIsKilled(t *testing.T) { mariaShop(t).engineKilled() }

func TestSymfonyOnMariaDBStoppedInTheMiddle(t *testing.T) { mariaShop(t).stoppedInTheMiddle() }
