package web

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"qsuper/internal/kind"
)

const secret = "0123456789abcdef-test"

// door opens one on loopback that ends with the test, and returns its address.
func door(t *testing.T, hosts ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	say := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	d := New(Options{
		Listen: l.Addr().String(), Token: kind.NewSecret(secret), Hosts: hosts, Source: &fakeSource{}, History: NewHistory(&fakeSource{}), API: say("api"), Metrics: say("metrics"),
		Ready: func() error { return errors.New("everything is being stopped") }, Log: slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

type ask struct {
	method, path, host string
	header             map[string]string
	form               url.Values
}

func (a ask) do(t *testing.T, addr string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	if a.method == "" {
		a.method = "GET"
	}
	req, err := http.NewRequestWithContext(ctx, a.method, "http://"+addr+a.path, strings.NewReader(a.form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if a.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range a.header {
		req.Header.Set(k, v)
	}
	if a.host != "" {
		req.Host = a.host
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// TestWhoIsLetIn goes through the ways to come and what each may have.
func TestWhoIsLetIn(t *testing.T) {
	addr := door(t, "shop.example")
	good := "Bearer " + secret
	cookie := func() string {
		g := newGuard(Options{Listen: addr, Token: kind.NewSecret(secret)})
		return cookieName + "=" + g.mark(time.Now().Add(time.Hour).Unix())
	}()
	old := func() string {
		g := newGuard(Options{Listen: addr, Token: kind.NewSecret(secret)})
		return cookieName + "=" + g.mark(time.Now().Add(-time.Second).Unix())
	}()
	foreign := func() string {
		g := newGuard(Options{Listen: addr, Token: kind.NewSecret("another token of the past")})
		return cookieName + "=" + g.mark(time.Now().Add(time.Hour).Unix())
	}()
	for _, c := range []struct {
		name string
		ask  ask
		want int
	}{
		{"metrics without a token", ask{path: "/metrics"}, 401},
		{"metrics with a wrong one", ask{path: "/metrics", header: map[string]string{"Authorization": "Bearer " + secret + "x"}}, 401},
		{"metrics with an empty one", ask{path: "/metrics", header: map[string]string{"Authorization": "Bearer "}}, 401},
		{"metrics with the token", ask{path: "/metrics", header: map[string]string{"Authorization": good}}, 200},
		{"a program under any name", ask{path: "/metrics", host: "10.0.0.1:9180", header: map[string]string{"Authorization": good}}, 200},
		{"API without anything", ask{path: "/v1/status"}, 401},
		{"API with the token", ask{path: "/v1/status", header: map[string]string{"Authorization": good}}, 200},
		{"API with the token in the address", ask{path: "/v1/status?token=" + secret}, 401},
		{"API with a session", ask{path: "/v1/status", header: map[string]string{"Cookie": cookie}}, 200},
		{"API with a session that is over", ask{path: "/v1/status", header: map[string]string{"Cookie": old}}, 401},
		{"API with a session of another token", ask{path: "/v1/status", header: map[string]string{"Cookie": foreign}}, 401},
		{"a session under a name that is not ours", ask{path: "/v1/status", host: "evil.example", header: map[string]string{"Cookie": cookie}}, 421},
		{"a session under a name of the file", ask{path: "/v1/status", host: "SHOP.example:443", header: map[string]string{"Cookie": cookie}}, 200},
		{"a command from another site", ask{method: "POST", path: "/v1/command", header: map[string]string{"Cookie": cookie, "Origin": "http://evil.example"}}, 403},
		{"a command that a browser says is from elsewhere", ask{method: "POST", path: "/v1/command", header: map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "cross-site"}}, 403},
		{"a command from this page", ask{method: "POST", path: "/v1/command", header: map[string]string{"Cookie": cookie, "Origin": "http://" + addr}}, 200},
		{"health needs no token", ask{path: "/healthz"}, 200},
		{"nor does readiness", ask{path: "/readyz"}, 503},
		{"what is not there", ask{path: "/nothing"}, 404},
		{"the page without a session", ask{path: "/"}, 303},
		{"the page under another name", ask{path: "/", host: "evil.example", header: map[string]string{"Cookie": cookie}}, 421},
		{"the page with one", ask{path: "/", header: map[string]string{"Cookie": cookie}}, 200},
		{"its code without one", ask{path: "/app.js"}, 401},
		{"its code with one", ask{path: "/app.js", header: map[string]string{"Cookie": cookie}}, 200},
		{"the stream without one", ask{path: "/live"}, 401},
		{"the login", ask{path: "/login"}, 200},
		{"a login with a wrong token", ask{method: "POST", path: "/login", form: url.Values{"token": {"wrong"}}}, 303},
		{"a login that another site sends", ask{method: "POST", path: "/login", form: url.Values{"token": {secret}}, header: map[string]string{"Origin": "http://evil.example"}}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			if resp := c.ask.do(t, addr); resp.StatusCode != c.want {
				body, _ := io.ReadAll(resp.Body)
				t.Errorf("%d, want %d: %s", resp.StatusCode, c.want, body)
			}
		})
	}
}

// TestSession: a login with the token gives a cookie that no script can read, and
// that no other site makes a browser send.
func TestSession(t *testing.T) {
	addr := door(t)
	if resp := (ask{method: "POST", path: "/login", form: url.Values{"token": {"wrong"}}}).do(t, addr); len(resp.Cookies()) > 0 || resp.Header.Get("Location") != "/login?wrong" {
		t.Error(resp.Header)
	}
	resp := ask{method: "POST", path: "/login", form: url.Values{"token": {secret}}}.do(t, addr)
	if len(resp.Cookies()) != 1 {
		t.Fatal(resp.Header)
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || strings.Contains(c.Value, secret) {
		t.Error(c)
	}
	if got := (ask{path: "/app.js", header: map[string]string{"Cookie": c.Name + "=" + c.Value}}).do(t, addr); got.StatusCode != 200 {
		t.Error(got.StatusCode)
	}
}

// TestNothingInline: whatever the answer, the page may only load what comes from here.
func TestNothingInline(t *testing.T) {
	addr := door(t)
	for _, path := range []string{"/healthz", "/metrics", "/nothing"} {
		resp := ask{path: path}.do(t, addr)
		csp := resp.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
}

// TestManyConnections: those that are beyond the limit wait, and have their turn when others leave.
func TestManyConnections(t *testing.T) {
	addr := door(t)
	var held []net.Conn
	for range maxConns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	answered := make(chan int, 1)
	go func() { answered <- ask{path: "/healthz"}.do(t, addr).StatusCode }()
	for _, c := range held {
		c.Close()
	}
	if code := <-answered; code != 200 {
		t.Errorf("answered %d", code)
	}
}
