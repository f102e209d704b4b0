package backends_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"qsuper/health"
	"qsuper/test/servers"
)

// overTLS is how each type is told to speak TLS with %[1]s, as a user with the
// password of plainPassword.
var overTLS = map[string]string{
	"rabbitmq":   "url: amqps://probe:s3cret-word@%[1]s/",
	"mysql":      "dsn: probe:s3cret-word@tcp(%[1]s)/shop",
	"postgres":   "url: postgres://probe:s3cret-word@%[1]s/shop",
	"redis":      "url: rediss://probe:s3cret-word@%[1]s",
	"nats":       "url: tls://probe:s3cret-word@%[1]s",
	"kafka":      `brokers: ["%[1]s"], user: probe, password: s3cret-word`,
	"beanstalkd": "address: %[1]s",
	"sqs":        "region: x, endpoint: https://%[1]s, access_key_id: probe, secret_access_key: s3cret-word",
	"prometheus": "url: https://probe:s3cret-word@%[1]s",
	"http":       "url: https://probe:s3cret-word@%[1]s",
	"tcp":        "address: %[1]s",
}

const plainPassword = "s3cret-word"

// greetings are what servers say and hear before TLS begins, where it does not begin
// at once; offer: they know it.
var greetings = map[string]func(c net.Conn, offer bool){
	"mysql": func(c net.Conn, offer bool) {
		capabilities := uint32(0x200 | 0x8000 | 0x80000) // protocol 4.1, its passwords, named plug-ins
		if offer {
			capabilities |= 0x800
		}
		b := append([]byte{10}, "8.0.0\x00\x01\x00\x00\x00abcdefgh\x00"...)
		b = binary.LittleEndian.AppendUint16(b, uint16(capabilities))
		b = append(b, 45, 2, 0)
		b = binary.LittleEndian.AppendUint16(b, uint16(capabilities>>16))
		b = append(b, 21)
		b = append(b, make([]byte, 10)...)
		b = append(b, "ijklmnopqrst\x00mysql_native_password\x00"...)
		_, _ = c.Write(append([]byte{byte(len(b)), 0, 0, 0}, b...))
		if offer {
			_, _ = io.ReadFull(c, make([]byte, 36)) // the request for TLS
		}
	},
	"postgres": func(c net.Conn, offer bool) {
		_, _ = io.ReadFull(c, make([]byte, 8)) // the question
		_, _ = c.Write([]byte(map[bool]string{true: "S", false: "N"}[offer]))
	},
	"nats": func(c net.Conn, offer bool) {
		fmt.Fprintf(c, "INFO {\"server_id\":\"x\",\"version\":\"2.10.0\",\"max_payload\":1048576,\"tls_required\":%v}\r\n", offer)
	},
}

