package test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"qsuper/health/backends"
	"qsuper/test/servers"
)

// teller is a backend that tells of new messages by itself.
type teller struct {
	connection string // YAML
	layout     string
	publish    func(queue string)
}

func sqliteTeller(t *testing.T) teller {
	q := newQueue(t)
	return teller{
		connection: fmt.Sprintf("{type: sqlite, path: %q}", q.path()), layout: "plain",
		publish: func(queue string) { execute(t, q.db, "INSERT INTO messages (queue, body) VALUES ('"+queue+"', '')") },
	}
}

func postgresTeller(t *testing.T) teller {
	server := servers.PostgreSQL(t)
	name, db := server.NewDatabase(t)
	execute(t, db, backends.PlainPostgres)
	execute(t, db, backends.NotifyPostgres)
	return teller{
		connection: fmt.Sprintf("{type: postgres, url: %q}", server.DSN(name)), layout: "plain",
		publish: func(queue string) { execute(t, db, "INSERT INTO messages (queue, body) VALUES ('"+queue+"', '')") },
	}
}

func redisTeller(t *testing.T) teller {
	server := servers.RedisServer(t)
	server.Do(t, "CONFIG", "SET", "notify-keyspace-events", "Kl")
	t.Cleanup(func() { server.Do(t, "CONFIG", "SET", "notify-keyspace-events", ""); server.Do(t, "FLUSHDB") })
	return teller{
		connection: fmt.Sprintf("{type: redis, url: \"redis://%s\"}", server.Addr), layout: "list",
		publish: func(queue string) { server.Do(t, "RPUSH", queue, "x") },
	}
}

func execute(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

// Where the backend tells of a message the interval is only the fallback: with
// one of an hour a consumer starts at once. How soon is logged, not judged: the
// machine may be busy.
func TestAMessageStartsItsConsumerAtOnce(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T) teller{"sqlite": sqliteTeller, "postgres": postgresTeller, "redis": redisTeller} {
		t.Run(name, func(t *testing.T) { prepare(t).startsAtOnce(t) })
	}
}

func (b teller) startsAtOnce(t *testing.T) {
	const lanes = 9
	dir := t.TempDir()
	var file strings.Builder
	fmt.Fprintf(&file, "connections:\n  backend: %s\nconsumers:\n", b.connection)
	for i := range lanes {
		fmt.Fprintf(&file, "  lane%d:\n    shell: \"date +%%s.%%N >%s; exec sleep 1000\"\n    queue: {connection: backend, layout: %s}\n    idle_timeout: 0\n",
			i, filepath.Join(dir, strconv.Itoa(i)), b.layout)
	}
	d := newDaemon(t, file.String())
	path := d.Path("qsuper.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rare := strings.Replace(string(text), "interval: 100ms", "interval: 1h", 1)
	if err := os.WriteFile(path, []byte(rare), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Start()
	// The first message is seen by the first look, if not by what tells of it:
	// only then does everything listen.
	began := func(lane int) (at float64) {
		eventually(t, patience, fmt.Sprintf("lane%d starts", lane), func() bool {
			out, _ := os.ReadFile(filepath.Join(dir, strconv.Itoa(lane)))
			at, err = strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
			return err == nil
		})
		return at
	}
	var took []time.Duration
	for lane := range lanes {
		published := unix(time.Now())
		b.publish(fmt.Sprintf("lane%d", lane))
		if after := began(lane) - published; lane > 0 {
			took = append(took, time.Duration(after*float64(time.Second)))
		}
	}
	d.StopAll()
	slices.Sort(took)
	t.Logf("message to start: median %s, all %s", took[len(took)/2], took)
}
