package servers

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql" // registers itself with database/sql
)

// Maria is a running MariaDB. Its user root has no password over TCP.
type Maria struct {
	Addr   string // 127.0.0.1:port
	CA     string // path of the PEM certificate that it shows to whoever asks for TLS
	Socket string // path of its unix socket

	mu     sync.Mutex
	server *server
	dir    string
	user   string // the server drops root, which it refuses to run as unless told so
	port   int
}

var (
	mariaOnce sync.Once
	maria     *Maria
	mariaErr  error
	databases atomic.Int64
)

// MariaDB returns the server of this test binary and starts it when first
// called, which takes about 3 s. Tests must use a database of their own.
func MariaDB(tb testing.TB) *Maria {
	tb.Helper()
	mariaOnce.Do(func() { maria, mariaErr = startMaria() })
	if mariaErr != nil {
		tb.Fatalf("MariaDB: %v", mariaErr)
	}
	return maria
}

// NewMariaDB starts a server of the test's own.
func NewMariaDB(tb testing.TB) *Maria {
	tb.Helper()
	m, err := startMaria()
	if err != nil {
		tb.Fatalf("MariaDB: %v", err)
	}
	tb.Cleanup(func() { m.Kill(tb) })
	return m
}

func startMaria() (*Maria, error) {
	if err := require("mariadb-server", "mariadbd", "mariadb-install-db", "setsid"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "qsuper-mariadb-")
	if err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	p, err := ports(1)
	if err != nil {
		return nil, err
	}
	m := &Maria{
		Addr: fmt.Sprintf("127.0.0.1:%d", p[0]), Socket: filepath.Join(dir, "s.sock"),
		CA: filepath.Join(dir, "cert.pem"), dir: dir, user: me.Username, port: p[0],
	}
	// The data must outlive a restart, so it goes with a guard that does nothing
	// else but wait.
	if _, err := start(dir, true, []string{"PATH=/usr/bin:/bin"}, "sleep", "infinity"); err != nil {
		return nil, err
	}
	if err := Certificate(m.CA, filepath.Join(dir, "key.pem")); err != nil {
		return nil, err
	}
	out, err := exec.Command("mariadb-install-db", "--no-defaults", "--datadir="+filepath.Join(dir, "data"), "--user="+m.user,
		"--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	return m, m.launch()
}

func (m *Maria) launch() error {
	s, err := start(m.dir, false, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + m.dir}, "mariadbd", "--no-defaults",
		"--user="+m.user, "--datadir="+filepath.Join(m.dir, "data"), "--socket="+m.Socket, "--pid-file="+filepath.Join(m.dir, "pid"),
		"--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", m.port), "--skip-name-resolve",
		"--ssl-cert="+m.CA, "--ssl-key="+filepath.Join(m.dir, "key.pem"),
		"--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0")
	if err != nil {
		return err
	}
	m.server = s
	_ = mysql.SetLogger(&mysql.NopLogger{}) // it would tell of every attempt while the server starts
	db, err := sql.Open("mysql", m.DSN(""))
	if err != nil {
		return err
	}
	defer db.Close()
	return s.await("MariaDB", 60*time.Second, func() bool { return db.Ping() == nil })
}

// DSN returns the data source name of a database, as root.
func (m *Maria) DSN(database string) string {
	return fmt.Sprintf("root@tcp(%s)/%s", m.Addr, database)
}

// NewDatabase makes an empty database for the test and returns its name and a
// pool that is connected to it as root; both go when the test ends.
func (m *Maria) NewDatabase(tb testing.TB) (string, *sql.DB) {
	tb.Helper()
	name := fmt.Sprintf("t%d", databases.Add(1))
	db, err := sql.Open("mysql", m.DSN(name))
	if err != nil {
		tb.Fatalf("MariaDB: %v", err)
	}
	m.Exec(tb, "CREATE DATABASE "+name)
	tb.Cleanup(func() {
		_ = db.Close()
		m.Exec(tb, "DROP DATABASE "+name)
	})
	return name, db
}

// Exec runs a statement as root.
func (m *Maria) Exec(tb testing.TB, statement string, args ...any) {
	tb.Helper()
	db, err := sql.Open("mysql", m.DSN(""))
	if err != nil {
		tb.Fatalf("MariaDB: %v", err)
	}
	defer db.Close()
	if _, err := db.Exec(statement, args...); err != nil {
		tb.Fatalf("MariaDB: %s: %v", statement, err)
	}
}

// Kill kills the server as a power cut would; Start brings it back with the
// same data and address.
func (m *Maria) Kill(tb testing.TB) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.server.stop()
}

// Start starts a killed server again.
func (m *Maria) Start(tb testing.TB) {
	tb.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.launch(); err != nil {
		tb.Fatalf("MariaDB: %v", err)
	}
}
