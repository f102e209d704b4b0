package backends

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"

	"qsuper/health"
	"qsuper/internal/kind"
)

const (
	sqsParallel = 4       // requests, and so connections, at a time
	sqsMaxBody  = 1 << 20 // bytes of an answer
)

// sqsConfig is `type: sqs`.
type sqsConfig struct {
	Region       string        `yaml:"region,required"`   // of AWS
	Endpoint     string        `yaml:"endpoint"`          // default: AWS
	AccessKey    string        `yaml:"access_key_id"`     // default: the role of the container or the machine
	Secret       kind.Secret   `yaml:"secret_access_key"` // of the access key
	PasswordFile kind.Path     `yaml:"password_file"`     // file with the password, instead of one in the file
	Refresh      kind.Duration `yaml:"refresh"`           // how often AWS is asked at most: each request costs money
	TLS          kind.TLS      `yaml:"tls"`               // for a server with TLS
}

func init() {
	health.Register(health.Kind{
		Type: "sqs", QueueKeys: []string{"name"}, CheckQueue: named,
	}, sqsConfig{Refresh: 5 * time.Second}, openSQS)
}

// Validate says what is wrong with the section.
func (c *sqsConfig) Validate() error {
	given := !c.Secret.IsZero() || c.PasswordFile != ""
	if (c.AccessKey != "") != given {
		return errors.New("access_key_id and secret_access_key (or password_file) must be given together, or none of them")
	}
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("endpoint must be http://host[:port] or https://…")
	}
	return notPlain("endpoint", u, c.TLS)
}

// sqsConn speaks SQS's JSON protocol itself: three calls, where AWS's own client
// would cost every process of qsuper a megabyte at its start. Signing and roles
// are AWS's.
type sqsConn struct {
	config sqsConfig
	*password
	endpoint *url.URL
	http     *http.Client
	signer   *v4.Signer
	roles    aws.CredentialsProvider // nil: the file has the credentials
	life     lifetime

	mu   sync.Mutex
	urls map[string]string // of queues, by name
	last map[string]sqsLast
}

// sqsLast is a reading with its moment.
type sqsLast struct {
	at time.Time
	health.Reading
}

func openSQS(c sqsConfig) (health.Conn, error) {
	text := c.Endpoint
	if text == "" {
		text = "https://sqs." + c.Region + ".amazonaws.com"
		if strings.HasPrefix(c.Region, "cn-") {
			text += ".cn"
		}
	}
	endpoint, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("endpoint is not a URL")
	}
	s := &sqsConn{
		config: c, password: &password{text: c.Secret.Reveal(), file: c.PasswordFile}, endpoint: endpoint.JoinPath("/"),
		http: httpClient(c.TLS, sqsParallel), signer: v4.NewSigner(), life: newLifetime(),
		urls: map[string]string{}, last: map[string]sqsLast{},
	}
	if c.AccessKey == "" {
		s.roles = aws.NewCredentialsCache(sqsRole(os.Getenv))
	}
	return s, nil
}

// sqsRole is the role of an ECS or EKS container where the environment names
// one, else that of an EC2 machine.
func sqsRole(env func(string) string) aws.CredentialsProvider {
	address := env("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if path := env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); path != "" {
		address = "http://169.254.170.2" + path
	}
	if address == "" {
		return ec2rolecreds.New()
	}
	return endpointcreds.New(address, func(o *endpointcreds.Options) {
		o.AuthorizationToken = env("AWS_CONTAINER_AUTHORIZATION_TOKEN")
		if file := env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
			o.AuthorizationTokenProvider = endpointcreds.TokenProviderFunc(func() (string, error) {
				b, err := os.ReadFile(file)
				return strings.TrimSpace(string(b)), err
			})
		}
	})
}

// credentials are those of the moment.
func (s *sqsConn) credentials(ctx context.Context) (aws.Credentials, error) {
	if s.roles != nil {
		c, err := s.roles.Retrieve(ctx)
		if err != nil {
			err = fmt.Errorf("no access_key_id in the file, and no role: %w", err)
		}
		return c, err
	}
	secret, err := s.current()
	return aws.Credentials{AccessKeyID: s.config.AccessKey, SecretAccessKey: secret}, err
}

// sqsError is SQS's own word.
type sqsError struct {
	Type    string `json:"__type"` // com.amazonaws.sqs#QueueDoesNotExist
	Message string `json:"message"`
}

func (e *sqsError) Error() string {
	_, code, _ := strings.Cut(e.Type, "#")
	return strings.TrimSuffix(max(code, e.Type)+": "+e.Message, ": ")
}

