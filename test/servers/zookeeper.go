package servers

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// ZooKeeper is a running ZooKeeper with ticks of 0.5 s: sessions are kept for 1 s to 60 s.
// Everybody may do everything to nodes that say nothing else.
type ZooKeeper struct {
	Addr    string // 127.0.0.1:port, plain
	TLSAddr string // 127.0.0.1:port, TLS, which wants a client certificate
	CA, Key string // PEM files: what it shows, and what a client may show

	mu     sync.Mutex
	server *server
	dir    string
}

var (
	zookeeperOnce sync.Once
	zookeeperMain *ZooKeeper
	zookeeperErr  error
)

// ZooKeeperServer returns the server of this test binary and starts it when first
// called, which takes about 3 s. Tests must use nodes of their own.
func ZooKeeperServer(tb testing.TB) *ZooKeeper {
	tb.Helper()
	zookeeperOnce.Do(func() { zookeeperMain, zookeeperErr = startZooKeeper() })
	if zookeeperErr != nil {
		tb.Fatalf("ZooKeeper: %v", zookeeperErr)
	}
	return zookeeperMain
}

// What Debian names in the jar, and three that it leaves out.
const (
	zookeeperJar  = "/usr/share/java/zookeeper.jar"
	zookeeperJars = zookeeperJar + ":/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar:/usr/share/java/slf4j-simple.jar"
)

func startZooKeeper() (*ZooKeeper, error) {
	if err := require("zookeeper", "java", "setsid"); err != nil {
		return nil, err
	}
	if _, err := os.Stat(zookeeperJar); err != nil {
		return nil, fmt.Errorf("%w; run: apt-get install -y --no-install-recommends zookeeper", err)
	}
	dir, err := os.MkdirTemp("", "qsuper-zookeeper-")
	if err != nil {
		return nil, err
	}
	p, err := ports(2)
	if err != nil {
		return nil, err
	}
	z := &ZooKeeper{
		Addr: fmt.Sprintf("127.0.0.1:%d", p[0]), TLSAddr: fmt.Sprintf("127.0.0.1:%d", p[1]), dir: dir,
		CA: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
	}
	// The data must outlive a restart.
	if _, err := start(dir, true, []string{"PATH=/usr/bin:/bin"}, "sleep", "infinity"); err != nil {
		return nil, err
	}
	if err := Certificate(z.CA, z.Key); err != nil {
		return nil, err
	}
	both := filepath.Join(dir, "both.pem")
	cert, err := os.ReadFile(z.CA)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(z.Key)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(both, append(key, cert...), 0o600); err != nil {
		return nil, err
	}
	config := strings.Join([]string{
		"tickTime=500", "maxSessionTimeout=60000", "maxClientCnxns=0", "admin.enableServer=false", "4lw.commands.whitelist=srvr",
		"dataDir=" + filepath.Join(dir, "data"), fmt.Sprintf("clientPort=%d", p[0]), "clientPortAddress=127.0.0.1",
		fmt.Sprintf("secureClientPort=%d", p[1]), "secureClientPortAddress=127.0.0.1",
		"serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
		"ssl.keyStore.location=" + both, "ssl.keyStore.type=PEM", "ssl.trustStore.location=" + z.CA, "ssl.trustStore.type=PEM", "ssl.clientAuth=need", "",
	}, "\n")
	if err := os.WriteFile(filepath.Join(dir, "zoo.cfg"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return z, z.launch()
}

func (z *ZooKeeper) launch() error {
	s, err := start(z.dir, false, []string{"PATH=/usr/bin:/bin", "HOME=" + z.dir}, "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dzookeeper.forceSync=no", "-cp", zookeeperJars, "org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(z.dir, "zoo.cfg"))
	if err != nil {
		return err
	}
	z.server = s
	return s.await("ZooKeeper", 90*time.Second, func() bool {
		conn, err := net.DialTimeout("tcp", z.Addr, time.Second)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
		_, _ = conn.Write([]byte("srvr"))
		answer, _ := io.ReadAll(conn)
		secure, err := net.DialTimeout("tcp", z.TLSAddr, time.Second)
		if err != nil {
			return false
		}
		_ = secure.Close()
		return bytes.Contains(answer, []byte("Mode: ")) // before, it does not serve yet
	})
}

// Kill kills the server as a power cut would; Start brings it back with the same
// data and addresses.
func (z *ZooKeeper) Kill(tb testing.TB) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.server.stop()
}

// Start starts a killed server again.
func (z *ZooKeeper) Start(tb testing.TB) {
	tb.Helper()
	z.mu.Lock()
	defer z.mu.Unlock()
	if err := z.launch(); err != nil {
		tb.Fatalf("ZooKeeper: %v", err)
	}
}
