package backends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"qsuper/health"
	"qsuper/internal/kind"
)

// Bounds on the http backend.
const (
	httpMaxBody  = 1 << 20 // bytes of an answer
	httpParallel = 4       // requests, and so connections, at a time
)

// httpConfig is `type: http`. A queue's `path` is appended to url; the answer
// is a plain number, or JSON in which `value` points at one.
type httpConfig struct {
	URL          kind.Secret `yaml:"url,required"`               // http or https; may hold user:password@ and tokens
	PasswordFile kind.Path   `yaml:"password_file"`              // file with the password, instead of one in the file
	Expect       int         `yaml:"expect" min:"100" max:"599"` // status
	TLS          kind.TLS    `yaml:"tls"`                        // for a server with TLS
}

func init() {
	health.Register(health.Kind{
		Type:       "http",
		QueueKeys:  []string{"name", "path", "value"},
		CheckQueue: checkHTTPQueue,
	}, httpConfig{Expect: http.StatusOK}, openHTTP)
}

// Validate says what is wrong with the url, without showing it.
func (c *httpConfig) Validate() error {
	u, err := parseHTTP(c.URL.Reveal())
	if err != nil {
		return err
	}
	return notPlain("url", u, c.TLS)
}

// notPlain refuses an address to which nothing would be encrypted although `tls` is given.
func notPlain(key string, u *url.URL, settings kind.TLS) error {
	if settings.Enabled() && u.Scheme != "https" {
		return fmt.Errorf("tls needs a %s that starts with https://", key)
	}
	return nil
}

// parseHTTP keeps the text out of its errors: it may hold a password.
func parseHTTP(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("url must be http://host[:port][/path] or https://…; special characters in a password are percent-encoded")
	}
	u.Fragment = ""
	return u, nil
}

func checkHTTPQueue(q health.Queue) error {
	if _, err := relative(q); err != nil {
		return err
	}
	if strings.Contains(q.Path+q.Value, "{queue}") {
		if err := named(q); err != nil {
			return err
		}
	}
	_, err := parsePath(q.Value)
	return err
}

// relative is what is appended to the url for a queue; the name is escaped so
// that it cannot reach another path or parameter.
func relative(q health.Queue) (*url.URL, error) {
	name := strings.ReplaceAll(url.QueryEscape(q.Name), "+", "%20")
	u, err := url.Parse(strings.ReplaceAll(q.Path, "{queue}", name))
	if err != nil || u.Host != "" || u.Scheme != "" || q.Path != "" && q.Path[0] != '/' && q.Path[0] != '?' {
		return nil, fmt.Errorf("path %.60q must be such as /queues/{queue} or ?queue={queue}", q.Path)
	}
	return u, nil
}

type web struct {
	base     *url.URL // without credentials
	user     *url.Userinfo
	password *password
	expect   int
	client   *http.Client
	life     lifetime
}

func openHTTP(c httpConfig) (health.Conn, error) {
	base, err := parseHTTP(c.URL.Reveal())
	if err != nil {
		return nil, err
	}
	w := &web{base: base, user: base.User, expect: c.Expect, life: newLifetime()}
	w.password = &password{file: c.PasswordFile}
	if base.User != nil {
		w.password.text, _ = base.User.Password()
	}
	base.User = nil
	w.client = httpClient(c.TLS, httpParallel)
	return w, nil
}

