package servers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// EtcdCluster starts an etcd of three members and waits until they have a leader. Their
// client URLs are http://Addr. Elections are slow, as the machine may be.
func EtcdCluster(tb testing.TB) []*Small {
	tb.Helper()
	const n = 3
	p, err := ports(2 * n)
	if err != nil {
		tb.Fatal(err)
	}
	var cluster []string
	for i := range n {
		cluster = append(cluster, fmt.Sprintf("m%d=http://127.0.0.1:%d", i, p[n+i]))
	}
	var members []*Small
	for i := range n {
		members = append(members, startSmallAt(tb, "etcd", p[i], func(s *Small, port int) []string {
			url, peer := fmt.Sprintf("http://127.0.0.1:%d", port), fmt.Sprintf("http://127.0.0.1:%d", p[n+i])
			return []string{"env", "ETCD_UNSUPPORTED_ARCH=arm64", "etcd", "--name", fmt.Sprint("m", i), "--data-dir", filepath.Join(s.dir, "data"),
				"--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
				"--initial-cluster", strings.Join(cluster, ","), "--heartbeat-interval", "200", "--election-timeout", "2000", "--unsafe-no-fsync"}
		}))
	}
	EtcdLeader(tb, members)
	return members
}

// EtcdLeader waits until the members that answer have a leader, and returns its place.
func EtcdLeader(tb testing.TB, members []*Small) int {
	tb.Helper()
	client := http.Client{Timeout: time.Second}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		for i, m := range members {
			resp, err := client.Post("http://"+m.Addr+"/v3/maintenance/status", "application/json", bytes.NewReader([]byte("{}")))
			if err != nil {
				continue
			}
			var st struct {
				Header struct {
					ID string `json:"member_id"`
				} `json:"header"`
				Leader string `json:"leader"`
			}
			err = json.NewDecoder(resp.Body).Decode(&st)
			resp.Body.Close()
			if err == nil && st.Leader != "" && st.Leader == st.Header.ID {
				return i
			}
		}
	}
	tb.Fatal("etcd: no member leads")
	return 0
}
