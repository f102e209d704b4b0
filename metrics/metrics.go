// Package metrics shows the daemon to Prometheus. Nothing is counted here: each
// scrape reads one status, the same values that `qsuper status` prints.
//
// Labels are names of the file and words of closed lists, never slots, pids or
// texts, so that a fleet of a thousand instances makes no more series than one of
// ten.
package metrics

import (
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"qsuper/control"
)

// Source is what is asked at each scrape.
type Source interface {
	Status(control.StatusQuery) (control.Status, error)
}

// Handler answers scrapes. A scrape that cannot be answered is a 500, never half
// of the truth.
func Handler(s Source) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{s, time.Now}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: 4})
}

type collector struct {
	source Source
	now    func() time.Time
}

// Describe sends all descriptions, so that a name used twice is found at start.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range all {
		out <- d
	}
}

// Collect reads one status.
func (c collector) Collect(out chan<- prometheus.Metric) {
	st, err := c.source.Status(control.StatusQuery{Slots: true, Usage: true})
	if err != nil {
		out <- prometheus.NewInvalidMetric(info, err)
		return
	}
	s := sender{out}
	s.daemon(st.Daemon)
	for _, consumer := range st.Consumers {
		s.consumer(consumer)
	}
	for _, job := range st.Jobs {
		s.job(job, c.now())
	}
	for _, conn := range st.Connections {
		s.connection(conn)
	}
	for _, lock := range st.Locks {
		s.lock(lock)
	}
}

type sender struct{ out chan<- prometheus.Metric }

func (s sender) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sender) count(d *prometheus.Desc, v float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (s sender) daemon(d control.DaemonStatus) {
	s.gauge(info, 1, d.Version, d.Name)
	s.gauge(started, float64(d.StartedAt.Unix()))
	s.gauge(configLoaded, float64(d.Config.LoadedAt.Unix()))
	s.gauge(configRefused, truth(d.Config.Error != ""))
	s.gauge(stopping, truth(d.Stopping))
}

func (s sender) consumer(c control.ConsumerStatus) {
	s.gauge(healthy, truth(c.Healthy), c.Name)
	s.gauge(wanted, float64(c.Wanted), c.Name)
	s.gauge(slots, float64(c.Max), c.Name)
	for _, state := range states {
		s.gauge(stateSet, truth(c.State == state), c.Name, state)
	}
	s.gauge(reason, 1, c.Name, c.Code)
	phases := map[string]int{}
	var rss, dropped int64
	for _, u := range c.Slots {
		phases[u.Phase]++
		rss += u.RSSBytes
		dropped += u.DroppedBytes
	}
	for _, phase := range allPhases {
		s.gauge(instances, float64(phases[phase]), c.Name, phase)
	}
	s.gauge(resident, float64(rss), c.Name)
	if c.LogBytes != nil {
		s.count(logBytes, float64(*c.LogBytes), c.Name)
	}
	if c.LeaseMargin != nil {
		s.gauge(leaseMargin, *c.LeaseMargin, c.Name)
	}
	s.count(logDropped, float64(dropped), c.Name)
	s.gauge(logTrouble, truth(c.Output != nil), c.Name)
	s.count(starts, float64(c.Starts), c.Name)
	for class, n := range c.ExitClasses {
		s.count(exits, float64(n), c.Name, class)
	}
	for step, n := range c.StopSteps {
		s.count(stops, float64(n), c.Name, step)
	}
	if c.Queue != nil {
		s.queue(c.Name, c.Queue)
	}
}

// queue leaves out what is not known: an absent series is not a zero.
func (s sender) queue(consumer string, q *control.QueueStatus) {
	for _, state := range queueStates {
		s.gauge(queueState, truth(q.State == state), consumer, q.Connection, q.Name, state)
	}
	numbers := []struct {
		desc  *prometheus.Desc
		value *int64
	}{{ready, q.Ready}, {inFlight, q.InFlight}, {delayed, q.Delayed}, {queueConsumers, q.Consumers}}
	for _, n := range numbers {
		if n.value != nil {
			s.gauge(n.desc, float64(*n.value), consumer, q.Connection, q.Name)
		}
	}
	if q.OldestSeconds != nil {
		s.gauge(oldest, *q.OldestSeconds, consumer, q.Connection, q.Name)
	}
}

func (s sender) job(j control.JobStatus, now time.Time) {
	s.gauge(jobHealthy, truth(j.Healthy), j.Name)
	s.gauge(jobRunning, truth(j.Running), j.Name)
	s.count(jobSkipped, float64(j.Skipped), j.Name)
	late := 0.0
	for _, f := range j.Open {
		if f.PID == 0 && !f.Manual {
			late = max(late, now.Sub(f.At).Seconds())
		}
	}
	s.gauge(jobLate, late, j.Name)
	if j.Next != nil {
		s.gauge(jobNext, float64(j.Next.Unix()), j.Name)
	}
	if e := j.Last; e != nil {
		s.gauge(jobLast, float64(e.At.Unix()), j.Name)
		if !e.Begun.IsZero() {
			s.gauge(jobDelay, e.Begun.Sub(e.At).Seconds(), j.Name)
		}
		s.gauge(jobSeconds, e.Seconds, j.Name)
		s.gauge(jobFailed, truth(e.Class != "clean" && e.Class != "empty" && e.Class != "stopped"), j.Name)
	}
}

func (s sender) connection(c control.ConnectionStatus) {
	s.gauge(up, truth(c.State == "up"), c.Name, c.Type)
	s.gauge(latency, c.LatencyMS/1000, c.Name, c.Type)
	s.count(probes, float64(c.Probes), c.Name, c.Type)
	s.count(probeFailures, float64(c.Failures), c.Name, c.Type)
	s.count(probeSeconds, c.ProbeSeconds, c.Name, c.Type)
}

func (s sender) lock(l control.LockStatus) {
	s.gauge(lockUp, truth(l.State == "up"), l.Name, l.Type)
	hosts, held := map[string]int{}, 0
	for _, h := range slices.Concat(l.Hosts, l.Missing) {
		hosts[h.State]++
	}
	for _, x := range l.Slots {
		if x.Here {
			held++
		}
	}
	for _, state := range presences {
		s.gauge(lockHosts, float64(hosts[state]), l.Name, state)
	}
	s.gauge(lockHeld, float64(held), l.Name)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