// httpClient makes a client that asks the address itself: no proxy, no
// redirects, no compression that would make a small answer large.
func httpClient(settings kind.TLS, parallel int) *http.Client {
	t := &http.Transport{DisableCompression: true, MaxConnsPerHost: parallel, MaxIdleConnsPerHost: parallel, MaxResponseHeaderBytes: 64 << 10}
	if settings.Enabled() {
		t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			return dial(ctx, network, address, settings)
		}
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (w *web) Secrets() []string { return w.password.Secrets() }

// Ping wants the expected status from url itself; what else it answers is not
// looked at.
func (w *web) Ping(ctx context.Context) error {
	ctx, cancel := w.life.during(ctx)
	defer cancel()
	status, _, err := w.get(ctx, w.base)
	if status == 0 {
		return err
	}
	if status == w.expect {
		return nil
	}
	err = fmt.Errorf("answered with status %d instead of %d", status, w.expect)
	if status == http.StatusUnauthorized && w.user != nil {
		err = &health.Denied{Err: err}
	}
	return err
}

// page is one answer, which several queues may be read from.
type page struct {
	queues []int
	url    *url.URL
	status int
	body   string
	err    error
}

// Measure gets each different URL once. When none of them gave the expected
// status or a 404, the url itself decides over up and down.
func (w *web) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	ctx, cancel := w.life.during(ctx)
	defer cancel()
	pages := map[string]*page{}
	readings := make([]health.Reading, len(queues))
	for i, q := range queues {
		u, err := w.join(q)
		if err != nil {
			readings[i] = unknown("%v", err)
			continue
		}
		if pages[u.String()] == nil {
			pages[u.String()] = &page{url: u}
		}
		pages[u.String()].queues = append(pages[u.String()].queues, i)
	}
	w.getAll(ctx, pages)
	answered := false
	for _, p := range pages {
		answered = answered || p.status == w.expect || p.status == http.StatusNotFound
		for _, i := range p.queues {
			readings[i] = w.read(p, queues[i])
		}
	}
	if answered {
		return readings, nil
	}
	return readings, w.Ping(ctx)
}

func (w *web) getAll(ctx context.Context, pages map[string]*page) {
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, httpParallel)
	for _, p := range pages {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			p.status, p.body, p.err = w.get(ctx, p.url)
		})
	}
}

// join appends a queue's path to the url, whose own query is kept.
func (w *web) join(q health.Queue) (*url.URL, error) {
	rel, err := relative(q)
	if err != nil {
		return nil, err
	}
	u := *w.base
	if rel.Path != "" {
		u.Path = strings.TrimRight(w.base.Path, "/") + rel.Path
		u.RawPath = strings.TrimRight(w.base.EscapedPath(), "/") + rel.EscapedPath()
	}
	u.RawQuery = strings.Trim(w.base.RawQuery+"&"+rel.RawQuery, "&")
	return &u, nil
}

func (w *web) get(ctx context.Context, u *url.URL) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, "", errors.New("url is not valid")
	}
	if w.user != nil {
		secret, err := w.password.current()
		if err != nil {
			return 0, "", err
		}
		req.SetBasicAuth(w.user.Username(), secret)
	}
	return fetch(w.client, req, httpMaxBody)
}

// fetch sends a request and reads its answer, at most limit bytes of it. The
// status is 0 when none came. Errors do not show the URL.
func fetch(client *http.Client, req *http.Request, limit int64) (status int, body string, err error) {
	req.Header.Set("User-Agent", "qsuper")
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return resp.StatusCode, "", fmt.Errorf("read the answer: %w", err)
	}
	if int64(len(b)) > limit {
		return resp.StatusCode, "", fmt.Errorf("the answer is larger than %d KiB", limit>>10)
	}
	return resp.StatusCode, string(b), nil
}

func (w *web) read(p *page, q health.Queue) health.Reading {
	switch {
	case p.err != nil:
		return unknown("%v", p.err)
	case p.status == http.StatusNotFound && w.expect != http.StatusNotFound:
		return missing("answered with status 404")
	case p.status != w.expect:
		return unknown("answered with status %d instead of %d", p.status, w.expect)
	}
	text := strings.TrimSpace(p.body)
	if q.Value != "" {
		var err error
		if text, err = pick(text, q); err != nil {
			return unknown("%v", err)
		}
	}
	n, err := count(text)
	if err != nil {
		return unknown("the answer is %v", err)
	}
	return counted(n)
}

// pick finds the number that `value` points at. Some APIs write numbers as text.
func pick(body string, q health.Queue) (string, error) {
	path, err := parsePath(q.Value)
	if err != nil {
		return "", err
	}
	v, err := decodeJSON(body)
	if err != nil {
		return "", fmt.Errorf("the answer is %w", err)
	}
	if v, err = path.find(v, q.Name); err != nil {
		return "", err
	}
	switch v := v.(type) {
	case json.Number:
		return v.String(), nil
	case string:
		return v, nil
	}
	return "", fmt.Errorf("what %s points at is not a number", q.Value)
}

func (w *web) Close() error {
	w.life.end()
	w.client.CloseIdleConnections()
	return nil
}
