package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"qsuper/test/servers"
)

// TestAlerts has a real daemon tell a webhook, a program and a real mail server
// of a queue that nobody works on: once when it begins, also when the engine is
// killed meanwhile, and once when it is over.
func TestAlerts(t *testing.T) {
	inbox := startMail(t)
	var mu sync.Mutex
	var hooks []string
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		var l struct {
			Alerts []struct{ Alert, Subject, State, Text string }
		}
		if err := json.NewDecoder(req.Body).Decode(&l); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, a := range l.Alerts {
			hooks = append(hooks, a.Alert+" "+a.Subject+" "+a.State)
		}
	}))
	defer hook.Close()
	q := newQueue(t)
	d := newDaemon(t, "")
	pager := d.Path("pager")
	if err := os.WriteFile(pager, []byte("#!/bin/sh\necho \"$QSUPER_ALERT_STATE $QSUPER_ALERT_SUBJECT\" >> "+d.Path("paged")+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	d.Write(fmt.Sprintf(`
connections:
  db: {type: sqlite, path: %s}
consumers:
  orders: {command: [sleep, "1000"], queue: {connection: db, name: orders}, autostart: false}
alerts:
  - {name: nobody-works, when: {is: unserved}, for: 1s, webhook: %q, command: [./pager]}
  - {name: orders-deep, when: {consumer: orders, depth: 3}, for: 1s, email: {to: [ops@example.org], from: qsuper@example.org, server: "smtp://qsuper:s3cret@127.0.0.1:%d", ca: %s}}
`, q.path(), hook.URL+"/s3cret", inbox.port, inbox.ca))
	q.publish(5)
	d.Start()
	told := func(what string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(strings.Join(hooks, "\n"), what)
		}
	}
	eventually(t, patience, "the webhook is told", told("nobody-works orders firing"))
	eventually(t, patience, "the program is told", func() bool { raw, _ := os.ReadFile(d.Path("paged")); return string(raw) == "firing orders\n" })
	eventually(t, patience, "a letter comes over TLS", func() bool {
		l := inbox.letters()
		return len(l) == 1 && l[0].TLS && strings.Contains(l[0].Subject, "FIRING orders-deep: orders: 5 messages wait") && l[0].To[0] == "ops@example.org"
	})
	eventually(t, patience, "the command shows it", func() bool {
		out := d.Must("alerts").Stdout
		return strings.Contains(out, "orders-deep") && strings.Contains(out, "firing") && strings.Contains(out, "5 messages wait")
	})
	for _, words := range [][]string{{"alerts", "--json"}, {"status", "--json"}, {"events"}} {
		if out := d.Run(words...).Stdout; strings.Contains(out, "s3cret") {
			t.Errorf("%v shows a secret: %s", words, out)
		}
	}
	d.KillEngine()
	if _, err := q.db.Exec("DELETE FROM messages"); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the webhook is told of the end", told("nobody-works orders resolved"))
	eventually(t, patience, "a second letter comes", func() bool {
		l := inbox.letters()
		return len(l) == 2 && strings.Contains(l[1].Subject, "resolved orders-deep")
	})
	mu.Lock()
	if got := strings.Join(hooks, ", "); got != "nobody-works orders firing, nobody-works orders resolved" {
		t.Errorf("told: %s", got)
	}
	mu.Unlock()

	if r := d.Run("alerts", "test", "orders-deep"); r.Code != 0 || !strings.Contains(r.Stdout, "email: delivered") {
		t.Errorf("code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if r := d.Run("alerts", "test", "orders-dep"); r.Code != 1 || !strings.Contains(r.Stderr, "orders-deep") {
		t.Errorf("code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	inbox.end()
	if r := d.Run("alerts", "test", "orders-deep"); r.Code != 1 || !strings.Contains(r.Stdout, "email: not delivered") || strings.Contains(r.Stdout, "s3cret") {
		t.Errorf("code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if raw, _ := os.ReadFile(d.Path("daemon.log")); strings.Contains(string(raw), "s3cret") {
		t.Error("the daemon's log shows a secret")
	}
}

// mailServer is test/apps/mail.py.
type mailServer struct {
	port int
	ca   string
	end  func()

	mu  sync.Mutex
	all []mailLetter
}

type mailLetter struct {
	To      []string
	Subject string
	Text    string
	TLS     bool
}

func (m *mailServer) letters() []mailLetter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]mailLetter(nil), m.all...)
}

func startMail(t *testing.T) *mailServer {
	t.Helper()
	dir := t.TempDir()
	m := &mailServer{ca: filepath.Join(dir, "ca.pem")}
	key := filepath.Join(dir, "key.pem")
	if err := servers.Certificate(m.ca, key); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", "apps/mail.py", "0", m.ca, key)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; run test/install-packages", err)
	}
	lines := bufio.NewScanner(out)
	var first struct{ Port int }
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &first) != nil {
		t.Fatal("the mail server did not start: is python3-aiosmtpd installed? run test/install-packages")
	}
	m.port = first.Port
	over := make(chan struct{})
	go func() {
		defer close(over)
		for lines.Scan() {
			var l mailLetter
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				continue
			}
			m.mu.Lock()
			m.all = append(m.all, l)
			m.mu.Unlock()
		}
	}()
	m.end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-over
		_ = cmd.Wait()
	})
	t.Cleanup(m.end)
	return m
}