// listening has each connection served until the test ends.
func listening(t *testing.T, serve func(c net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				serve(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return l.Addr().String()
}

// handshakes are those that a server has seen through to their end, with clients
// that have shown a certificate: "name the client asked for, name it has shown".
type handshakes struct {
	busy atomic.Int64 // those under way
	mu   sync.Mutex
	seen []string
}

func (h *handshakes) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := h.seen
	h.seen = nil
	return seen
}

func (h *handshakes) serve(c net.Conn, config *tls.Config) {
	h.busy.Add(1)
	defer h.busy.Add(-1)
	s := tls.Server(c, config)
	if s.HandshakeContext(context.Background()) != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	state := s.ConnectionState()
	h.seen = append(h.seen, state.ServerName+", "+state.PeerCertificates[0].Subject.CommonName)
}

// Every type that goes over the network shows its certificate, checks the server's
// against the authority and the name, and says nothing to one that knows no TLS.
func TestTLSOfEveryType(t *testing.T) {
	dir := t.TempDir()
	ca, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := servers.Certificate(ca, key); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(ca, key)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	shown := fmt.Sprintf("cert: %q, key: %q", ca, key)
	for _, k := range health.Kinds() {
		if k.Type == "sqlite" || k.Type == "exec" { // nothing of theirs goes over the network
			continue
		}
		t.Run(k.Type, func(t *testing.T) {
			section := func(addr, settings string) health.Spec {
				return spec(t, k.Type, "{type: %s, "+strings.ReplaceAll(overTLS[k.Type], "%[1]s", addr)+", tls: {%s}}", k.Type, settings)
			}
			var done handshakes
			addr := listening(t, func(c net.Conn) {
				if greet := greetings[k.Type]; greet != nil {
					greet(c, true)
				}
				done.serve(c, config)
			})
			// What comes after the handshake is another test's.
			look(t, section(addr, fmt.Sprintf("ca: %q, %s, server_name: broker.example", ca, shown)))
			eventually(t, "a handshake with everything right", func() bool { return slices.Contains(done.take(), "broker.example, qsuper test") })
			for settings, reason := range map[string]string{
				shown + ", server_name: broker.example":                "certificate",
				fmt.Sprintf("ca: %q, %s, server_name: x.y", ca, shown): "x.y",
			} {
				if o := look(t, section(addr, settings)); o.Up || !strings.Contains(o.Err, reason) {
					t.Errorf("%s: %+v", settings, o)
				}
			}
			look(t, section(addr, fmt.Sprintf("ca: %q", ca)))
			eventually(t, "the server has heard everything out", func() bool { return done.busy.Load() == 0 })
			if seen := done.take(); len(seen) > 0 {
				t.Errorf("the server was content with %q", seen)
			}
			plainly(t, k.Type, section)
		})
	}
}

// plainly has a type meet a server that knows no TLS, and minds what that hears.
func plainly(t *testing.T, typ string, section func(addr, settings string) health.Spec) {
	t.Helper()
	var mu sync.Mutex
	var heard []byte
	addr := listening(t, func(c net.Conn) {
		greet := greetings[typ]
		if greet != nil {
			greet(c, false)
		}
		b := make([]byte, 64<<10)
		n, _ := c.Read(b)
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, b[:n]...)
		if n > 0 && (greet != nil || b[0] != 0x16) { // a handshake begins with that
			t.Errorf("a server without TLS was told %q", b[:n])
		}
	})
	if o := look(t, section(addr, "")); o.Up {
		t.Errorf("a server without TLS: %+v", o)
	}
	mu.Lock()
	defer mu.Unlock()
	if bytes.Contains(heard, []byte(plainPassword)) {
		t.Error("the password was sent in plain text")
	}
}

// Passwords of every type that has some may lie in a file: the suites of the
// databases, Redis and RabbitMQ log in with one, and these do here. It is read
// for each new connection.
func TestPasswordFiles(t *testing.T) {
	broker, prom, sqs, kafka := newBroker(t), newPromServer(t), newSQSServer(t), newKafkaRig(t, 0)
	sqs.queues["q"] = &sqsQueue{}
	nats := servers.NATS(t, nasty, false)
	for typ, section := range map[string]string{
		"http":       fmt.Sprintf("url: http://probe:old@%s/health", broker.Listener.Addr()),
		"prometheus": fmt.Sprintf("url: http://probe:old@%s/prom", prom.Listener.Addr()),
		"sqs":        fmt.Sprintf("region: eu-west-1, endpoint: %q, access_key_id: AKIDEXAMPLE", sqs.URL),
		"kafka":      fmt.Sprintf("brokers: [%q], user: probe", kafka.addr),
		"nats":       fmt.Sprintf("url: nats://probe:old@%s", nats.Addr),
	} {
		t.Run(typ, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "password")
			s := spec(t, typ, "{type: %s, %s, password_file: %q}", typ, section, file)
			if o := look(t, s); o.Up || !strings.Contains(o.Err, "password_file") {
				t.Errorf("without the file: %+v", o)
			}
			for password, up := range map[string]bool{nasty: true, "wrong": false} {
				if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				if o := look(t, s); o.Up != up || strings.Contains(o.Err, nasty) {
					t.Errorf("with %q in the file: %+v", password, o)
				}
			}
		})
	}
}
