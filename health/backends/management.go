package backends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"qsuper/health"
	"qsuper/internal/kind"
)

const (
	// managementEvery is how often at most the list of queues is fetched; the
	// broker itself renews the numbers in it every 5 s unless told otherwise.
	managementEvery = time.Second
	// managementWait is how long a measurement waits for it. The API of a broker
	// with many queues takes seconds, and the depth must not wait for that.
	managementWait = 200 * time.Millisecond
	// managementFresh is how old the list may be and still be used.
	managementFresh   = 10 * time.Second
	managementTimeout = 10 * time.Second
	managementMaxBody = 8 << 20 // bytes; about 100 a queue
)

// management adds what AMQP cannot say: how many messages are taken and not yet
// acknowledged and, where publishers set timestamps, how old the oldest one is.
// One request serves all queues of a vhost.
type management struct {
	base     *url.URL // without credentials
	url      *url.URL // of the list of queues
	user     string
	password *password
	client   *http.Client
	life     lifetime

	mu    sync.Mutex
	busy  chan struct{} // closed at the end of the request under way; nil: none
	asked time.Time     // when the last one began
	at    time.Time     // when last was true
	last  map[string]managed
	err   error // why the last request gave nothing
}

// managed is what the API says of one queue.
type managed struct {
	Name    string          `json:"name"`
	Unacked *int64          `json:"messages_unacknowledged"` // absent until statistics exist
	Head    json.RawMessage `json:"head_message_timestamp"`  // seconds since 1970, or null or ""
}

func newManagement(base string, broker amqp.URI, secret *password, settings kind.TLS) (*management, error) {
	u, err := parseHTTP(base)
	if err != nil {
		return nil, fmt.Errorf("management_%w", err)
	}
	m := &management{user: broker.Username, password: secret, client: httpClient(settings, 1), life: newLifetime()}
	if u.User != nil {
		m.user = u.User.Username()
		text, _ := u.User.Password()
		m.password = &password{text: text}
		u.User = nil
	}
	m.base = u
	m.url = u.JoinPath("api", "queues", url.PathEscape(broker.Vhost))
	m.url.RawQuery = "columns=name,messages_unacknowledged,head_message_timestamp"
	return m, nil
}

// refresh begins a request, unless one is under way or was just made.
func (m *management) refresh() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy != nil || time.Since(m.asked) < managementEvery || m.life.ctx.Err() != nil {
		return
	}
	m.asked = time.Now()
	m.busy = make(chan struct{})
	go m.fetch()
}

func (m *management) fetch() {
	ctx, cancel := context.WithTimeout(m.life.ctx, managementTimeout)
	defer cancel()
	queues, err := m.get(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err = err; err == nil {
		m.at, m.last = time.Now(), queues
	}
	close(m.busy)
	m.busy = nil
}

func (m *management) get(ctx context.Context) (map[string]managed, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url.String(), nil)
	if err != nil {
		return nil, errors.New("management_url is not valid")
	}
	secret, err := m.password.current()
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(m.user, secret)
	status, body, err := fetch(m.client, req, managementMaxBody)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("answered with status %d", status)
	}
	var list []managed
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		return nil, fmt.Errorf("the answer is not a list of queues: %w", err)
	}
	queues := make(map[string]managed, len(list))
	for _, q := range list {
		queues[q.Name] = q
	}
	return queues, nil
}

// add completes readings with what the last answer said.
func (m *management) add(ctx context.Context, queues []health.Queue, readings []health.Reading) {
	m.mu.Lock()
	busy := m.busy
	m.mu.Unlock()
	if busy != nil {
		limit := time.NewTimer(managementWait)
		defer limit.Stop()
		select {
		case <-busy:
		case <-limit.C:
		case <-ctx.Done():
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh := time.Since(m.at) < managementFresh
	for i := range readings {
		r := &readings[i]
		if r.State != health.OK {
			continue
		}
		if !fresh {
			r.Err = "unacknowledged messages are not known: the management API does not answer"
			if m.err != nil {
				r.Err = fmt.Sprintf("unacknowledged messages are not known: management API: %v", m.err)
			}
			continue
		}
		q := m.last[queues[i].Name]
		if q.Unacked != nil {
			r.InFlight = *q.Unacked
		}
		var head int64
		if r.Ready > 0 && json.Unmarshal(q.Head, &head) == nil && head > 0 {
			r.Oldest = seconds(time.Since(time.Unix(head, 0)).Seconds())
		}
	}
}

// close ends a request that runs and waits for it.
func (m *management) close() {
	m.life.end()
	m.mu.Lock()
	busy := m.busy
	m.mu.Unlock()
	if busy != nil {
		<-busy
	}
	m.client.CloseIdleConnections()
}
