package metrics

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"qsuper/control"
)

type source struct {
	st  control.Status
	err error
}

func (s source) Status(control.StatusQuery) (control.Status, error) { return s.st, s.err }

func fleet(instances int) control.Status {
	ready := int64(12)
	c := control.ConsumerStatus{
		Name: "orders", State: "running", Healthy: true, Wanted: instances, Running: instances, Max: instances, Code: "ok", Starts: 7,
		ExitClasses: map[string]uint64{"clean": 3, "crashed": 1}, StopSteps: map[string]uint64{"signal": 2},
		Queue: &control.QueueStatus{Connection: "broker", Name: "orders", State: "ok", Ready: &ready},
	}
	for i := range instances {
		c.Slots = append(c.Slots, control.SlotStatus{Slot: i, Phase: "running", PID: 100 + i, RSSBytes: 1 << 20, DroppedBytes: 5})
	}
	return control.Status{Consumers: []control.ConsumerStatus{c}, Connections: []control.ConnectionStatus{{Name: "broker", Type: "rabbitmq", State: "up", LatencyMS: 2, Probes: 10, Failures: 1}}}
}

// TestScrape compares what a scrape says with the status it was made from.
func TestScrape(t *testing.T) {
	want := `
# HELP qsuper_consumer_exits_total Processes ended, by class of their exit.
# TYPE qsuper_consumer_exits_total counter
qsuper_consumer_exits_total{class="clean",consumer="orders"} 3
qsuper_consumer_exits_total{class="crashed",consumer="orders"} 1
# HELP qsuper_consumer_log_dropped_bytes_total Output that could not be written and is missing in the log.
# TYPE qsuper_consumer_log_dropped_bytes_total counter
qsuper_consumer_log_dropped_bytes_total{consumer="orders"} 15
# HELP qsuper_queue_ready_messages Messages that wait. Absent when unknown.
# TYPE qsuper_queue_ready_messages gauge
qsuper_queue_ready_messages{connection="broker",consumer="orders",queue="orders"} 12
`
	err := testutil.CollectAndCompare(collector{source{st: fleet(3)}, time.Now}, strings.NewReader(want),
		"qsuper_consumer_exits_total", "qsuper_consumer_log_dropped_bytes_total", "qsuper_queue_ready_messages", "qsuper_queue_in_flight_messages")
	if err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(collector{source{st: fleet(1)}, time.Now})
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// TestSeriesDoNotGrowWithInstances is what keeps a Prometheus alive.
func TestSeriesDoNotGrowWithInstances(t *testing.T) {
	few, many := testutil.CollectAndCount(collector{source{st: fleet(1)}, time.Now}), testutil.CollectAndCount(collector{source{st: fleet(1000)}, time.Now})
	if few != many {
		t.Errorf("%d series for one instance, %d for a thousand", few, many)
	}
}

// TestNoAnswerIsNoScrape: half of the truth would look like a fleet that is gone.
func TestNoAnswerIsNoScrape(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(source{err: errors.New("the engine is ending")}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 500 || strings.Contains(w.Body.String(), "qsuper_connection_up") {
		t.Error(w.Code, fmt.Sprintf("%.200s", w.Body))
	}
}

// TestJobs: a fire that waits is late by its age, one that runs is not.
func TestJobs(t *testing.T) {
	now := time.Unix(1000, 0)
	st := control.Status{Jobs: []control.JobStatus{{
		Name: "reindex", Healthy: true, Skipped: 2, Last: &control.JobEnd{At: time.Unix(600, 0), Class: "timeout", Seconds: 30},
		Open: []control.JobFire{{At: time.Unix(700, 0), PID: 7}, {At: time.Unix(940, 0)}},
	}}}
	want := `
# HELP qsuper_job_last_failed 1 when the last run failed, retries included.
# TYPE qsuper_job_last_failed gauge
qsuper_job_last_failed{job="reindex"} 1
# HELP qsuper_job_late_seconds How long the oldest fire that is due has not been started; 0 when none is.
# TYPE qsuper_job_late_seconds gauge
qsuper_job_late_seconds{job="reindex"} 60
# HELP qsuper_job_skipped_total Fires that were not started.
# TYPE qsuper_job_skipped_total counter
qsuper_job_skipped_total{job="reindex"} 2
`
	c := collector{source{st: st}, func() time.Time { return now }}
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "qsuper_job_last_failed", "qsuper_job_late_seconds", "qsuper_job_skipped_total"); err != nil {
		t.Error(err)
	}
}