// says reports whether the code has one of words in it.
func says(err error, words ...string) bool {
	e, ok := errors.AsType[*sqsError](err)
	return ok && slices.ContainsFunc(words, func(w string) bool { return strings.Contains(e.Type, w) })
}

// call makes one request. Its error is a *sqsError if SQS answered.
func (s *sqsConn) call(ctx context.Context, action string, in map[string]any, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	c, err := s.credentials(ctx)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(body)
	if err := s.signer.SignHTTP(ctx, c, req, hex.EncodeToString(hash[:]), "sqs", s.config.Region, time.Now()); err != nil {
		return err
	}
	status, text, err := fetch(s.http, req, sqsMaxBody)
	if err != nil {
		return err
	}
	if status == http.StatusOK {
		if json.Unmarshal([]byte(text), out) != nil {
			return errors.New("the answer is not that of SQS")
		}
		return nil
	}
	said := &sqsError{}
	if json.Unmarshal([]byte(text), said) != nil || said.Type == "" {
		return fmt.Errorf("answered with status %d, and not as SQS does", status)
	}
	if says(said, "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSecurity", "UnrecognizedClient", "InvalidSignature", "ExpiredToken") {
		return &health.Denied{Err: said}
	}
	return said
}

// Ping asks for one queue at most.
func (s *sqsConn) Ping(ctx context.Context) error {
	ctx, cancel := s.life.during(ctx)
	defer cancel()
	err := s.call(ctx, "ListQueues", map[string]any{"MaxResults": 1}, &struct{}{})
	if says(err, "AccessDenied") {
		return nil // it answers, and knows who asks
	}
	return err
}

// Measure asks about each queue whose reading is too old.
func (s *sqsConn) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	ctx, cancel := s.life.during(ctx)
	defer cancel()
	readings, errs := make([]health.Reading, len(queues)), make([]error, len(queues))
	places := make(chan struct{}, sqsParallel)
	var wg sync.WaitGroup
	for i, q := range queues {
		s.mu.Lock()
		last := s.last[q.Name]
		s.mu.Unlock()
		if !last.at.IsZero() && time.Since(last.at) < s.config.Refresh {
			readings[i] = last.Reading
			continue
		}
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			readings[i], errs[i] = s.queue(ctx, q.Name)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return readings, nil
}

// queue counts one. Its error means that SQS did not answer, or not to us.
func (s *sqsConn) queue(ctx context.Context, name string) (health.Reading, error) {
	address, err := s.address(ctx, name)
	if err != nil {
		return s.settle(name, health.Reading{}, err)
	}
	r := counted(0)
	wanted := map[string]*int64{
		"ApproximateNumberOfMessages": &r.Ready, "ApproximateNumberOfMessagesNotVisible": &r.InFlight, "ApproximateNumberOfMessagesDelayed": &r.Delayed,
	}
	var out struct{ Attributes map[string]string }
	err = s.call(ctx, "GetQueueAttributes", map[string]any{"QueueUrl": address, "AttributeNames": slices.Collect(maps.Keys(wanted))}, &out)
	if err != nil {
		return s.settle(name, r, err)
	}
	for attribute, into := range wanted {
		n, err := count(out.Attributes[attribute])
		if err != nil {
			return s.settle(name, unknown("%s is %v", attribute, err), nil)
		}
		*into = n
	}
	if r.Ready == 0 {
		r.Oldest = 0
	}
	return s.settle(name, r, nil)
}

// address is the URL of a queue, asked for once.
func (s *sqsConn) address(ctx context.Context, name string) (string, error) {
	s.mu.Lock()
	known := s.urls[name]
	s.mu.Unlock()
	if strings.Contains(name, "://") {
		known = name
	}
	if known != "" {
		return known, nil
	}
	var out struct{ QueueUrl string }
	err := s.call(ctx, "GetQueueUrl", map[string]any{"QueueName": name}, &out)
	if err == nil {
		s.mu.Lock()
		s.urls[name] = out.QueueUrl
		s.mu.Unlock()
	}
	return out.QueueUrl, err
}

// settle remembers what was said about a queue, be it that there is none.
func (s *sqsConn) settle(name string, r health.Reading, err error) (health.Reading, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case says(err, "QueueDoesNotExist", "NonExistentQueue"):
		delete(s.urls, name)
		r, err = missing("there is no such queue"), nil
	case says(err, "AccessDenied", "InvalidAddress", "UnsupportedOperation", "Throttl", "OverLimit"):
		r, err = unknown("%v", err), nil
	}
	if err == nil {
		s.last[name] = sqsLast{time.Now(), r}
	}
	return r, err
}

func (s *sqsConn) Secrets() []string { return s.password.Secrets() }

func (s *sqsConn) Close() error {
	s.life.end()
	s.http.CloseIdleConnections()
	return nil
}
