package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
)

// Client asks the daemon at a socket. It may be used from many goroutines; each
// request has its own connection.
type Client struct {
	socket string
	file   string // "" = whichever the daemon runs
	http   http.RoundTripper
}

// New starts nothing and does not look whether a daemon is there.
func New(socket string) *Client {
	return &Client{socket: socket, http: transport{socket}}
}

// For has only a daemon answer that runs this file: two may be told to listen at the
// same path, and the next word may be "stop".
func (c *Client) For(file string) *Client {
	c.file = file
	return c
}

// Socket is where the daemon is asked.
func (c *Client) Socket() string { return c.socket }

// Status is GET /v1/status.
func (c *Client) Status(ctx context.Context, q StatusQuery) (Status, error) {
	v := url.Values{"name": q.Names}
	if q.Slots {
		v.Set("slots", "true")
	}
	if q.Usage {
		v.Set("usage", "true")
	}
	var st Status
	err := c.ask(ctx, "/v1/status", v, &st)
	return st, err
}

// Explain is GET /v1/explain.
func (c *Client) Explain(ctx context.Context, name string) (Explain, error) {
	var ex Explain
	err := c.ask(ctx, "/v1/explain", url.Values{"name": {name}}, &ex)
	return ex, err
}

// Do is POST /v1/command. A ctx that ends leaves the command going on.
func (c *Client) Do(ctx context.Context, cmd Command) (CommandReply, error) {
	if limit := cmd.Limit(); limit > 0 || !cmd.Wait {
		var cancel context.CancelFunc
		ctx, cancel = c.bounded(ctx, limit+answerLimit)
		defer cancel()
	}
	var r CommandReply
	err := c.tell(ctx, "/v1/command", cmd, &r)
	return r, hung(ctx, err)
}

// Shutdown is POST /v1/shutdown.
func (c *Client) Shutdown(ctx context.Context, s Shutdown) (CommandReply, error) {
	var r CommandReply
	err := c.tell(ctx, "/v1/shutdown", s, &r)
	return r, err
}

// Reload is POST /v1/reload. A refused file is a reply with Problems.
func (c *Client) Reload(ctx context.Context) (ReloadReply, error) {
	var r ReloadReply
	err := c.tell(ctx, "/v1/reload", struct{}{}, &r)
	return r, err
}

// Plan is GET /v1/plan: what Reload would answer.
func (c *Client) Plan(ctx context.Context) (ReloadReply, error) {
	var r ReloadReply
	err := c.ask(ctx, "/v1/plan", nil, &r)
	return r, err
}

// Events is GET /v1/events: emit is called for the last transitions, oldest
// first, or those after q.From; then with q.Follow for each new one until ctx is
// done or the engine ends (nil), or the connection breaks (*Lost).
func (c *Client) Events(ctx context.Context, q Stream, emit func(Event) error) error {
	return follows(ctx, c, "/v1/events", q, emit)
}

// Logs is GET /v1/logs, as Events.
func (c *Client) Logs(ctx context.Context, q Stream, emit func(LogLine) error) error {
	return follows(ctx, c, "/v1/logs", q, emit)
}

// asks is how often a question is put at most: reading twice does no harm. A
// daemon may vanish while it answers, and where hundreds ask at once who is slow
// to begin loses its place.
const asks = 5

// ask reads.
func (c *Client) ask(ctx context.Context, path string, v url.Values, answer any) error {
	ctx, cancel := c.bounded(ctx, answerLimit)
	defer cancel()
	var err error
	for range asks {
		err = c.call(ctx, "GET", path, v, nil, answer)
		if _, lost := errors.AsType[*Lost](err); !lost {
			break
		}
	}
	return hung(ctx, err)
}

// tell changes something, and so is sent once.
func (c *Client) tell(ctx context.Context, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	return c.call(ctx, "POST", path, nil, text, answer)
}

func (c *Client) call(ctx context.Context, method, path string, v url.Values, body []byte, answer any) error {
	resp, err := c.send(ctx, method, path, v, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return c.explain(ctx, err)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("read the answer of the daemon at %s: %w", c.socket, err)
	}
	return nil
}

// send returns a 2xx answer, or the error the daemon sent instead.
func (c *Client) send(ctx context.Context, method, path string, v url.Values, body []byte) (*http.Response, error) {
	target := url.URL{Scheme: "http", Host: "qsuper", Path: path, RawQuery: v.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.file != "" {
		req.Header.Set(fileHeader, url.PathEscape(c.file))
	}
	resp, err := c.http.RoundTrip(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	var f Failure
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if json.Unmarshal(text, &f) != nil || f.Error == "" {
		f.Error = fmt.Sprintf("the daemon at %s answered %s", c.socket, resp.Status)
	}
	if resp.StatusCode == http.StatusMisdirectedRequest {
		return nil, &NoDaemon{Socket: c.socket, Other: f.Error}
	}
	return nil, &Rejected{Status: resp.StatusCode, Message: f.Error, Advice: f.Hint}
}

func follows[T any](ctx context.Context, c *Client, path string, q Stream, emit func(T) error) error {
	v := url.Values{"name": q.Names, "n": {strconv.Itoa(q.Last)}, "from": q.From}
	if q.Follow {
		v.Set("follow", "true")
	}
	if q.Marks {
		v.Set("marks", "true")
	}
	resp, err := c.send(ctx, "GET", path, v, nil)
	if err == nil {
		defer resp.Body.Close()
		err = c.lines(ctx, resp.Body, func(line []byte) error {
			var value T
			if err := json.Unmarshal(line, &value); err != nil {
				return fmt.Errorf("read the answer of the daemon at %s: %w", c.socket, err)
			}
			return emit(value)
		})
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // the reader has had enough
	}
	return err
}

func (c *Client) lines(ctx context.Context, body io.Reader, each func([]byte) error) error {
	r := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return c.explain(ctx, err)
		}
		if err := each(line); err != nil {
			return err
		}
	}
}

// explain turns what the network said into what it means to the user.
func (c *Client) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return &NoDaemon{Socket: c.socket}
	case errors.Is(err, fs.ErrPermission):
		return newDenied(c.socket)
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("reach the daemon at %s: it is overrun with connections", c.socket)
	case isCut(err):
		if d := newDenied(c.socket); !d.allowed() {
			return d
		}
		return &Lost{Socket: c.socket}
	default:
		return fmt.Errorf("ask the daemon at %s: %w", c.socket, err)
	}
}

func isCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
