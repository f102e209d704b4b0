package backends_test

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"qsuper/health"
	"qsuper/health/healthtest"
)

// broker is an HTTP server with queues.
type broker struct {
	*httptest.Server
	mu       sync.Mutex
	queues   map[string][]string
	password string
}

func newBroker(t *testing.T) *broker {
	b := &broker{queues: map[string][]string{}, password: nasty}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /health/queues/{name}", func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		bodies, ok := b.queues[r.PathValue("name")]
		switch {
		case r.PathValue("name") == "broken":
			http.Error(w, "out of order", http.StatusInternalServerError)
		case !ok:
			http.NotFound(w, r)
		default:
			fmt.Fprintf(w, `{"name": %q, "counts": [{"messages_ready": %d}]}`, r.PathValue("name"), len(bodies))
		}
	})
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "probe" || password != b.password {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(b.Close)
	return b
}

func httpQueue(name string) health.Queue {
	return health.Queue{Name: name, Path: "/queues/{queue}", Value: ".counts[0].messages_ready"}
}

func TestHTTP(t *testing.T) {
	b := newBroker(t)
	n := 0
	healthtest.Run(t, healthtest.Suite{
		Addr: b.Listener.Addr().String(), Password: nasty, Connections: 4, Row: "http",
		Spec: func(t *testing.T, addr, password string) health.Spec {
			u := url.URL{Scheme: "http", Host: addr, Path: "/health", User: url.UserPassword("probe", password)}
			return spec(t, "http", "{type: http, url: %q}", u.String())
		},
		Queues: &healthtest.Queues{
			New: func(*testing.T) health.Queue {
				n++
				q := httpQueue(fmt.Sprintf("a/b?c &%%ü+%d", n))
				b.mu.Lock()
				defer b.mu.Unlock()
				b.queues[q.Name] = nil
				return q
			},
			Missing: func(*testing.T) health.Queue { return httpQueue("none") },
			Broken:  func(*testing.T) health.Queue { return httpQueue("broken") },
			Publish: func(_ *testing.T, q health.Queue, bodies ...string) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.queues[q.Name] = append(b.queues[q.Name], bodies...)
			},
			Content: func(_ *testing.T, q health.Queue) []string {
				b.mu.Lock()
				defer b.mu.Unlock()
				return b.queues[q.Name]
			},
		},
	})
}

// answering is a connection to a server that answers everything alike.
func answering(t *testing.T, handler http.HandlerFunc) health.Spec {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return spec(t, "http", "{type: http, url: %q, timeout: 2s}", s.URL+"/base?token=1")
}

func TestHTTPAnswers(t *testing.T) {
	const n = health.NotKnown
	for name, c := range map[string]struct {
		body, value string
		ready       int64
		reason      string
	}{
		"a number":            {body: "12\n", ready: 12},
		"a number with point": {body: "12.0", ready: 12},
		"JSON":                {body: `{"a": {"b": [1, {"c.d": 7}]}}`, value: `.a.b[1]["c.d"]`, ready: 7},
		"a number in quotes":  {body: `{"a": "7"}`, value: ".a", ready: 7},
		"by name":             {body: `{"q.1": {"n": 3}}`, value: ".{queue}.n", ready: 3},
		"text":                {body: "many", ready: n, reason: "not a whole number"},
		"nothing":             {body: "", ready: n, reason: "not a whole number"},
		"negative":            {body: "-4", ready: n, reason: "negative"},
		"huge":                {body: "1e30", ready: n, reason: "not a whole number"},
		"a fraction":          {body: "1.5", ready: n, reason: "not a whole number"},
		"no such key":         {body: `{"b": 1}`, value: ".a", ready: n, reason: `has no "a"`},
		"no such index":       {body: `[1]`, value: "[1]", ready: n, reason: "has no [1]"},
		"not an object":       {body: `[1]`, value: ".a", ready: n, reason: `has no "a"`},
		"not a number":        {body: `{"a": null}`, value: ".a", ready: n, reason: "not a number"},
		"half JSON":           {body: `{"a": 1`, value: ".a", ready: n, reason: "not JSON"},
		"two values":          {body: `{"a": 1} {}`, value: ".a", ready: n, reason: "not JSON"},
		"larger than a MiB":   {body: strings.Repeat("1", 1<<20+1), ready: n, reason: "larger than 1024 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			s := answering(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.body) })
			o := look(t, s, health.Queue{Name: "q.1", Path: "/x", Value: c.value})
			if got := o.Readings[0]; !o.Up || got.Ready != c.ready || !strings.Contains(got.Err, c.reason) || (got.State == health.OK) != (c.reason == "") {
				t.Errorf("got %+v", o)
			}
		})
	}
}

// Queues that are read from one page cost one request.
func TestHTTPOnePageForMany(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	s := answering(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.RequestURI)
		fmt.Fprint(w, `{"a": 1, "b": 2}`)
	})
	o := look(t, s, health.Queue{Name: "a", Path: "?all", Value: ".{queue}"}, health.Queue{Name: "b", Path: "?all", Value: ".{queue}"})
	if got := fmt.Sprint(o.Readings[0].Ready, o.Readings[1].Ready, asked); got != "1 2 [/base?token=1&all]" {
		t.Errorf("got %s", got)
	}
}

