package servers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// Pause stops the server with all of its processes (SIGSTOP), or lets it go on.
func (m *Maria) Pause(tb testing.TB, on bool) { pause(tb, &m.mu, &m.server, on) }

// Pause stops the server with all of its processes (SIGSTOP), or lets it go on.
func (s *Postgres) Pause(tb testing.TB, on bool) { pause(tb, &s.mu, &s.server, on) }

// Pause stops the server (SIGSTOP), or lets it go on.
func (r *Redis) Pause(tb testing.TB, on bool) { pause(tb, &r.mu, &r.server, on) }

// Pause stops the server (SIGSTOP), or lets it go on.
func (z *ZooKeeper) Pause(tb testing.TB, on bool) { pause(tb, &z.mu, &z.server, on) }

// Pause stops the server (SIGSTOP), or lets it go on.
func (s *Small) Pause(tb testing.TB, on bool) { pause(tb, &s.mu, &s.server, on) }

type locker interface {
	Lock()
	Unlock()
}

func pause(tb testing.TB, mu locker, s **server, on bool) {
	tb.Helper()
	mu.Lock()
	defer mu.Unlock()
	sig := syscall.SIGCONT
	if on {
		sig = syscall.SIGSTOP
	}
	for _, pid := range family((*s).pid) {
		if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
			tb.Fatalf("pause the server: %v", err)
		}
	}
}

// family is a process and what descends from it, parents first.
func family(pid int) []int {
	all := []int{pid}
	parents := map[int]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		b, err := os.ReadFile(name)
		_, after, found := bytes.Cut(b, []byte(") "))
		f := bytes.Fields(after)
		if err != nil || !found || len(f) < 2 {
			continue
		}
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		parents[child], _ = strconv.Atoi(string(f[1]))
	}
	for i := 0; i < len(all); i++ {
		for child, parent := range parents {
			if parent == all[i] && !slices.Contains(all, child) {
				all = append(all, child)
			}
		}
	}
	return all
}

// NewEtcd starts an etcd of the test's own. Its client URL is http://Addr.
func NewEtcd(tb testing.TB) *Small {
	tb.Helper()
	if err := require("etcd-server", "etcd"); err != nil {
		tb.Fatal(err)
	}
	return startSmall(tb, "etcd", func(s *Small, port int) []string {
		p, err := ports(1)
		if err != nil {
			tb.Fatal(err)
		}
		url, peer := fmt.Sprintf("http://127.0.0.1:%d", port), fmt.Sprintf("http://127.0.0.1:%d", p[0])
		return []string{"env", "ETCD_UNSUPPORTED_ARCH=arm64", "etcd", "--data-dir", filepath.Join(s.dir, "data"),
			"--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer,
			"--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer, "--unsafe-no-fsync"}
	})
}
