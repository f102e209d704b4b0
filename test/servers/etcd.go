package servers

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	etcdOnce sync.Once
	etcdURL  string
	etcdErr  error
)

// Etcd returns the URL of the server of this test binary and starts it when first
// called, which takes about 1 s. Tests must use a name space of their own.
func Etcd(tb testing.TB) string {
	tb.Helper()
	etcdOnce.Do(func() { etcdURL, etcdErr = startEtcd() })
	if etcdErr != nil {
		tb.Fatalf("etcd: %v", etcdErr)
	}
	return etcdURL
}

func startEtcd() (string, error) {
	if err := require("etcd-server", "etcd", "setsid"); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "qsuper-etcd-")
	if err != nil {
		return "", err
	}
	p, err := ports(2)
	if err != nil {
		return "", err
	}
	url, peer := fmt.Sprintf("http://127.0.0.1:%d", p[0]), fmt.Sprintf("http://127.0.0.1:%d", p[1])
	s, err := start(dir, true, []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "ETCD_UNSUPPORTED_ARCH=arm64"}, "etcd", "--data-dir", filepath.Join(dir, "data"),
		"--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer,
		"--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer, "--unsafe-no-fsync")
	if err != nil {
		return "", err
	}
	return url, s.await("etcd", 60*time.Second, func() bool {
		resp, err := http.Post(url+"/v3/kv/range", "application/json", strings.NewReader(`{"key":"YQ=="}`))
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}