func TestHTTPDown(t *testing.T) {
	secret := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, 5) }))
	defer secret.Close()
	q := health.Queue{Name: "q", Path: "/q"}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		reason  string
	}{
		"another status": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "status 503 instead of 200"},
		"a redirect":     {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, secret.URL, http.StatusFound) }, "status 302"},
		"slow headers":   {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer within 2s"},
		"endless headers": {func(w http.ResponseWriter, _ *http.Request) {
			for i := range 2000 {
				w.Header().Set(fmt.Sprint("x", i), strings.Repeat("y", 100))
			}
		}, "header"},
	} {
		t.Run(name, func(t *testing.T) {
			o := look(t, answering(t, c.handler), q)
			if o.Up || !strings.Contains(o.Err, c.reason) || strings.Contains(o.Err, "token") || o.Latency > 3*time.Second {
				t.Errorf("got %+v", o)
			}
		})
	}
}

// A server that answers what it is asked for, and whose queue page is wrong, is up.
func TestHTTPUpWithUnknownQueue(t *testing.T) {
	s := answering(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/base/wrong":
			w.WriteHeader(500)
		case "/base/endless":
			for r.Context().Err() == nil {
				fmt.Fprint(w, strings.Repeat("1", 1<<16))
			}
		}
	})
	for path, reason := range map[string]string{"/wrong": "status 500", "/endless": "larger than 1024 KiB"} {
		if o := look(t, s, health.Queue{Name: "q", Path: path}); !o.Up || o.Readings[0].State != health.Unknown || !strings.Contains(o.Readings[0].Err, reason) {
			t.Errorf("got %+v", o)
		}
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are meant to fail
	s.StartTLS()
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := s.Listener.Addr().String()
	plain := httptest.NewServer(nil)
	defer plain.Close()
	for section, reason := range map[string]string{
		fmt.Sprintf("{type: http, url: %q, tls: {ca: %q}}", s.URL, ca):                             "",
		fmt.Sprintf("{type: http, url: %q}", s.URL):                                                "certificate",
		fmt.Sprintf("{type: http, url: %q, tls: {ca: %q, server_name: other.example}}", s.URL, ca): "other.example",
		fmt.Sprintf("{type: http, url: %q, tls: {ca: /no/such}}", s.URL):                           "read tls.ca",
		fmt.Sprintf("{type: tcp, address: %q, tls: {ca: %q}}", addr, ca):                           "",
		fmt.Sprintf("{type: tcp, address: %q, tls: {}}", addr):                                     "certificate",
		fmt.Sprintf("{type: tcp, address: %q, tls: {}}", plain.Listener.Addr()):                    "tls:",
		fmt.Sprintf("{type: tcp, address: %q}", addr):                                              "",
	} {
		typ := strings.Fields(strings.Trim(section, "{},"))[1]
		o := look(t, spec(t, strings.TrimSuffix(typ, ","), "%s", section))
		if o.Up != (reason == "") || !strings.Contains(o.Err, reason) {
			t.Errorf("%s: %+v", section, o)
		}
	}
}

func TestHTTPRefuses(t *testing.T) {
	refused(t, "http", map[string]string{
		"{type: http}":                                 "url is missing",
		`{type: http, url: "ftp://u:hidden@h/"}`:       "url must be http://",
		`{type: http, url: "http://u:hidden/@h:1"}`:    "url must be http://",
		`{type: http, url: "http://h", tls: {}}`:       "starts with https://",
		`{type: http, url: "http://h", expect: 42}`:    "at least 100",
		`{type: http, url: "http://h", expect: "200"}`: "expected a number",
	})
	refusedQueues(t, "http", map[string]health.Queue{
		"path":              {Path: "queues"},
		"must be such as":   {Path: "//other.example/x"},
		"starts with a dot": {Value: "ready"},
		"is written [0]":    {Value: "[x]"},
		"after a dot":       {Value: ".a..b"},
		"in brackets":       {Value: `["a]`},
		"name is missing":   {Path: "/{queue}"},
	})
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	healthtest.Run(t, healthtest.Suite{
		Addr: l.Addr().String(), ConnectIsEnough: true, Row: "tcp",
		Spec: func(t *testing.T, addr, _ string) health.Spec {
			return spec(t, "tcp", "{type: tcp, address: %q}", addr)
		},
	})
	refused(t, "tcp", map[string]string{"{type: tcp, address: localhost}": "host:port", `{type: tcp, address: ":80"}`: "host:port"})
	// An address of a network that is not there: cut at the timeout.
	o := look(t, spec(t, "tcp", "{type: tcp, address: \"192.0.2.1:1\", timeout: 300ms}"))
	if o.Up || o.Latency > time.Second {
		t.Errorf("got %+v", o)
	}
}
