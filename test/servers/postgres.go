package servers

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers itself with database/sql as "pgx"
)

// Postgres is a running PostgreSQL. Its user postgres needs no password, others
// do; the user "secured" gets in only with TLS and the client certificate CA.
type Postgres struct {
	Addr    string // 127.0.0.1:port
	CA, Key string // PEM files: what it shows to whoever asks for TLS, and accepts from clients
	Socket  string // folder of its unix socket

	mu     sync.Mutex
	server *server
	dir    string
	port   int
}

var (
	postgresOnce sync.Once
	postgres     *Postgres
	postgresErr  error
	pgDatabases  atomic.Int64
)

// PostgreSQL returns the server of this test binary and starts it when first
// called, which takes about 2 s. Tests must use a database of their own.
func PostgreSQL(tb testing.TB) *Postgres {
	tb.Helper()
	postgresOnce.Do(func() { postgres, postgresErr = startPostgres() })
	if postgresErr != nil {
		tb.Fatalf("PostgreSQL: %v", postgresErr)
	}
	return postgres
}

// NewPostgreSQL starts a server of the test's own.
func NewPostgreSQL(tb testing.TB) *Postgres {
	tb.Helper()
	s, err := startPostgres()
	if err != nil {
		tb.Fatalf("PostgreSQL: %v", err)
	}
	tb.Cleanup(func() { s.Kill(tb) })
	return s
}

// postgresBin is the folder of the newest release that is installed; Debian
// keeps its programs out of PATH.
func postgresBin() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", require("postgresql", "initdb")
	}
	release := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return release(a) - release(b) })
	return filepath.Dir(newest), nil
}

const postgresAccess = `local all all trust
host all postgres 127.0.0.1/32 trust
hostssl all secured 127.0.0.1/32 trust clientcert=verify-ca
hostnossl all secured 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
`

func startPostgres() (*Postgres, error) {
	if err := require("util-linux", "setsid", "setpriv"); err != nil {
		return nil, err
	}
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "qsuper-postgres-")
	if err != nil {
		return nil, err
	}
	p, err := ports(1)
	if err != nil {
		return nil, err
	}
	s := &Postgres{
		Addr: fmt.Sprintf("127.0.0.1:%d", p[0]), Socket: dir, dir: dir, port: p[0],
		CA: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
	}
	// The data must outlive a restart.
	if _, err := start(dir, true, []string{"PATH=/usr/bin:/bin"}, "sleep", "infinity"); err != nil {
		return nil, err
	}
	if err := Certificate(s.CA, s.Key); err != nil {
		return nil, err
	}
	if err := give(dir, s.CA, s.Key); err != nil {
		return nil, err
	}
	argv := unprivileged(filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8")
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "pg_hba.conf"), []byte(postgresAccess), 0o644); err != nil {
		return nil, err
	}
	return s, s.launch(bin)
}

// nobody is who a server runs as that refuses to be root.
const nobody = 65534

// unprivileged prefixes a command so that it does not run as root.
func unprivileged(argv ...string) []string {
	if os.Geteuid() != 0 {
		return argv
	}
	id := strconv.Itoa(nobody)
	return append([]string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups"}, argv...)
}

// give makes files the property of whom unprivileged runs commands as.
func give(names ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range names {
		if err := os.Chown(name, nobody, nobody); err != nil {
			return err
		}
	}
	return nil
}

func (s *Postgres) launch(bin string) error {
	argv := unprivileged(filepath.Join(bin, "postgres"), "-D", filepath.Join(s.dir, "data"), "-k", s.dir, "-p", strconv.Itoa(s.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=40",
		// In its own directory: what is in /dev/shm stays there when the server is killed.
		"-c", "dynamic_shared_memory_type=mmap",
		"-c", "ssl=on", "-c", "ssl_cert_file="+s.CA, "-c", "ssl_key_file="+s.Key, "-c", "ssl_ca_file="+s.CA)
	server, err := start(s.dir, false, []string{"PATH=/usr/bin:/bin", "HOME=" + s.dir}, argv...)
	if err != nil {
		return err
	}
	s.server = server
	db, err := sql.Open("pgx", s.DSN("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	return server.await("PostgreSQL", 60*time.Second, func() bool { return db.Ping() == nil })
}

// DSN returns the URL of a database, as postgres.
func (s *Postgres) DSN(database string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", s.Addr, database)
}

// NewDatabase makes an empty database for the test and returns its name and a
// pool that is connected to it as postgres; both go when the test ends.
func (s *Postgres) NewDatabase(tb testing.TB) (string, *sql.DB) {
	tb.Helper()
	name := fmt.Sprintf("t%d", pgDatabases.Add(1))
	s.Exec(tb, "CREATE DATABASE "+name)
	db, err := sql.Open("pgx", s.DSN(name))
	if err != nil {
		tb.Fatalf("PostgreSQL: %v", err)
	}
	tb.Cleanup(func() {
		_ = db.Close()
		s.Exec(tb, "DROP DATABASE "+name+" WITH (FORCE)")
	})
	return name, db
}

// Exec runs a statement as postgres.
func (s *Postgres) Exec(tb testing.TB, statement string) {
	tb.Helper()
	db, err := sql.Open("pgx", s.DSN("postgres"))
	if err != nil {
		tb.Fatalf("PostgreSQL: %v", err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		tb.Fatalf("PostgreSQL: %s: %v", statement, err)
	}
}

// Kill kills the server as a power cut would; Start brings it back with the
// same data and address.
func (s *Postgres) Kill(tb testing.TB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server.stop()
}

// Start starts a killed server again.
func (s *Postgres) Start(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	bin, err := postgresBin()
	if err == nil {
		err = s.launch(bin)
	}
	if err != nil {
		tb.Fatalf("PostgreSQL: %v", err)
	}
}
