package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func mustAnswer(t *testing.T, path string, within time.Duration) {
	t.Helper()
	start := time.Now()
	if _, err := New(path).Status(context.Background(), StatusQuery{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > within {
		t.Errorf("answered after %v, want at most %v", took, within)
	}
}

// TestSlowloris: many connections that dawdle over their header hold up nobody.
func TestSlowloris(t *testing.T) {
	r := serve(t, &fakeDaemon{})
	first := dial(t, r.path)
	began := time.Now()
	first.Write([]byte("G"))
	for range 3 * maxConns {
		c := dial(t, r.path)
		c.Write([]byte("GET /v1/sta"))
	}
	mustAnswer(t, r.path, 10*time.Second)
	first.SetReadDeadline(time.Now().Add(20 * time.Second))
	io.Copy(io.Discard, first)
	if held := time.Since(began); held > headerTimeout+10*time.Second {
		t.Errorf("half a header was waited for %v", held)
	}
}

// TestHeaderTimeout: alone and with places to spare, half a header is given up.
func TestHeaderTimeout(t *testing.T) {
	t.Parallel()
	r := serve(t, &fakeDaemon{})
	c := dial(t, r.path)
	began := time.Now()
	c.Write([]byte("GET /v1/status HTTP/1.1\r\nHost:"))
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	io.Copy(io.Discard, c)
	if held := time.Since(began); held < headerTimeout-time.Second || held > headerTimeout+10*time.Second {
		t.Errorf("given up after %v, want about %v", held, headerTimeout)
	}
}

func TestAThousandClients(t *testing.T) {
	st := Status{Version: 1, Consumers: make([]ConsumerStatus, 20)}
	r := serve(t, &fakeDaemon{status: func(StatusQuery) (Status, error) { return st, nil }})
	var wg sync.WaitGroup
	var bad atomic.Int64
	var first atomic.Pointer[error]
	for range 1000 {
		wg.Go(func() {
			got, err := New(r.path).Status(context.Background(), StatusQuery{})
			if err != nil || len(got.Consumers) != 20 {
				bad.Add(1)
				first.CompareAndSwap(nil, &err)
			}
		})
	}
	wg.Wait()
	if n := bad.Load(); n > 0 {
		t.Errorf("%d of 1000 got no answer, the first: %v", n, *first.Load())
	}
}

// TestHugeBodies: a gigabyte, announced or endless, is refused without being kept.
func TestHugeBodies(t *testing.T) {
	r := serve(t, &fakeDaemon{})
	for _, announce := range []bool{true, false} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		body := io.MultiReader(strings.NewReader(`{"verb":"`), io.LimitReader(letters{}, 1<<30))
		req, err := http.NewRequest("POST", "http://qsuper/v1/command", body)
		if err != nil {
			t.Fatal(err)
		}
		if announce {
			req.ContentLength = 1<<30 + 9
		}
		began := time.Now()
		resp, err := New(r.path).http.RoundTrip(req)
		if err != nil {
			t.Fatalf("announced %v: %v", announce, err)
		}
		var f Failure
		json.NewDecoder(resp.Body).Decode(&f)
		resp.Body.Close()
		if resp.StatusCode != 413 || f.Error == "" {
			t.Errorf("announced %v: status %d, %+v", announce, resp.StatusCode, f)
		}
		runtime.ReadMemStats(&after)
		if took, grown := time.Since(began), after.TotalAlloc-before.TotalAlloc; took > 20*time.Second || grown > 8<<20 {
			t.Errorf("announced %v: took %v and %d bytes", announce, took, grown)
		}
	}
	mustAnswer(t, r.path, 10*time.Second)
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestHugeHeader(t *testing.T) {
	r := serve(t, &fakeDaemon{})
	c := dial(t, r.path)
	go fmt.Fprintf(c, "GET /v1/status HTTP/1.1\r\nHost: q\r\nX: %s\r\n\r\n", strings.Repeat("x", 1<<20))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestReadersThatNeverRead: streams have a share of the places, are cut off,
// and leave room for others.
func TestReadersThatNeverRead(t *testing.T) {
	var cut, running, peak atomic.Int64
	d := &fakeDaemon{logs: func(ctx context.Context, _ int, _ bool, _ []string, emit func(LogLine) error) error {
		peak.Store(max(peak.Load(), running.Add(1)))
		defer running.Add(-1)
		for {
			if err := emit(LogLine{Consumer: "a", Text: strings.Repeat("x", 4096)}); err != nil {
				cut.Add(1)
				return err
			}
		}
	}}
	r := newTestServer(t, d, "")
	r.stall = 300 * time.Millisecond
	r.start(t)
	for range 200 {
		fmt.Fprintf(dial(t, r.path), "GET /v1/logs?follow=true HTTP/1.1\r\nHost: q\r\n\r\n")
	}
	mustAnswer(t, r.path, 10*time.Second)
	eventually(t, "every stream to be cut off", func() bool { return running.Load() == 0 && cut.Load() > 0 })
	if n := peak.Load(); n > maxStreams {
		t.Errorf("%d streams ran at once, the share is %d", n, maxStreams)
	}
}

func TestStreamShare(t *testing.T) {
	d := &fakeDaemon{events: func(ctx context.Context, _ int, _ bool, _ []string, emit func(Event) error) error {
		if err := emit(Event{}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	r := serve(t, d)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	open := make(chan struct{}, maxStreams)
	for range maxStreams {
		wg.Go(func() {
			err := New(r.path).Events(ctx, Stream{Last: 0, Follow: true, Names: nil}, func(Event) error { open <- struct{}{}; return nil })
			if err != nil {
				t.Errorf("stream: %v", err)
			}
		})
	}
	for range maxStreams {
		<-open
	}
	err := New(r.path).Events(ctx, Stream{Last: 0, Follow: true, Names: nil}, func(Event) error { return nil })
	if e, ok := errors.AsType[*Rejected](err); !ok || e.Status != 503 || e.Advice == "" {
		t.Errorf("one stream too many: %v", err)
	}
	mustAnswer(t, r.path, 10*time.Second)
}

func TestPanicIsAnAnswerAndALogLine(t *testing.T) {
	d := &fakeDaemon{
		status: func(StatusQuery) (Status, error) { panic("kaboom") },
		logs: func(_ context.Context, _ int, _ bool, _ []string, emit func(LogLine) error) error {
			if err := emit(LogLine{Text: "one"}); err != nil {
				return err
			}
			panic("midway")
		},
	}
	r := serve(t, d)
	_, err := New(r.path).Status(context.Background(), StatusQuery{})
	if e, ok := errors.AsType[*Rejected](err); !ok || e.Status != 500 || strings.Contains(e.Message, "kaboom") {
		t.Errorf("got %v", err)
	}
	lines := 0
	err = New(r.path).Logs(context.Background(), Stream{Last: 1, Follow: false, Names: nil}, func(LogLine) error { lines++; return nil })
	if _, lost := errors.AsType[*Lost](err); !lost || lines != 1 {
		t.Errorf("a stream cut short must not look whole: %v after %d lines", err, lines)
	}
	for _, want := range []string{"kaboom", "midway", "server_test.go"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if _, err := New(r.path).Explain(context.Background(), "a"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestLeavingEndsOnlyTheWait: the daemon sees ctx end when the client leaves.
func TestLeavingEndsOnlyTheWait(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	d := &fakeDaemon{do: func(ctx context.Context, c Command) (CommandReply, error) {
		close(entered)
		<-ctx.Done()
		close(left)
		return CommandReply{}, ctx.Err()
	}}
	r := serve(t, d)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { _, err := New(r.path).Do(ctx, Command{Verb: VerbStop, Wait: true}); done <- err }()
	<-entered
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("client: %v", err)
	}
	<-left
}

// TestRunEndsPromptly with a stream, a waiting command and silent connections
// open; both requests get an end that is no failure of theirs.
func TestRunEndsPromptly(t *testing.T) {
	entered := make(chan struct{}, 2)
	d := &fakeDaemon{
		do: func(ctx context.Context, _ Command) (CommandReply, error) {
			entered <- struct{}{}
			<-ctx.Done()
			return CommandReply{}, ctx.Err()
		},
		events: func(ctx context.Context, _ int, _ bool, _ []string, emit func(Event) error) error {
			if err := emit(Event{}); err != nil {
				return err
			}
			entered <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		},
	}
	r := serve(t, d)
	dial(t, r.path)
	dial(t, r.path).Write([]byte("GET "))
	ended, refused := make(chan error, 1), make(chan error, 1)
	go func() {
		ended <- New(r.path).Events(context.Background(), Stream{Last: 0, Follow: true, Names: nil}, func(Event) error { return nil })
	}()
	go func() {
		_, err := New(r.path).Do(context.Background(), Command{Verb: VerbStop, Wait: true})
		refused <- err
	}()
	<-entered
	<-entered
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("Run took %v to end", took)
	}
	if err := <-ended; err != nil {
		t.Errorf("stream: %v", err)
	}
	if e, ok := errors.AsType[*Rejected](<-refused); !ok || e.Status != 503 {
		t.Errorf("waiting command: %v", e)
	}
}

// TestAnswerUnderWayIsFinished: the reply to a shutdown is written although Run
// is told to end while the handler returns. Often, because it is a race.
func TestAnswerUnderWayIsFinished(t *testing.T) {
	for range 50 {
		path := filepath.Join(t.TempDir(), "q.sock")
		ctx, cancel := context.WithCancel(context.Background())
		d := &fakeDaemon{shutdown: func(context.Context, Shutdown) (CommandReply, error) {
			defer cancel()
			return CommandReply{Consumers: []string{"orders"}}, nil
		}}
		s := newTestServer(t, d, path)
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		<-s.Ready()
		reply, err := New(path).Shutdown(context.Background(), Shutdown{})
		if err != nil || len(reply.Consumers) != 1 {
			t.Errorf("%v, %v", reply, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
