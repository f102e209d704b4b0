package servers

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// EtcdServer is a running etcd with one member.
type EtcdServer struct {
	URL   string
	CA    string // of a secured one: PEM file, what it shows
	Cert  string // what clients show, with Key; its subject has no name
	Key   string
	Named string // what it does not want to see with NamedKey, as its gateway cannot pass on a name

	NamedKey string

	mu     sync.Mutex
	server *server
	dir    string
	argv   []string
}

var (
	etcdOnce sync.Once
	etcdMain *EtcdServer
	etcdErr  error
)

// Etcd returns the URL of the server of this test binary and starts it when first
// called, which takes about 1 s. Tests must use a name space of their own.
func Etcd(tb testing.TB) string {
	tb.Helper()
	return EtcdMain(tb).URL
}

// EtcdMain is the server of Etcd.
func EtcdMain(tb testing.TB) *EtcdServer {
	tb.Helper()
	etcdOnce.Do(func() { etcdMain, etcdErr = startEtcd(false) })
	if etcdErr != nil {
		tb.Fatalf("etcd: %v", etcdErr)
	}
	return etcdMain
}

// EtcdSecured starts a server that speaks TLS only, wants a client certificate, and
// lets in its users "root" and "shop" with their names, twice, as passwords: shop may
// do everything under qsuper/shop/, and nothing else.
func EtcdSecured(tb testing.TB) *EtcdServer {
	tb.Helper()
	e, err := startEtcd(true)
	if err == nil {
		err = e.secure()
	}
	if err != nil {
		tb.Fatalf("etcd: %v", err)
	}
	tb.Cleanup(func() { e.Kill(tb) })
	return e
}

func startEtcd(secured bool) (*EtcdServer, error) {
	if err := require("etcd-server", "etcd", "setsid"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "qsuper-etcd-")
	if err != nil {
		return nil, err
	}
	p, err := ports(2)
	if err != nil {
		return nil, err
	}
	e := &EtcdServer{dir: dir}
	// The data must outlive a restart.
	if _, err := start(dir, true, []string{"PATH=/usr/bin:/bin"}, "sleep", "infinity"); err != nil {
		return nil, err
	}
	scheme := "http"
	var extra []string
	if secured {
		scheme, e.CA, e.Cert, e.Key = "https", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem")
		e.Named, e.NamedKey = e.CA, filepath.Join(dir, "key.pem")
		if err := errors.Join(Certificate(e.CA, e.NamedKey), certificate(e.Cert, e.Key, "")); err != nil {
			return nil, err
		}
		own, _ := os.ReadFile(e.CA)
		clients, err := os.ReadFile(e.Cert)
		if err != nil {
			return nil, err
		}
		trusted := filepath.Join(dir, "trusted.pem")
		if err := os.WriteFile(trusted, append(own, clients...), 0o600); err != nil {
			return nil, err
		}
		extra = []string{"--cert-file", e.CA, "--key-file", e.NamedKey, "--client-cert-auth", "--trusted-ca-file", trusted}
	}
	e.URL = fmt.Sprintf("%s://127.0.0.1:%d", scheme, p[0])
	peer := fmt.Sprintf("http://127.0.0.1:%d", p[1])
	e.argv = append([]string{"etcd", "--data-dir", filepath.Join(dir, "data"),
		"--listen-client-urls", e.URL, "--advertise-client-urls", e.URL, "--listen-peer-urls", peer,
		"--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer, "--unsafe-no-fsync"}, extra...)
	return e, e.launch()
}

func (e *EtcdServer) launch() error {
	s, err := start(e.dir, false, []string{"PATH=/usr/bin:/bin", "HOME=" + e.dir, "ETCD_UNSUPPORTED_ARCH=arm64"}, e.argv...)
	if err != nil {
		return err
	}
	e.server = s
	return s.await("etcd", 60*time.Second, func() bool {
		err := e.post("", "kv/range", map[string]any{"key": []byte("a")}, nil)
		return err == nil || strings.Contains(err.Error(), "permission denied") // it is secured already
	})
}

// post asks the server as someone who has the certificate.
func (e *EtcdServer) post(token, path string, body, answer any) error {
	client := http.Client{Timeout: 10 * time.Second}
	if e.CA != "" {
		pair, err := tls.LoadX509KeyPair(e.Cert, e.Key)
		if err != nil {
			return err
		}
		// It is known by its port; the tests of clients are about its certificate.
		client.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true}}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, e.URL+"/v3/"+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, said)
	}
	if answer != nil {
		return json.Unmarshal(said, answer)
	}
	return nil
}

// secure makes the users and turns authentication on.
func (e *EtcdServer) secure() error {
	type object = map[string]any
	prefix := []byte("qsuper/shop/")
	end := []byte("qsuper/shop0")
	for _, step := range []struct {
		path string
		body object
	}{
		{"auth/user/add", object{"name": "root", "password": "rootroot"}},
		{"auth/role/add", object{"name": "root"}},
		{"auth/user/grant", object{"user": "root", "role": "root"}},
		{"auth/user/add", object{"name": "shop", "password": "shopshop"}},
		{"auth/role/add", object{"name": "locks"}},
		{"auth/role/grant", object{"name": "locks", "perm": object{"permType": "READWRITE", "key": prefix, "range_end": end}}},
		{"auth/user/grant", object{"user": "shop", "role": "locks"}},
		{"auth/enable", object{}},
	} {
		if err := e.post("", step.path, step.body, nil); err != nil {
			return err
		}
	}
	return nil
}

// Kill kills the server as a power cut would; Start brings it back with the same
// data and address.
func (e *EtcdServer) Kill(tb testing.TB) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server.stop()
}

// Start starts a killed server again.
func (e *EtcdServer) Start(tb testing.TB) {
	tb.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.launch(); err != nil {
		tb.Fatalf("etcd: %v", err)
	}
}
