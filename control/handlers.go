package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxLines bounds ?n= of a stream.
const maxLines = 1_000_000

var errPanic = errors.New("the daemon made a mistake while answering; its log has the details")

// busyError is a share of the connections that is used up. HTTP 503.
type busyError struct{ what string }

func (e *busyError) Error() string { return "too many " + e.what + " at once" }
func (e *busyError) Hint() string  { return "end some of them, or try again later" }

// errTooLong is a body above the limit. HTTP 413.
var errTooLong = fmt.Errorf("the request is larger than %d KiB", maxBody>>10)

func (s *Server) status(w http.ResponseWriter, req *http.Request) error {
	q, err := newQuery(req.URL.Query(), "name", "slots", "usage")
	if err != nil {
		return err
	}
	want := StatusQuery{Names: q.names(), Slots: q.flag("slots"), Usage: q.flag("usage")}
	if q.err != nil {
		return q.err
	}
	st, err := s.daemon.Status(want)
	if err != nil {
		return err
	}
	return s.reply(w, st)
}

func (s *Server) explain(w http.ResponseWriter, req *http.Request) error {
	q, err := newQuery(req.URL.Query(), "name")
	if err != nil {
		return err
	}
	names := q.names()
	if len(names) != 1 {
		return &Invalid{Problem: "explain takes one name", Advice: "give ?name=consumer or ?name=consumer/slot"}
	}
	ex, err := s.daemon.Explain(names[0])
	if err != nil {
		return err
	}
	return s.reply(w, ex)
}

func (s *Server) command(w http.ResponseWriter, req *http.Request) error {
	var c Command
	if err := s.body(w, req, &c); err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	peer := peerFrom(req.Context())
	c.By = peer.Name()
	if c.Wait {
		leave, err := enter(s.waiting, "commands that wait")
		if err != nil {
			return err
		}
		defer leave()
	}
	s.audit(peer, c.Verb, "names", c.Names)
	r, err := s.daemon.Do(req.Context(), c)
	if err != nil {
		return err
	}
	return s.reply(w, r)
}

func (s *Server) shutdown(w http.ResponseWriter, req *http.Request) error {
	var c Shutdown
	if err := s.body(w, req, &c); err != nil {
		return err
	}
	peer := peerFrom(req.Context())
	c.By = peer.Name()
	s.audit(peer, "shutdown", "now", c.Now)
	r, err := s.daemon.Shutdown(req.Context(), c)
	if err != nil {
		return err
	}
	return s.reply(w, r)
}

func (s *Server) plan(w http.ResponseWriter, req *http.Request) error {
	if _, err := newQuery(req.URL.Query()); err != nil {
		return err
	}
	r, err := s.daemon.Plan()
	if err != nil {
		return err
	}
	return s.reply(w, r)
}

func (s *Server) reload(w http.ResponseWriter, req *http.Request) error {
	var none struct{}
	if err := s.body(w, req, &none); err != nil {
		return err
	}
	s.audit(peerFrom(req.Context()), "reload")
	r, err := s.daemon.Reload(req.Context())
	if err != nil {
		return err
	}
	return s.reply(w, r)
}

func (s *Server) events(w http.ResponseWriter, req *http.Request) error {
	return stream(s, w, req, s.daemon.Events)
}

func (s *Server) logs(w http.ResponseWriter, req *http.Request) error {
	return stream(s, w, req, s.daemon.Logs)
}

// stream writes what source emits as JSON lines, each flushed. A reader that
// takes none for writeTimeout is cut off, so that it holds nothing up.
func stream[T any](s *Server, w http.ResponseWriter, req *http.Request,
	source func(context.Context, Stream, func(T) error) error,
) error {
	q, err := newQuery(req.URL.Query(), "name", "n", "follow", "from", "marks")
	if err != nil {
		return err
	}
	ask := Stream{Names: q.names(), Last: q.number("n", 100, maxLines), Follow: q.flag("follow"), From: q.values["from"], Marks: q.flag("marks")}
	if q.err != nil {
		return q.err
	}
	leave, err := enter(s.streams, "streams")
	if err != nil {
		return err
	}
	defer leave()

	out := http.NewResponseController(w)
	lines := json.NewEncoder(w)
	begun := false
	begin := func() {
		if !begun {
			w.Header().Set("Content-Type", "application/jsonl")
			begun = true
		}
	}
	err = source(req.Context(), ask, func(v T) error {
		begin()
		if err := out.SetWriteDeadline(time.Now().Add(s.stall)); err != nil {
			return err
		}
		if err := lines.Encode(v); err != nil {
			return err
		}
		return out.Flush()
	})
	if err == nil || req.Context().Err() != nil {
		begin()
		return nil
	}
	if !begun {
		return err
	}
	s.log.Info("stream cut off", "path", req.URL.Path, "peer", peerFrom(req.Context()).PID, "error", err)
	panic(http.ErrAbortHandler) // so that the client cannot take it for a whole stream
}

