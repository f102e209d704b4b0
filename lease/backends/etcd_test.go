package backends_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"qsuper/lease"
	"qsuper/test/servers"
)

// swallowing passes requests on to a server. While it is told to, what is done to the
// keys is done, and its answer lost.
func swallowing(t *testing.T, url string) (own string, swallow *atomic.Bool) {
	t.Helper()
	swallow = &atomic.Bool{}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		resp, err := http.Post(url+r.URL.Path, "application/json", bytes.NewReader(body))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil || swallow.Load() && strings.HasSuffix(r.URL.Path, "/kv/txn") {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(answer)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL, swallow
}

// A Take was done, its answer lost, and nobody asks again: the next renewal gives the
// lease back, and leaves what the host knows that it has.
func TestEtcdDisowns(t *testing.T) {
	server := servers.EtcdMain(t)
	url, swallow := swallowing(t, server.URL)
	open := func(url string) lease.Store {
		s := store(t, "etcd", "type: etcd\nendpoints: [\""+url+"\"]", lease.Place{Namespace: "disown", TTL: time.Minute})
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, b := open(url), open(server.URL)
	take := func(s lease.Store, owner, key string) (lease.Answer, error) {
		answers, err := s.Take(ctx, owner, time.Minute, []lease.Ask{{Key: key}})
		if err != nil {
			return lease.Answer{}, err
		}
		return answers[0], nil
	}
	kept, err := take(a, "web1/b/x", "slot/orders/0")
	if err != nil || !kept.Granted {
		t.Fatal(kept, err)
	}
	swallow.Store(true)
	if got, err := take(a, "web1/b/x", "slot/orders/1"); err == nil {
		t.Fatalf("answered: %+v", got)
	}
	swallow.Store(false)
	if got, err := take(b, "web2/b/x", "slot/orders/1"); err != nil || got.Granted || got.By != "web1/b/x" {
		t.Fatalf("the lost Take was not done: %+v %v", got, err)
	}
	ok, err := a.Renew(ctx, "web1/b/x", time.Minute, []lease.Held{{Key: "slot/orders/0", Token: kept.Token}})
	if err != nil || !ok[0] {
		t.Fatal(ok, err)
	}
	if got, err := take(b, "web2/b/x", "slot/orders/1"); err != nil || !got.Granted || !got.Clean {
		t.Errorf("what nobody wanted: %+v %v", got, err)
	}
	if got, err := take(b, "web2/b/x", "slot/orders/0"); err != nil || got.Granted {
		t.Errorf("what is wanted: %+v %v", got, err)
	}
}
