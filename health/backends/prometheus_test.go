package backends_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"qsuper/health"
	"qsuper/health/healthtest"
)

// promServer is the query API with as many messages as were published to a
// metric of each name, and the answers of the real server to everything else.
type promServer struct {
	*httptest.Server
	metrics atomic.Pointer[map[string][]string]
}

func newPromServer(t *testing.T) *promServer {
	p := &promServer{}
	p.metrics.Store(&map[string][]string{})
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

func (p *promServer) serve(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); user != "probe" || password != nasty {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answer := func(kind, result string) {
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":%q,"result":%s}}`, kind, result)
	}
	if r.Method != http.MethodGet || r.URL.Path != "/prom/api/v1/query" {
		http.NotFound(w, r)
		return
	}
	one := func(v string) string { return fmt.Sprintf(`{"metric":{"queue":"x"},"value":[1700000000.1,%q]}`, v) }
	switch q := r.URL.Query().Get("query"); q {
	case "1":
		answer("scalar", `[1700000000.1,"1"]`)
	case "scalar(2.2)":
		answer("scalar", `[1700000000.1,"2.2"]`)
	case "two":
		answer("vector", "["+one("1")+","+one("2")+"]")
	case "nan":
		answer("vector", "["+one("NaN")+"]")
	case "negative":
		answer("vector", "["+one("-1")+"]")
	case "range[5m]":
		answer("matrix", "[]")
	case "sum(":
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"status":"error","errorType":"bad_data","error":"1:5: parse error: unclosed left parenthesis"}`)
	case "slow":
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"status":"error","errorType":"timeout","error":"query timed out"}`)
	default:
		list, known := (*p.metrics.Load())[q]
		if !known {
			answer("vector", "[]")
			return
		}
		answer("vector", "["+one(fmt.Sprint(len(list)))+"]")
	}
}

func (p *promServer) spec(t *testing.T, addr, password string) health.Spec {
	u := url.URL{Scheme: "http", User: url.UserPassword("probe", password), Host: addr, Path: "/prom"}
	return spec(t, "prometheus", "{type: prometheus, url: %q}", u.String())
}

func TestPrometheus(t *testing.T) {
	p := newPromServer(t)
	n := 0
	set := func(name string, bodies ...string) {
		next := map[string][]string{}
		for k, v := range *p.metrics.Load() {
			next[k] = v
		}
		next[name] = append(next[name], bodies...)
		p.metrics.Store(&next)
	}
	healthtest.Run(t, healthtest.Suite{
		Addr: p.Listener.Addr().String(), Password: nasty, Connections: 4, Row: "prometheus", Spec: p.spec,
		Queues: &healthtest.Queues{
			New: func(*testing.T) health.Queue {
				n++
				q := health.Queue{SQL: fmt.Sprintf(`depth{queue="ü%d"}`, n)}
				set(q.SQL)
				return q
			},
			Missing: func(*testing.T) health.Queue { return health.Queue{SQL: "absent"} },
			Broken:  func(*testing.T) health.Queue { return health.Queue{SQL: "sum("} },
			Publish: func(_ *testing.T, q health.Queue, bodies ...string) { set(q.SQL, bodies...) },
			Content: func(_ *testing.T, q health.Queue) []string { return (*p.metrics.Load())[q.SQL] },
		},
	})
	s := p.spec(t, p.Listener.Addr().String(), nasty)
	for query, want := range map[string]string{
		"scalar(2.2)": "ok 3", "two": "2 series", "nan": "not a count", "negative": "not a count", "range[5m]": "matrix", "sum(": "unclosed", "slow": "timed out",
	} {
		got := reading(t, s, health.Queue{SQL: query})
		if text := fmt.Sprintf("%s %d %s", got.State, got.Ready, got.Err); !strings.Contains(text, want) || (got.State == health.OK) != strings.HasPrefix(want, "ok") {
			t.Errorf("%s: want %s, got %+v", query, want, got)
		}
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	if o := look(t, spec(t, "prometheus", "{type: prometheus, url: %q}", other.URL), health.Queue{SQL: "1"}); o.Up || !strings.Contains(o.Err, "not as Prometheus") {
		t.Errorf("another server: %+v", o)
	}
}

func TestPrometheusRefuses(t *testing.T) {
	refused(t, "prometheus", map[string]string{"{type: prometheus}": "url is missing", `{type: prometheus, url: "h:1"}`: "url must be", `{type: prometheus, url: "http://h/?hidden=1"}`: "parameters", `{type: prometheus, url: "http://h", tls: {}}`: "starts with https://"})
	refusedQueues(t, "prometheus", map[string]health.Queue{"query is missing": {Name: "x"}})
}
