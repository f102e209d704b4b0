package backends_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"qsuper/health"
	"qsuper/health/healthtest"
)

// sqsServer speaks as much of SQS's JSON protocol as is needed, and checks the
// signature of every request as AWS does: by signing it as well.
type sqsServer struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	queues   map[string]*sqsQueue
	denied   bool
	requests int
}

type sqsQueue struct {
	bodies         []string
	taken, delayed int
}

func newSQSServer(t *testing.T) *sqsServer {
	s := &sqsServer{t: t, queues: map[string]*sqsQueue{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *sqsServer) signed(r *http.Request, body []byte) bool {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return false
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		return false
	}
	for _, name := range []string{"Content-Type", "X-Amz-Target"} {
		again.Header.Set(name, r.Header.Get(name))
	}
	sum := sha256.Sum256(body)
	secret := aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: nasty}
	if err := v4.NewSigner().SignHTTP(r.Context(), secret, again, hex.EncodeToString(sum[:]), "sqs", "eu-west-1", at); err != nil {
		return false
	}
	return again.Header.Get("Authorization") == r.Header.Get("Authorization")
}

func (s *sqsServer) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	fail := func(code string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":"com.amazonaws.sqs#%s","message":"as AWS words it"}`, code)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if !s.signed(r, body) {
		fail("InvalidSignatureException")
		return
	}
	var in struct {
		QueueName, QueueUrl string
		AttributeNames      []string
	}
	if json.Unmarshal(body, &in) != nil {
		fail("SerializationException")
		return
	}
	name := in.QueueName + in.QueueUrl[strings.LastIndex(in.QueueUrl, "/")+1:]
	q := s.queues[name]
	switch target := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS."); {
	case target == "ListQueues":
		fmt.Fprint(w, `{"QueueUrls":[]}`)
	case target != "GetQueueUrl" && target != "GetQueueAttributes":
		s.t.Errorf("asked for %s", target) // anything else would be more than looking
		fail("UnknownOperationException")
	case q == nil:
		fail("QueueDoesNotExist")
	case s.denied:
		fail("AccessDeniedException")
	case target == "GetQueueUrl":
		fmt.Fprintf(w, `{"QueueUrl":"%s/123456789012/%s"}`, s.URL, name)
	default:
		if len(in.AttributeNames) != 3 {
			s.t.Errorf("asked for %v", in.AttributeNames)
		}
		fmt.Fprintf(w, `{"Attributes":{"ApproximateNumberOfMessages":"%d","ApproximateNumberOfMessagesNotVisible":"%d","ApproximateNumberOfMessagesDelayed":"%d"}}`,
			len(q.bodies)-q.taken, q.taken, q.delayed)
	}
}

func (s *sqsServer) spec(t *testing.T, addr, password, refresh string) health.Spec {
	return spec(t, "sqs", "{type: sqs, region: eu-west-1, endpoint: %q, access_key_id: AKIDEXAMPLE, secret_access_key: %q, refresh: %s}", "http://"+addr, password, refresh)
}

func TestSQS(t *testing.T) {
	s := newSQSServer(t)
	n := 0
	on := func(q health.Queue, do func(*sqsQueue)) {
		s.mu.Lock()
		defer s.mu.Unlock()
		do(s.queues[q.Name])
	}
	newQueue := func(*testing.T) health.Queue {
		s.mu.Lock()
		defer s.mu.Unlock()
		n++
		q := health.Queue{Name: fmt.Sprint("q", n)}
		s.queues[q.Name] = &sqsQueue{}
		return q
	}
	addr := s.Listener.Addr().String()
	healthtest.Run(t, healthtest.Suite{
		Addr: addr, Password: nasty, Connections: 4, Row: "sqs",
		Spec: func(t *testing.T, addr, password string) health.Spec { return s.spec(t, addr, password, "0s") },
		Queues: &healthtest.Queues{
			New:     newQueue,
			Missing: func(*testing.T) health.Queue { return health.Queue{Name: "nobody"} },
			Publish: func(_ *testing.T, q health.Queue, bodies ...string) {
				on(q, func(q *sqsQueue) { q.bodies = append(q.bodies, bodies...) })
			},
			Take:    func(_ *testing.T, q health.Queue) { on(q, func(q *sqsQueue) { q.taken++ }) },
			Delay:   func(_ *testing.T, q health.Queue) { on(q, func(q *sqsQueue) { q.delayed++ }) },
			Content: func(_ *testing.T, q health.Queue) (b []string) { on(q, func(q *sqsQueue) { b = q.bodies }); return b },
		},
	})
	t.Run("refresh", func(t *testing.T) {
		p := health.NewProbe("c", s.spec(t, addr, nasty, "1h"), 5*time.Second)
		defer p.Close(t.Context())
		q := newQueue(t)
		before := s.requests
		for range 10 {
			if o := p.Look(t.Context(), []health.Queue{q, {Name: "nobody"}}); !o.Up || o.Readings[0].State != health.OK || o.Readings[1].State != health.Missing {
				t.Errorf("got %+v", o)
			}
		}
		if made := s.requests - before; made != 3 { // two queues by name, one of which is there
			t.Errorf("10 looks within `refresh` made %d requests, want 3", made)
		}
	})
	t.Run("denied", func(t *testing.T) {
		q := newQueue(t)
		s.denied = true
		defer func() { s.denied = false }()
		o := look(t, s.spec(t, addr, nasty, "0s"), q)
		if !o.Up || o.Readings[0].State != health.Unknown || !strings.Contains(o.Readings[0].Err, "AccessDenied") {
			t.Errorf("got %+v", o)
		}
	})
}

// A container's role is asked for where the environment names its address.
func TestSQSTakesTheRoleOfItsContainer(t *testing.T) {
	s := newSQSServer(t)
	s.queues["q"] = &sqsQueue{bodies: []string{"a"}}
	role := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "token" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `{"AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":%q,"Token":"","Expiration":"2999-01-01T00:00:00Z"}`, nasty)
	}))
	defer role.Close()
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", role.URL)
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "token")
	got := reading(t, spec(t, "sqs", "{type: sqs, region: eu-west-1, endpoint: %q}", s.URL), health.Queue{Name: "q"})
	if got.State != health.OK || got.Ready != 1 {
		t.Errorf("got %+v", got)
	}
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "other")
	if o := look(t, spec(t, "sqs", "{type: sqs, region: eu-west-1, endpoint: %q}", s.URL), health.Queue{Name: "q"}); o.Up || !strings.Contains(o.Err, "no role") {
		t.Errorf("got %+v", o)
	}
}

func TestSQSRefuses(t *testing.T) {
	refused(t, "sqs", map[string]string{
		"{type: sqs}": "region is missing", "{type: sqs, region: x, access_key_id: y}": "together", `{type: sqs, region: x, secret_access_key: hidden}`: "together",
		`{type: sqs, region: x, endpoint: "h:1"}`: "endpoint must be", `{type: sqs, region: x, endpoint: "http://h", tls: {}}`: "starts with https://",
	})
	refusedQueues(t, "sqs", map[string]health.Queue{"name is missing": {}})
}
