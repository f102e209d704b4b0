package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestDoorOverTCP has a real daemon asked over TCP: with the token and without
// it, after a reload that moves it, and with its port taken by somebody else,
// which consumers must not notice.
func TestDoorOverTCP(t *testing.T) {
	const token = "a-token-of-24-characters"
	first, second := freeAddress(t), freeAddress(t)
	file := `  http: {listen: "%s", token_file: token}
consumers:
  work: {command: [sleep, "1000"], instances: 3}
`
	d := newDaemon(t, fmt.Sprintf(file, first))
	if err := os.WriteFile(d.Path("token"), []byte(token+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := d.Run("check"); r.Code != 78 || !strings.Contains(r.Stdout+r.Stderr, "is open to everybody") {
		t.Errorf("a token that everybody may read: code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if err := os.Chmod(d.Path("token"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Start()
	eventually(t, patience, "metrics say three run", func() bool {
		return strings.Contains(get(first, "/metrics", token).body, `qsuper_consumer_instances{consumer="work",phase="running"} 3`)
	})
	if a := get(first, "/metrics", ""); a.code != http.StatusUnauthorized || strings.Contains(a.body, "work") {
		t.Errorf("without a token: %+v", a)
	}
	if a := get(first, "/readyz", ""); a.code != http.StatusOK {
		t.Errorf("ready: %+v", a)
	}
	if a := get(first, "/v1/status", token); a.code != http.StatusOK || !strings.Contains(a.body, `"work"`) {
		t.Errorf("status: %+v", a)
	}
	for _, words := range [][]string{{"status", "--json"}, {"events"}, {"explain", "work"}} {
		if out := d.Run(words...).Stdout; strings.Contains(out, token) {
			t.Errorf("%v shows the token", words)
		}
	}

	taken, err := net.Listen("tcp", second)
	if err != nil {
		t.Fatal(err)
	}
	d.Write(fmt.Sprintf(file, second))
	d.Must("reload")
	eventually(t, patience, "status says that the port is taken", func() bool {
		return strings.Contains(d.Run("status", "--json").Stdout, "address already in use")
	})
	if a := get(first, "/readyz", ""); a.err == nil {
		t.Errorf("the former address still answers: %+v", a)
	}
	taken.Close()
	eventually(t, patience, "it answers at the new address", func() bool { return get(second, "/readyz", "").code == http.StatusOK })
	if r := d.Run("status"); r.Code != 0 || !strings.Contains(r.Stdout, "3/3") {
		t.Errorf("code %d\n%s", r.Code, r.Stdout)
	}
}

// freeAddress is a port of loopback that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

type answer struct {
	code int
	body string
	err  error
}

func get(addr, path, token string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return answer{err: err}
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(body), err}
}
