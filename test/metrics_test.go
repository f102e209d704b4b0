package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var series = regexp.MustCompile(`\bqsuper_[a-z_]+`)

// TestMetricsForPrometheus has Prometheus' own tool judge a live scrape and the
// alert rules, and looks whether rules and dashboard ask only for what is there.
func TestMetricsForPrometheus(t *testing.T) {
	addr := freeAddress(t)
	q := newQueue(t)
	d := newDaemon(t, fmt.Sprintf(`  http: {listen: "%s", token_file: token}
connections:
  db: {type: sqlite, path: %s}
consumers:
  orders: {command: [sleep, "1000"], instances: 2, queue: {connection: db, name: orders}}
  broken: {command: ["false"]}
jobs:
  often: {schedule: "* * * * * *", command: ["true"]}
`, addr, q.path()))
	if err := os.WriteFile(d.Path("token"), []byte(pageToken), 0o600); err != nil {
		t.Fatal(err)
	}
	q.publish(3)
	d.Start()
	var scrape string
	eventually(t, patience, "a scrape has everything", func() bool {
		scrape = get(addr, "/metrics", pageToken).body
		for _, part := range []string{`class="crashed"`, `qsuper_queue_oldest_seconds{`, `qsuper_job_last_failed{job="often"} 0`} {
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
}
