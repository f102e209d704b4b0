package servers

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Small is a running server that is small enough for one per test.
type Small struct {
	Addr    string // 127.0.0.1:port
	CA, Key string // PEM files: what it shows, and what a client may show; "" = it has no TLS

	mu     sync.Mutex
	server *server
	dir    string
	argv   []string
}

// NATS starts a NATS server with JetStream, which lets in the user probe with
// the password and nobody else. With secure it speaks TLS only, with clients that show CA.
func NATS(tb testing.TB, password string, secure bool) *Small {
	tb.Helper()
	return startSmall(tb, "nats-server", func(s *Small, port int) []string {
		argv := []string{"nats-server", "-a", "127.0.0.1", "-p", fmt.Sprint(port), "-js", "-sd", s.dir, "--user", "probe", "--pass", password}
		if secure {
			s.CA, s.Key = filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem")
			if err := Certificate(s.CA, s.Key); err != nil {
				tb.Fatal(err)
			}
			argv = append(argv, "--tlsverify", "--tlscert", s.CA, "--tlskey", s.Key, "--tlscacert", s.CA)
		}
		return argv
	})
}

// Beanstalkd starts a beanstalkd that keeps its jobs in a file.
func Beanstalkd(tb testing.TB) *Small {
	tb.Helper()
	return startSmall(tb, "beanstalkd", func(s *Small, port int) []string {
		return []string{"beanstalkd", "-l", "127.0.0.1", "-p", fmt.Sprint(port), "-b", s.dir}
	})
}

func startSmall(tb testing.TB, name string, argv func(s *Small, port int) []string) *Small {
	tb.Helper()
	p, err := ports(1)
	if err != nil {
		tb.Fatal(err)
	}
	return startSmallAt(tb, name, p[0], argv)
}

func startSmallAt(tb testing.TB, name string, port int, argv func(s *Small, port int) []string) *Small {
	tb.Helper()
	if err := require(name, name, "setsid"); err != nil {
		tb.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "qsuper-"+name+"-")
	if err != nil {
		tb.Fatal(err)
	}
	folder, err := start(dir, true, []string{"PATH=/usr/bin:/bin"}, "sleep", "infinity") // removes it, whatever happens
	if err != nil {
		tb.Fatal(err)
	}
	s := &Small{Addr: fmt.Sprintf("127.0.0.1:%d", port), dir: dir}
	s.argv = argv(s, port)
	s.Start(tb)
	tb.Cleanup(func() {
		s.Kill(tb)
		folder.stop()
	})
	return s
}

// Kill kills the server; Start brings it back with the same data and address.
func (s *Small) Kill(tb testing.TB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server.stop()
}

// Start starts a killed server again.
func (s *Small) Start(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	s.server, err = start(s.dir, false, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + s.dir}, s.argv...)
	if err == nil {
		err = s.server.await(s.argv[0], 30*time.Second, func() bool {
			c, err := net.Dial("tcp", s.Addr)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	if err != nil {
		tb.Fatalf("%s: %v", s.argv[0], err)
	}
}
