// Package alert tells people what they would want to be woken for. It judges the
// same status that everybody reads, remembers what it has told of, and hands
// notices to webhooks, commands and mail servers, never in the way of
// supervision.
package alert

import (
	"path"
	"slices"
	"strings"
	"time"

	"qsuper/config"
	"qsuper/control"
)

// Notice is one thing to tell: an alert that begins or ends.
type Notice struct {
	Alert   string    `json:"alert"`
	Subject string    `json:"subject"` // consumer, connection, queue or job
	State   string    `json:"state"`   // "firing", "resolved" or "test"
	Text    string    `json:"text"`
	Since   time.Time `json:"since"`
	At      time.Time `json:"at"`
}

// The states of a Notice.
const (
	Firing   = "firing"
	Resolved = "resolved"
	Test     = "test"
)

// item is one alert on one subject.
type item struct {
	On    bool      `json:"on"`    // it has been told
	Since time.Time `json:"since"` // when the condition began to hold
	Value string    `json:"value"`

	turning time.Time // since when the answer is the other one; zero = it is not
	trail   *trail
}

type key struct{ alert, subject string }

// watch decides what to tell. It is not safe for concurrent use.
type watch struct {
	alerts []*config.Alert
	items  map[key]*item
}

func newWatch() *watch { return &watch{items: map[key]*item{}} }

// configure takes the alerts of another file. One that is no longer in it is
// forgotten without a word: nobody wants to hear of it.
func (w *watch) configure(alerts []*config.Alert) {
	w.alerts = alerts
	for k := range w.items {
		if !slices.ContainsFunc(alerts, func(a *config.Alert) bool { return a.Name == k.alert }) {
			delete(w.items, k)
		}
	}
}

// queues answers for queues that no consumer reads.
type queues func(*config.Queue) control.QueueStatus

// look judges everything once and returns what has to be told now.
func (w *watch) look(st control.Status, of queues, now time.Time) []Notice {
	var notices []Notice
	seen := map[key]bool{}
	for _, a := range w.alerts {
		w.subjects(a, st, of, now, func(subject string, judge func(t *trail, on bool) verdict) {
			k := key{a.Name, subject}
			seen[k] = true
			it := w.items[k]
			if it == nil {
				it = &item{}
				w.items[k] = it
			}
			if it.trail == nil {
				it.trail = newTrail()
			}
			if n, ok := it.step(judge(it.trail, it.On), a.For, now); ok {
				n.Alert, n.Subject = a.Name, subject
				notices = append(notices, n)
			}
		})
	}
	for k, it := range w.items {
		if seen[k] {
			continue
		}
		if delete(w.items, k); it.On { // a consumer that a reload took away
			notices = append(notices, Notice{k.alert, k.subject, Resolved, "it is no longer in the file", it.Since, now})
		}
	}
	return notices
}

// step moves one alert. A condition has to hold, or to be over, for as long as
// the alert says; a look that cannot tell begins that time anew.
func (it *item) step(v verdict, lasting time.Duration, now time.Time) (Notice, bool) {
	if v.is == yes && v.value != "" {
		it.Value = v.value
	}
	if v.is == unsure || (v.is == yes) == it.On {
		it.turning = time.Time{}
		return Notice{}, false
	}
	if it.turning.IsZero() {
		it.turning = now
	}
	if now.Sub(it.turning) < lasting {
		return Notice{}, false
	}
	n := Notice{State: Resolved, Text: v.value, Since: it.Since, At: now}
	if it.On = !it.On; it.On {
		it.Since = it.turning
		n.State, n.Text, n.Since = Firing, it.Value, it.Since
	}
	it.turning = time.Time{}
	return n, true
}

// subjects calls f for everything that an alert looks at.
func (w *watch) subjects(a *config.Alert, st control.Status, of queues, now time.Time, f func(string, func(*trail, bool) verdict)) {
	switch when := a.When; {
	case when.Queue != nil:
		q := of(when.Queue)
		f(when.Queue.Connection+"/"+when.Queue.Name, func(t *trail, on bool) verdict { return t.queue(when, q, on, now) })
	case when.Connection != "":
		for _, c := range st.Connections {
			if c.Name == when.Connection {
				f(c.Name, func(*trail, bool) verdict { return connection(c) })
			}
		}
	case when.Job != "":
		for _, j := range st.Jobs {
			if meant(when.Job, j.Name, j.Group) {
				f(j.Name, func(t *trail, _ bool) verdict { return t.job(when, j, now) })
			}
		}
	default:
		for _, c := range st.Consumers {
			if meant(when.Consumer, c.Name, c.Group) {
				f(c.Name, func(t *trail, on bool) verdict { return t.consumer(when, c, on, now) })
			}
		}
	}
}

func connection(c control.ConnectionStatus) verdict {
	if c.State == "unknown" {
		return verdict{is: unsure}
	}
	return said(c.State == "down", "does not answer: "+c.Error)
}

// meant says whether a name, @group or glob means a consumer or job.
func meant(pattern, name, group string) bool {
	if wanted, ok := strings.CutPrefix(pattern, "@"); ok {
		return group == wanted
	}
	ok, err := path.Match(pattern, name)
	return pattern == "" || err == nil && ok
}
