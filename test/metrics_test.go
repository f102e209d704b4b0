package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"qsuper/test/servers"
)

var series = regexp.MustCompile(`\bqsuper_[a-z_]+`)

// TestMetricsForPrometheus has Prometheus' own tool judge a live scrape and the
// alert rules, looks whether rules and dashboard ask only for what is there, and
// lets a real Prometheus scrape, and answer everything that the dashboard asks.
func TestMetricsForPrometheus(t *testing.T) {
	addr := freeAddress(t)
	q, redis := newQueue(t), servers.RedisServer(t)
	redis.Do(t, "FLUSHDB")
	t.Cleanup(func() { redis.Do(t, "FLUSHDB") })
	d := newDaemon(t, fmt.Sprintf(`  http: {listen: "%s", token_file: token}
connections:
  db: {type: sqlite, path: %s}
  cache: {type: redis, url: "redis://%s/0"}
locks:
  fleet: {type: redis, connection: cache, ttl: 10s}
consumers:
  talker: {shell: "while :; do echo a line of 21 bytes.; sleep 0.2; done"}
  sole: {command: [sleep, "1000"], lock: fleet, exclusive: true, stop: {grace: 1s}}
  orders: {command: [sleep, "1000"], instances: 2, queue: {connection: db, name: orders}}
  broken: {command: ["false"]}
jobs:
  often: {schedule: "* * * * * *", command: ["true"]}
`, addr, q.path(), redis.Addr))
	if err := os.WriteFile(d.Path("token"), []byte(pageToken), 0o600); err != nil {
		t.Fatal(err)
	}
	q.publish(3)
	d.Start()
	var scrape string
	eventually(t, patience, "a scrape has everything", func() bool {
		scrape = get(addr, "/metrics", pageToken).body
		for _, part := range []string{`class="crashed"`, `qsuper_queue_oldest_seconds{`, `qsuper_job_last_failed{job="often"} 0`, `qsuper_job_start_delay_seconds{job="often"} 0.`, `qsuper_consumer_lease_margin_seconds{consumer="sole"} `,
			`qsuper_lock_hosts{lock="fleet",state="here"} 1`, `qsuper_lock_held_slots{lock="fleet"} 1`} {
			if !strings.Contains(scrape, part) {
				return false
			}
		}
		return true
	})
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(scrape)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v; %s", err, out)
	}
	if out, err := exec.Command("promtool", "check", "rules", "../deploy/prometheus/qsuper.rules.yml").CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v; %s", err, out)
	}
	if out, err := exec.Command("promtool", "test", "rules", "prometheus_rules.yml").CombinedOutput(); err != nil {
		t.Errorf("promtool test rules: %v; %s", err, out)
	}
	// A counter that has not counted anything yet is absent; so is what this fleet has none of.
	absent := map[string]bool{"qsuper_consumer_stops_total": true}
	for _, file := range []string{"../deploy/prometheus/qsuper.rules.yml", "../deploy/grafana/qsuper.json"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(raw) {
			t.Errorf("%s is not JSON", file)
		}
		for _, name := range series.FindAllString(string(raw), -1) {
			if !absent[name] && !strings.Contains(scrape, "\n"+name+"{") && !strings.Contains(scrape, "\n"+name+" ") {
				t.Errorf("%s asks for %s, which no scrape has", file, name)
			}
		}
	}
	p := startPrometheus(t, addr, d.Path("token"))
	eventually(t, patience, "Prometheus has seen more and more output, and a lease that is kept", func() bool {
		bytes, margin := p.value(`increase(qsuper_consumer_log_bytes_total{consumer="talker"}[1m])`), p.value(`qsuper_consumer_lease_margin_seconds{consumer="sole"}`)
		return bytes > 0 && margin > 0 && margin < 10 && p.value(`up{job="qsuper"}`) == 1
	})
	if n := p.value(`count(ALERTS{alertname="QsuperLeaseRunsOut"} or vector(0))`); n != 1 {
		t.Errorf("alerts of a lease that is kept: %v", n)
	}
	p.dashboard("../deploy/grafana/qsuper.json")
}

// prometheus is a real one, which scrapes each second.
type prometheus struct {
	t    *testing.T
	addr string
}

func startPrometheus(t *testing.T, target, token string) *prometheus {
	t.Helper()
	dir, p := t.TempDir(), &prometheus{t, freeAddress(t)}
	rules, err := filepath.Abs("../deploy/prometheus/qsuper.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - {job_name: qsuper, authorization: {credentials_file: %q}, static_configs: [{targets: [%q]}]}
`, rules, token, target)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "check", "config", file).CombinedOutput(); err != nil {
		t.Fatalf("promtool check config: %v; %s", err, out)
	}
	cmd := exec.Command("prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.addr, "--log.level=warn")
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatalf("start Prometheus: %v; install it with test/install-packages", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("Prometheus ended with %v: %s", err, said.String())
		}
	})
	return p
}

// ask puts a query; the error is what Prometheus says is wrong with it.
func (p *prometheus) ask(query string) (values []float64, err error) {
	a := get(p.addr, "/api/v1/query?query="+url.QueryEscape(query), "")
	if a.err != nil {
		return nil, a.err
	}
	var reply struct {
		Error string
		Data  struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal([]byte(a.body), &reply); err != nil {
		return nil, err
	}
	if reply.Error != "" {
		return nil, errors.New(reply.Error)
	}
	for _, r := range reply.Data.Result {
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

// value is the one that a query has, or NaN.
func (p *prometheus) value(query string) float64 {
	if v, err := p.ask(query); err == nil && len(v) == 1 {
		return v[0]
	}
	return math.NaN()
}

// dashboard has everything asked that the dashboard asks.
func (p *prometheus) dashboard(file string) {
	p.t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		p.t.Fatal(err)
	}
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			if _, err := p.ask(strings.NewReplacer("$instance", ".*", "$consumer", ".*").Replace(target.Expr)); err != nil {
				p.t.Errorf("panel %q: %s: %v", panel.Title, target.Expr, err)
			}
		}
	}
}
