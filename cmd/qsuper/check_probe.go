package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"qsuper/config"
	"qsuper/health"
)

// probeReport is what one connection answered to `check --probe`.
type probeReport struct {
	Name      string        `json:"name"`
	Type      string        `json:"type"`
	State     string        `json:"state"` // up or down
	LatencyMS float64       `json:"latency_ms"`
	Error     string        `json:"error"`
	Queues    []queueReport `json:"queues"`
}

type queueReport struct {
	Consumer      string   `json:"consumer"`
	Queue         string   `json:"queue"`
	State         string   `json:"state"` // ok, missing or unknown
	Error         string   `json:"error,omitempty"`
	Ready         *int64   `json:"ready,omitempty"`
	InFlight      *int64   `json:"in_flight,omitempty"`
	Delayed       *int64   `json:"delayed,omitempty"`
	OldestSeconds *float64 `json:"oldest_seconds,omitempty"`
	Consumers     *int64   `json:"consumers,omitempty"`
	Hint          string   `json:"hint,omitempty"` // where the queue may be instead
}

// empty says that nothing was found, be it that there is nothing or that it is elsewhere.
func (q *queueReport) empty() bool {
	for _, n := range []*int64{q.Ready, q.InFlight, q.Delayed} {
		if n != nil && *n > 0 {
			return false
		}
	}
	return q.State != string(health.Unknown)
}

// closeTimeout is what a connection gets to say goodbye.
const closeTimeout = time.Second

// probeAll asks every connection at once; each one's own timeout bounds it.
func probeAll(ctx context.Context, cfg *config.Config) []probeReport {
	reports := make([]probeReport, len(cfg.Connections))
	var all sync.WaitGroup
	for i, c := range cfg.Connections {
		all.Go(func() { reports[i] = probeOne(ctx, cfg, c) })
	}
	all.Wait()
	return reports
}

func probeOne(ctx context.Context, cfg *config.Config, c *config.Connection) probeReport {
	var names []string
	var queues []health.Queue
	for _, consumer := range cfg.Consumers {
		if consumer.Queue != nil && consumer.Queue.Connection == c.Name {
			names = append(names, consumer.Name)
			queues = append(queues, consumer.Queue.Queue)
		}
	}
	p := health.NewProbe(c.Name, c.Spec, c.Timeout)
	o := p.Look(ctx, queues)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = p.Close(closing) // one that hangs has said so in its reading

	r := probeReport{Name: c.Name, Type: c.Type, State: "up", LatencyMS: float64(o.Latency.Microseconds()) / 1000, Error: o.Err, Queues: []queueReport{}}
	if !o.Up {
		r.State = "down"
	}
	looking, stop := context.WithTimeout(ctx, c.Timeout) // for all of them
	defer stop()
	for i, reading := range o.Readings {
		report := queueOf(names[i], queues[i], reading)
		if o.Up && report.empty() {
			report.Hint = health.Elsewhere(looking, c.Spec, queues[i])
		}
		r.Queues = append(r.Queues, report)
	}
	return r
}

func queueOf(consumer string, q health.Queue, r health.Reading) queueReport {
	report := queueReport{Consumer: consumer, Queue: q.Name, State: string(r.State), Error: r.Err}
	if r.State != health.OK {
		return report
	}
	report.Ready, report.InFlight, report.Delayed, report.Consumers = known64(r.Ready), known64(r.InFlight), known64(r.Delayed), known64(r.Consumers)
	report.OldestSeconds = knownSeconds(r.Oldest)
	return report
}

// unanswered says whether a connection is down or a queue could not be counted.
func (r *checkReport) unanswered() bool {
	for _, p := range r.Probes {
		if p.State != "up" {
			return true
		}
		for _, q := range p.Queues {
			if q.State != string(health.OK) {
				return true
			}
		}
	}
	return false
}

func printProbes(out *screen, reports []probeReport) {
	if len(reports) == 0 {
		return
	}
	connections := table{columns: []column{{title: "CONNECTION"}, {title: "TYPE"}, {title: "STATE"}, {title: "LATENCY", right: true}, {title: "ERROR", flex: true}}}
	queues := table{columns: []column{
		{title: "CONSUMER"}, {title: "QUEUE"}, {title: "STATE"}, {title: "READY", right: true}, {title: "IN FLIGHT", right: true},
		{title: "DELAYED", right: true, drop: 2}, {title: "OLDEST", right: true}, {title: "CONSUMERS", right: true, drop: 1}, {title: "ERROR", flex: true},
	}}
	for _, r := range reports {
		st := green
		if r.State != "up" {
			st = red
		}
		connections.add(cell{text: oneLine(r.Name)}, cell{text: r.Type}, cell{r.State, st}, cell{text: fmt.Sprintf("%.1fms", r.LatencyMS)}, cell{text: oneLine(r.Error)})
		for _, q := range r.Queues {
			st, oldest := green, cell{}
			if q.State != string(health.OK) {
				st = red
			}
			if q.OldestSeconds != nil {
				oldest.text = humaneSeconds(*q.OldestSeconds)
			}
			queues.add(cell{text: oneLine(q.Consumer)}, cell{text: oneLine(q.Queue)}, cell{q.State, st}, number(q.Ready), number(q.InFlight),
				number(q.Delayed), oldest, number(q.Consumers), cell{text: oneLine(q.Error)})
		}
	}
	out.printf("\n")
	connections.write(out)
	if len(queues.rows) > 0 {
		out.printf("\n")
		queues.write(out)
	}
	for _, r := range reports {
		for _, q := range r.Queues {
			if q.Hint != "" {
				out.printf("%s %s seems to be empty, but %s\n", out.paint(yellow, "warning:"), oneLine(q.Consumer), oneLine(q.Hint))
			}
		}
	}
}
