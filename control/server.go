package control

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

const (
	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	maxHeader     = 64 << 10 // bytes: cursors of a thousand slots
	maxBody       = 64 << 10 // bytes
	idleTimeout   = 30 * time.Second

	// writeTimeout is how long one answer, or one line of a stream, may stay
	// unread before the reader is cut off.
	writeTimeout = 10 * time.Second

	// drainTimeout is how long answers under way may take once Run must end.
	drainTimeout = 5 * time.Second

	// watchInterval is how often Run looks whether its file is still there:
	// cleaners of /tmp and /run take sockets away, and a daemon nobody can
	// reach is soon joined by a second one.
	watchInterval = 10 * time.Second
)

// Options says where to listen and who may connect.
type Options struct {
	Path  string      // absolute, at most 107 bytes
	Mode  fs.FileMode // permission bits, 0 = 0660; counts only with Group, otherwise it is 0600
	Group string      // its members may connect, by name or number; "" = only root and the daemon's own user
	File  string      // what the daemon runs, absolute; requests for another are refused
	Log   *slog.Logger
}

// Server answers the routes on a unix socket.
type Server struct {
	daemon  Daemon
	opts    Options
	log     *slog.Logger
	policy  policy // the group is each socket's own
	crowd   *crowd
	streams chan struct{} // one token for each stream
	waiting chan struct{} // one token for each command that waits
	ready   chan struct{}
	watch   time.Duration
	stall   time.Duration // writeTimeout; shorter in tests
}

// NewServer starts nothing.
func NewServer(d Daemon, o Options) *Server {
	return &Server{
		daemon: d, opts: o, log: o.Log, crowd: newCrowd(),
		policy:  policy{uid: uint32(os.Geteuid())},
		streams: make(chan struct{}, maxStreams),
		waiting: make(chan struct{}, maxWaiting),
		ready:   make(chan struct{}),
		watch:   watchInterval, stall: writeTimeout,
	}
}

// Ready is closed once the socket accepts connections.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run listens and answers until ctx is done; then it takes the socket away,
// lets answers under way end for up to 5 s, and returns nil. It fails with
// *InUse when another daemon answers there. While something lies there that is no
// socket, it says so and waits: nobody else could do anything about it.
func (s *Server) Run(ctx context.Context) error {
	sock, err := s.listen(ctx)
	if err != nil {
		return err
	}
	if sock == nil {
		return nil
	}
	srv := s.httpServer(ctx)
	failed := make(chan error, 1)
	var serving sync.WaitGroup
	serve := func(sock *socket) *door {
		d := newDoor(sock, s.crowd, s.log)
		serving.Go(func() {
			err := srv.Serve(d)
			if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
				return
			}
			select {
			case failed <- err:
			default:
			}
		})
		return d
	}
	d := serve(sock)
	close(s.ready)

	d, err = s.keepReachable(ctx, d, serve, failed)
	d.remove()
	d.Close()
	s.crowd.closeIdle()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if srv.Shutdown(drain) != nil {
		srv.Close()
	}
	serving.Wait()
	return err
}

// listen returns nil when ctx is done before there was a place for a socket.
func (s *Server) listen(ctx context.Context) (*socket, error) {
	for said := false; ; said = true {
		sock, err := listen(ctx, s.opts)
		occupied, ok := errors.AsType[*Occupied](err)
		if !ok {
			return sock, err
		}
		if !said {
			s.log.Error("nobody can reach this daemon, whose consumers go on", "error", occupied, "hint", occupied.Hint())
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(s.watch):
		}
	}
}

// keepReachable returns when ctx is done or accepting has failed, with the door
// that is open then. Until then it opens a new one whenever the socket's file
// has gone.
func (s *Server) keepReachable(ctx context.Context, d *door, serve func(*socket) *door, failed <-chan error) (*door, error) {
	tick := time.NewTicker(s.watch)
	defer tick.Stop()
	lost := false
	for {
		select {
		case <-ctx.Done():
			return d, nil
		case err := <-failed:
			return d, err
		case <-tick.C:
		}
		if d.ours() {
			lost = false
			continue
		}
		sock, err := listen(ctx, s.opts)
		if err != nil {
			if !lost {
				s.log.Error("the control socket has gone and cannot be made again", "path", s.opts.Path, "error", err)
			}
			lost = true
			continue
		}
		s.log.Warn("the control socket had gone and was made again", "path", s.opts.Path)
		d.Close()
		d = serve(sock)
	}
}

func (s *Server) httpServer(ctx context.Context) *http.Server {
	return &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		// Only now has the answer left: when the handler returns, its last bytes
		// may still be in a buffer. A connection that is not kept is closed instead.
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateIdle {
				c.(*conn).setBusy(false)
			}
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c)
		},
	}
}

// Handler answers the routes for another door than the socket, which says with
// WithGuest whom it has let in. It works whether or not Run does.
func (s *Server) Handler() http.Handler { return s.handler() }

// handler is the mux made from Routes.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range Routes {
		mux.Handle(r.Method+" "+r.Path, s.answer(r))
	}
	mux.HandleFunc("/", s.noRoute)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if c, ok := req.Context().Value(peerKey{}).(*conn); ok {
			c.setBusy(true)
		}
		mux.ServeHTTP(w, req)
	})
}

// answer runs one route: panics become 500, errors become a Failure, and an
// operation leaves a line in the log.
func (s *Server) answer(r Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.Error("panic while answering", "route", r.Path, "panic", p, "stack", string(debug.Stack()))
			if w.Header().Get("Content-Type") != "" {
				panic(http.ErrAbortHandler) // the answer has begun: cut it short, visibly
			}
			s.fail(w, req, errPanic)
		}()
		if err := s.meant(req); err != nil {
			s.fail(w, req, err)
			return
		}
		if peer := peerFrom(req.Context()); r.Access == Admin && !s.policy.administers(peer) {
			s.log.Warn("refused", "route", r.Path, "by", peer.Name(), "uid", peer.UID, "pid", peer.PID)
			s.fail(w, req, &Forbidden{"stopping the daemon"})
			return
		}
		if err := r.handle(s, w, req); err != nil {
			s.fail(w, req, err)
		}
	})
}
