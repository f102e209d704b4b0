package backends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"qsuper/health"
	"qsuper/internal/kind"
)

// prometheusParallel is how many queries run at a time.
const prometheusParallel = 4

// prometheusConfig is `type: prometheus`: any server with its query API.
type prometheusConfig struct {
	URL          kind.Secret `yaml:"url,required"`  // http or https; may hold user:password@
	PasswordFile kind.Path   `yaml:"password_file"` // file with the password, instead of one in the file
	TLS          kind.TLS    `yaml:"tls"`           // for a server with TLS
}

func init() {
	health.Register(health.Kind{
		Type: "prometheus", QueueKeys: []string{"name", "query"}, CheckQueue: func(q health.Queue) error {
			if q.SQL == "" {
				return errors.New("query is missing: a PromQL expression that gives one number")
			}
			return nil
		},
	}, prometheusConfig{}, openPrometheus)
}

// Validate says what is wrong with the url, without showing it.
func (c *prometheusConfig) Validate() error {
	u, err := parseHTTP(c.URL.Reveal())
	switch {
	case err != nil:
		return err
	case u.RawQuery != "":
		return errors.New("url must end before /api/v1, without parameters")
	}
	return notPlain("url", u, c.TLS)
}

type prometheus struct{ *web }

func openPrometheus(c prometheusConfig) (health.Conn, error) {
	conn, err := openHTTP(httpConfig{URL: c.URL, PasswordFile: c.PasswordFile, TLS: c.TLS, Expect: http.StatusOK})
	if err != nil {
		return nil, err
	}
	return &prometheus{conn.(*web)}, nil
}

// Ping asks for the value of 1.
func (p *prometheus) Ping(ctx context.Context) error {
	ctx, cancel := p.life.during(ctx)
	defer cancel()
	_, err := p.query(ctx, "1")
	return err
}

// Measure asks each query once. When none of them was answered the server is down.
func (p *prometheus) Measure(ctx context.Context, queues []health.Queue) ([]health.Reading, error) {
	ctx, cancel := p.life.during(ctx)
	defer cancel()
	first := map[string]int{}
	readings, errs := make([]health.Reading, len(queues)), make([]error, len(queues))
	places := make(chan struct{}, prometheusParallel)
	var wg sync.WaitGroup
	for i, q := range queues {
		if _, seen := first[q.SQL]; seen {
			continue
		}
		first[q.SQL] = i
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			readings[i], errs[i] = p.query(ctx, q.SQL)
		})
	}
	wg.Wait()
	var failed error
	answered := len(queues) == 0
	for i, q := range queues {
		at := first[q.SQL]
		if readings[i] = readings[at]; errs[at] != nil {
			readings[i], failed = unknown("%v", errs[at]), errs[at]
		}
		answered = answered || errs[at] == nil
	}
	if answered {
		return readings, nil
	}
	return nil, failed
}

// prometheusAnswer is the answer of the query API.
type prometheusAnswer struct {
	Status string `json:"status"`
	Error  string `json:"error"`
	Data   struct {
		Type   string          `json:"resultType"`
		Result json.RawMessage `json:"result"`
	} `json:"data"`
}

// query asks for a value now. Its error means that the server gave no answer to
// any query; one that is wrong, or takes too long there, is an unknown reading.
func (p *prometheus) query(ctx context.Context, text string) (health.Reading, error) {
	u := p.base.JoinPath("api", "v1", "query")
	u.RawQuery = url.Values{"query": {text}}.Encode()
	status, body, err := p.get(ctx, u)
	if err != nil {
		return health.Reading{}, err
	}
	var answer prometheusAnswer
	if json.Unmarshal([]byte(body), &answer) != nil || answer.Status == "" {
		err := fmt.Errorf("answered with status %d, and not as Prometheus does", status)
		if status == http.StatusUnauthorized && p.user != nil {
			err = &health.Denied{Err: err}
		}
		return health.Reading{}, err
	}
	if answer.Status != "success" {
		return unknown("%s", answer.Error), nil
	}
	return promReading(answer)
}

// promReading reads a scalar, or a vector of one series.
func promReading(answer prometheusAnswer) (health.Reading, error) {
	type sample [2]any // seconds since 1970, value as text
	var one sample
	switch answer.Data.Type {
	case "scalar":
		if json.Unmarshal(answer.Data.Result, &one) != nil {
			return unknown("the answer is not a number"), nil
		}
	case "vector":
		var series []struct {
			Value sample `json:"value"`
		}
		if err := json.Unmarshal(answer.Data.Result, &series); err != nil || len(series) > 1 {
			return unknown("the query gives %d series: make one of them with sum() or max()", len(series)), nil
		}
		if len(series) == 0 {
			return missing("the query gives no series: nobody reports it"), nil
		}
		one = series[0].Value
	default:
		return unknown("the query gives a %s, not a number", answer.Data.Type), nil
	}
	text, _ := one[1].(string)
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 || v > 1<<53 {
		return unknown("the value is %.40q, not a count", text), nil
	}
	return counted(int64(math.Ceil(v))), nil // half a message is one that waits
}