// enter takes one of a share's places or fails at once.
func enter(places chan struct{}, what string) (leave func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	default:
		return nil, &busyError{what}
	}
}

func (s *Server) audit(p Peer, verb string, attrs ...any) {
	s.log.Info("asked to "+verb, append([]any{"by", p.Name(), "uid", p.UID, "pid", p.PID}, attrs...)...)
}

// body decodes one JSON object strictly: an option this daemon does not know
// must not be dropped in silence. An empty body is the zero value.
func (s *Server) body(w http.ResponseWriter, req *http.Request, v any) error {
	if req.ContentLength > maxBody {
		return errTooLong
	}
	ctl := http.NewResponseController(w)
	if err := ctl.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return err
	}
	d := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if errors.Is(err, io.EOF) {
		err = nil
	} else if err == nil && d.More() {
		err = errors.New("more than one value")
	}
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return errTooLong
	}
	if err != nil {
		return &Invalid{Problem: "cannot read the request: " + strings.TrimPrefix(err.Error(), "json: "), Advice: "is this qsuper as new as the daemon? compare with \"qsuper version\" and \"qsuper status\""}
	}
	return ctl.SetReadDeadline(time.Time{})
}

func (s *Server) reply(w http.ResponseWriter, v any) error {
	return s.write(w, http.StatusOK, v)
}

func (s *Server) write(w http.ResponseWriter, code int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	// A reader that is gone or does not read gets no second answer.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.stall))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n'))
	return nil
}

// fail answers with the status that fits the error's type.
func (s *Server) fail(w http.ResponseWriter, req *http.Request, err error) {
	f := Failure{Error: err.Error()}
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		f.Hint = h.Hint()
	}
	if ended := req.Context().Err(); ended != nil && errors.Is(err, ended) {
		// Either nobody reads this any more, or Run is ending.
		f = Failure{Error: "the daemon is ending", Hint: "what was asked of it before goes on"}
		_ = s.write(w, http.StatusServiceUnavailable, f)
		return
	}
	_ = s.write(w, statusCode(err), f)
}

func statusCode(err error) int {
	if _, ok := errors.AsType[*NotFound](err); ok {
		return http.StatusNotFound
	}
	if _, ok := errors.AsType[*Invalid](err); ok {
		return http.StatusBadRequest
	}
	if _, ok := errors.AsType[*Forbidden](err); ok {
		return http.StatusForbidden
	}
	if _, ok := errors.AsType[*Conflict](err); ok {
		return http.StatusConflict
	}
	if _, ok := errors.AsType[*misdirected](err); ok {
		return http.StatusMisdirectedRequest
	}
	if _, ok := errors.AsType[*busyError](err); ok {
		return http.StatusServiceUnavailable
	}
	if errors.Is(err, errTooLong) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusInternalServerError
}

// noRoute answers what no route does.
func (s *Server) noRoute(w http.ResponseWriter, req *http.Request) {
	for _, r := range Routes {
		if r.Path == req.URL.Path {
			w.Header().Set("Allow", r.Method)
			_ = s.write(w, http.StatusMethodNotAllowed, Failure{Error: fmt.Sprintf("%s takes %s", r.Path, r.Method)})
			return
		}
	}
	_ = s.write(w, http.StatusNotFound, Failure{
		Error: fmt.Sprintf("there is no %s", clip(req.URL.Path)),
		Hint:  "is this qsuper as new as the daemon?",
	})
}
