package backends

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// maxEtcd bounds an answer, in bytes.
const maxEtcd = 64 << 20

// Codes of gRPC that the gateway passes on.
const (
	etcdUnavailable  = 14
	etcdUnauthorized = 16
)

// refusal is an answer that says no.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

// call makes one request. A server that refuses, or has no leader, is left for the
// next, and so is one that does not answer in time, for the next request; a login that
// is no longer good is made again.
func (e *etcd) call(ctx context.Context, path string, body object) (*etcdResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	var err error
	for try := range len(e.config.Endpoints) + 1 {
		var r *etcdResponse
		r, err = e.ask(ctx, path, body)
		var no *refusal
		switch {
		case err == nil:
			return r, nil
		case ctx.Err() != nil:
			e.at = (e.at + 1) % len(e.config.Endpoints)
			return nil, err
		case errors.As(err, &no) && (no.code == etcdUnauthorized || strings.Contains(no.text, "invalid auth token")) && e.token != "":
			e.token = ""
		case errors.As(err, &no) && no.code != etcdUnavailable, try == len(e.config.Endpoints):
			return nil, err
		default:
			e.at = (e.at + 1) % len(e.config.Endpoints)
		}
	}
	return nil, err
}

func (e *etcd) ask(ctx context.Context, path string, body object) (*etcdResponse, error) {
	if e.config.User != "" && e.token == "" {
		text, err := e.password()
		if err != nil {
			return nil, err
		}
		r, err := e.post(ctx, "auth/authenticate", object{"name": e.config.User, "password": text})
		if err != nil {
			return nil, fmt.Errorf("log in: %w", err)
		}
		e.token = r.Token
	}
	return e.post(ctx, path, body)
}

func (e *etcd) post(ctx context.Context, path string, body object) (*etcdResponse, error) {
	if !e.dialled { // the certificates are those of this moment
		tls, err := e.config.TLS.Config()
		if err != nil {
			return nil, err
		}
		e.transport.TLSClientConfig, e.dialled = tls, true
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	at := strings.TrimSuffix(e.config.Endpoints[e.at%len(e.config.Endpoints)], "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/v3/"+path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if e.token != "" {
		req.Header.Set("Authorization", e.token)
	}
	resp, err := (&http.Client{Transport: e.transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, maxEtcd))
	if err != nil {
		return nil, err
	}
	var r etcdResponse
	if err := json.Unmarshal(said, &r); err != nil { // it is no answer of the gateway
		return nil, fmt.Errorf("%s: %q", resp.Status, said[:min(len(said), 200)])
	}
	if resp.StatusCode != http.StatusOK || r.Error != "" {
		return nil, &refusal{r.Code, strings.TrimSpace(r.Error + " (" + resp.Status + ")")}
	}
	return &r, nil
}

// password is read for every login, so that a rotated one counts.
func (e *etcd) password() (string, error) {
	if e.config.PasswordFile == "" {
		return e.config.Password.Reveal(), nil
	}
	b, err := os.ReadFile(string(e.config.PasswordFile))
	if err != nil {
		return "", fmt.Errorf("read password_file: %w", err)
	}
	text := string(bytes.TrimRight(b, "\r\n"))
	e.read = append(e.read[:min(len(e.read), 1)], text)
	return text, nil
}
