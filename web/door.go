// Package web is the daemon over TCP, for those who bring the token: the page,
// the API of package control, and what monitoring asks.
//
// It speaks plain HTTP. Programs send the token as Authorization: Bearer; a
// browser sends it once and gets a cookie, and then has to come from this very
// page: its Host must be a name this daemon is known by, so that no other site's
// name can be pointed here, and what changes something must have this origin.
package web

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"qsuper/control"
	"qsuper/internal/kind"
)

const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 60 * time.Second
	maxHeader     = 16 << 10 // bytes
	drainTimeout  = 2 * time.Second
	maxConns      = 128
)

// Options says where to listen and what is behind the door.
type Options struct {
	Listen  string      // host:port
	Token   kind.Secret // what lets in; never empty
	Hosts   []string    // names beside the address itself and localhost
	Source  Source
	History *History
	API     http.Handler
	Metrics http.Handler
	Ready   func() error // nil when the daemon serves; its text is shown to anybody
	Log     *slog.Logger
}

// Door listens on TCP.
type Door struct {
	opts  Options
	log   *slog.Logger
	guard guard
}

// New starts nothing.
func New(o Options) *Door {
	return &Door{opts: o, log: o.Log, guard: newGuard(o)}
}

// Run listens and answers until ctx is done. It fails when it cannot listen.
func (d *Door) Run(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", d.opts.Listen)
	if err != nil {
		return fmt.Errorf("listen for daemon.http: %w", err)
	}
	return d.serve(ctx, l)
}

func (d *Door) serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: d.handler(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog:    slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	var over sync.WaitGroup
	remember, forget := context.WithCancel(ctx)
	over.Go(func() { d.opts.History.Run(remember) })
	defer over.Wait()
	defer forget()
	stop := context.AfterFunc(ctx, func() {
		over.Add(1)
		defer over.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if srv.Shutdown(drain) != nil {
			srv.Close()
		}
	})
	defer stop()
	d.log.Info("page, metrics and API over TCP", "url", "http://"+l.Addr().String()+"/")
	err := srv.Serve(&limited{l, make(chan struct{}, maxConns)})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve daemon.http: %w", err)
}

// handler is the whole site.
func (d *Door) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", d.ready)
	mux.Handle("GET /metrics", d.guard.token(d.opts.Metrics))
	d.site(mux)
	mux.Handle("/v1/", d.guard.both(http.HandlerFunc(d.api)))
	return headers(mux)
}

// api hands a request to package control.
func (d *Door) api(w http.ResponseWriter, req *http.Request) {
	host, _, _ := net.SplitHostPort(req.RemoteAddr)
	d.opts.API.ServeHTTP(w, req.WithContext(control.WithGuest(req.Context(), "http from "+host)))
}

// ready tells whether the daemon serves, to anybody: load balancers and
// orchestrators bring no token.
func (d *Door) ready(w http.ResponseWriter, _ *http.Request) {
	if err := d.opts.Ready(); err != nil {
		plain(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	plain(w, http.StatusOK, "ok")
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, text)
}

// policy is what the page may load: only what comes from here, nothing inline.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, req)
	})
}

// limited is a listener with so many connections at once; more wait unaccepted.
type limited struct {
	net.Listener
	places chan struct{}
}

// Accept waits for a place, then for a connection.
func (l *limited) Accept() (net.Conn, error) {
	l.places <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &placed{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

type placed struct {
	net.Conn
	leave func()
}

// Close gives the place back.
func (p *placed) Close() error {
	p.leave()
	return p.Conn.Close()
}
