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

// TestSharedSlots: how long until exclusive instances end themselves, and who is there.
func TestSharedSlots(t *testing.T) {
	margin, printed := 12.5, uint64(4711)
	st := fleet(1)
	st.Consumers[0].LeaseMargin, st.Consumers[0].LogBytes = &margin, &printed
	st.Locks = []control.LockStatus{{
		Name: "fleet", Type: "redis", State: "down",
		Slots: []control.SharedSlot{{Slot: "orders/0", Here: true}, {Slot: "orders/1"}},
		Hosts: []control.FleetHost{{State: "here"}, {State: "silent"}}, Missing: []control.FleetHost{{State: "silent"}},
	}}
	want := `
# HELP qsuper_consumer_lease_margin_seconds How long until exclusive instances are asked to end if their leases are not renewed. Absent without any.
# TYPE qsuper_consumer_lease_margin_seconds gauge
qsuper_consumer_lease_margin_seconds{consumer="orders"} 12.5
# HELP qsuper_consumer_log_bytes_total Output of all instances, since the keeper started. Absent when unknown.
# TYPE qsuper_consumer_log_bytes_total counter
qsuper_consumer_log_bytes_total{consumer="orders"} 4711
# HELP qsuper_lock_held_slots Shared slots that this host has.
# TYPE qsuper_lock_held_slots gauge
qsuper_lock_held_slots{lock="fleet"} 1
# HELP qsuper_lock_hosts Hosts that share the slots, by whether they are there.
# TYPE qsuper_lock_hosts gauge
qsuper_lock_hosts{lock="fleet",state="here"} 1
qsuper_lock_hosts{lock="fleet",state="silent"} 2
qsuper_lock_hosts{lock="fleet",state="stopped"} 0
# HELP qsuper_lock_up 1 when the store of shared slots answered the last time.
# TYPE qsuper_lock_up gauge
qsuper_lock_up{lock="fleet",type="redis"} 0
`
	names := []string{"qsuper_consumer_lease_margin_seconds", "qsuper_consumer_log_bytes_total", "qsuper_lock_held_slots", "qsuper_lock_hosts", "qsuper_lock_up"}
	if err := testutil.CollectAndCompare(collector{source{st: st}, time.Now}, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	// A consumer of whom nobody knows how much it has printed has not printed nothing.
	if err := testutil.CollectAndCompare(collector{source{st: fleet(1)}, time.Now}, strings.NewReader(""), "qsuper_consumer_log_bytes_total"); err != nil {
		t.Error(err)
	}
}

// TestJobs: a fire that waits is late by its age, one that runs is not.
func TestJobs(t *testing.T) {
	now := time.Unix(1000, 0)
	st := control.Status{Jobs: []control.JobStatus{{
		Name: "reindex", Healthy: true, Skipped: 2, Last: &control.JobEnd{At: time.Unix(600, 0), Begun: time.Unix(603, 0), Class: "timeout", Seconds: 30},
		Open: []control.JobFire{{At: time.Unix(700, 0), PID: 7}, {At: time.Unix(940, 0)}},
	}}}
	want := `
# HELP qsuper_job_last_failed 1 when the last run failed, retries included.
# TYPE qsuper_job_last_failed gauge
qsuper_job_last_failed{job="reindex"} 1
# HELP qsuper_job_late_seconds How long the oldest fire that is due has not been started; 0 when none is.
# TYPE qsuper_job_late_seconds gauge
qsuper_job_late_seconds{job="reindex"} 60
# HELP qsuper_job_start_delay_seconds How long after its moment the last fire that has ended was started, jitter included.
# TYPE qsuper_job_start_delay_seconds gauge
qsuper_job_start_delay_seconds{job="reindex"} 3
# HELP qsuper_job_skipped_total Fires that were not started.
# TYPE qsuper_job_skipped_total counter
qsuper_job_skipped_total{job="reindex"} 2
`
	c := collector{source{st: st}, func() time.Time { return now }}
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "qsuper_job_last_failed", "qsuper_job_late_seconds", "qsuper_job_skipped_total", "qsuper_job_start_delay_seconds"); err != nil {
		t.Error(err)
	}
}
