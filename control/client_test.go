package control

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestNoDaemon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	began := time.Now()
	for _, path := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "none", "none")} {
		_, err := New(path).Status(context.Background(), StatusQuery{})
		if e, ok := errors.AsType[*NoDaemon](err); !ok || e.Socket != path {
			t.Errorf("%s: %v", path, err)
		}
	}
	if took := time.Since(began); took >= retryFor {
		t.Errorf("an absent socket was waited for %v", took)
	}

	path := filepath.Join(dir, "stale")
	staleSocket(t, path)
	began = time.Now()
	_, err := New(path).Status(context.Background(), StatusQuery{})
	if _, ok := errors.AsType[*NoDaemon](err); !ok {
		t.Errorf("stale: %v", err)
	}
	if took := time.Since(began); took < retryFor || took > retryFor+10*time.Second {
		t.Errorf("a dead socket was tried for %v, want %v", took, retryFor)
	}
}

// TestEngineRestart: the client bridges the moment in which nobody listens,
// and asks again when its answer was cut off.
// Two files may name the same socket: a word for the daemon of one must not reach that of
// the other.
func TestRequestsForAnotherFile(t *testing.T) {
	dir := t.TempDir()
	ours, other, link := filepath.Join(dir, "ours ü.yaml"), filepath.Join(dir, "other.yaml"), filepath.Join(dir, "link.yaml")
	for _, path := range []string{ours, other} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(ours, link); err != nil {
		t.Fatal(err)
	}
	d := &fakeDaemon{}
	r := newTestServer(t, d, "")
	r.opts.File = ours
	r.start(t)
	for _, path := range []string{"", ours, link} {
		if _, err := New(r.path).For(path).Status(t.Context(), StatusQuery{}); err != nil {
			t.Errorf("for %q: %v", path, err)
		}
	}
	for _, path := range []string{other, filepath.Join(dir, "gone.yaml"), "/odd\n\x1b name.yaml"} {
		_, err := New(r.path).For(path).Do(t.Context(), Command{Verb: VerbStop})
		none, ok := errors.AsType[*NoDaemon](err)
		if !ok {
			t.Fatalf("for %q: %v", path, err)
		}
		if want := "no daemon runs " + path + ": the one at " + r.path + " runs " + ours; none.Error() != want {
			t.Errorf("said %q, want %q", none, want)
		}
		if !strings.Contains(none.Hint(), "--socket "+r.path) {
			t.Errorf("hint %q", none.Hint())
		}
	}
	if err := os.Remove(ours); err != nil {
		t.Fatal(err)
	}
	if _, err := New(r.path).For(ours).Status(t.Context(), StatusQuery{}); err != nil {
		t.Errorf("for its file that is gone: %v", err)
	}
}

func TestEngineRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	done := make(chan error, 1)
	go func() { _, err := New(path).Status(context.Background(), StatusQuery{}); done <- err }()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close() // the engine dies with the request in its hands
	l.Close()
	newTestServer(t, &fakeDaemon{}, path).start(t)
	if err := <-done; err != nil {
		t.Errorf("status over the restart: %v", err)
	}
}

// TestCommandsAreSentOnce: what changes something is not repeated.
func TestCommandsAreSentOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() { _, err := New(path).Do(context.Background(), Command{Verb: VerbStop}); done <- err }()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Read(make([]byte, 10))
	c.Close()
	if _, lost := errors.AsType[*Lost](<-done); !lost {
		t.Error("want *Lost")
	}
	l.(*net.UnixListener).SetDeadline(time.Now().Add(100 * time.Millisecond))
	if c, err := l.Accept(); err == nil {
		c.Close()
		t.Error("the command was sent twice")
	}
}

func TestStrangeAnswers(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nhello",
		"SSH-2.0-OpenSSH_9.2\r\n",
	} {
		path := filepath.Join(t.TempDir(), "q.sock")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { _, err := New(path).Reload(context.Background()); done <- err }()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Read(make([]byte, 4096))
		c.Write([]byte(answer))
		c.Close()
		l.Close()
		if err := <-done; err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: error %v does not name the socket", answer, err)
		}
	}
}

func TestDenied(t *testing.T) {
	d := &Denied{Socket: "/run/q", Group: "qsuper"}
	if !strings.Contains(d.Hint(), "group qsuper") {
		t.Error(d.Hint())
	}
	if h := (&Denied{Owner: "shop"}).Hint(); !strings.Contains(h, "root or shop") {
		t.Error(h)
	}
	if h := (&Denied{Owner: "root"}).Hint(); !strings.Contains(h, "be root") {
		t.Error(h)
	}
}
