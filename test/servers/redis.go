package servers

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Redis is a running Redis without persistence. Its default user needs no
// password. Keyspace events are off.
type Redis struct {
	Addr    string // 127.0.0.1:port, plain
	TLSAddr string // 127.0.0.1:port, TLS, which wants a client certificate
	CA, Key string // PEM files: what it shows, and what a client may show

	mu     sync.Mutex
	server *server
	dir    string
	ports  []int
}

var (
	redisOnce sync.Once
	redisMain *Redis
	redisErr  error
)

// RedisServer returns the server of this test binary and starts it when first
// called. Tests use keys or databases (0 to 999) of their own.
func RedisServer(tb testing.TB) *Redis {
	tb.Helper()
	redisOnce.Do(func() { redisMain, redisErr = startRedis() })
	if redisErr != nil {
		tb.Fatalf("Redis: %v", redisErr)
	}
	return redisMain
}

func startRedis() (*Redis, error) {
	if err := require("redis-server", "redis-server", "setsid"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "qsuper-redis-")
	if err != nil {
		return nil, err
	}
	p, err := ports(2)
	if err != nil {
		return nil, err
	}
	r := &Redis{
		Addr: fmt.Sprintf("127.0.0.1:%d", p[0]), TLSAddr: fmt.Sprintf("127.0.0.1:%d", p[1]), dir: dir, ports: p,
		CA: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
	}
	if _, err := start(dir, true, []string{"PATH=/usr/bin:/bin"}, "sleep", "infinity"); err != nil {
		return nil, err
	}
	if err := Certificate(r.CA, r.Key); err != nil {
		return nil, err
	}
	return r, r.launch()
}

func (r *Redis) launch() (err error) {
	r.server, err = start(r.dir, false, []string{"PATH=/usr/bin:/bin", "HOME=" + r.dir}, "redis-server",
		"--port", strconv.Itoa(r.ports[0]), "--bind", "127.0.0.1", "--dir", r.dir, "--save", "", "--appendonly", "no", "--databases", "1000",
		"--tls-port", strconv.Itoa(r.ports[1]), "--tls-cert-file", r.CA, "--tls-key-file", r.Key, "--tls-ca-cert-file", r.CA)
	if err != nil {
		return err
	}
	return r.server.await("Redis", 30*time.Second, func() bool { _, err := r.command("PING"); return err == nil })
}

// Do runs a command without spaces in its words, as the default user in database 0.
func (r *Redis) Do(tb testing.TB, words ...string) string {
	tb.Helper()
	answer, err := r.command(words...)
	if err != nil {
		tb.Fatalf("Redis: %s: %v", strings.Join(words, " "), err)
	}
	return answer
}

// command returns the first line of the answer.
func (r *Redis) command(words ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", r.Addr, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(w), w)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && strings.HasPrefix(line, "-") {
		err = fmt.Errorf("%s", strings.TrimSpace(line))
	}
	return strings.TrimSpace(line), err
}

// Kill kills the server: everything in it is lost. Start brings an empty one
// back at the same address.
func (r *Redis) Kill(tb testing.TB) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.server.stop()
}

// Start starts a killed server again.
func (r *Redis) Start(tb testing.TB) {
	tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.launch(); err != nil {
		tb.Fatalf("Redis: %v", err)
	}
}
