package alert

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"qsuper/config"
	"qsuper/control"
	"qsuper/internal/kind"
)

// every is how often everything is judged.
const every = 5 * time.Second

// Source is what is judged.
type Source interface {
	Status(control.StatusQuery) (control.Status, error)
	// Watched is the latest reading of a queue that no consumer reads.
	Watched(*config.Queue) control.QueueStatus
}

// Options are what a Desk needs.
type Options struct {
	Source Source
	Daemon string // its name in notices
	Path   string // where what has been told is remembered
	Log    *slog.Logger
}

// Desk judges the alerts of the file in force and tells of them.
type Desk struct {
	opts  Options
	post  *post
	fresh chan []*config.Alert // holds the latest only

	mu    sync.Mutex // guards what follows; nothing waits under it
	watch *watch
	past  map[string]attempt // by alert and way
}

// attempt is what became of the latest one.
type attempt struct {
	at  time.Time
	err string // "" = delivered
}

// memory is the file that an engine leaves to the next.
type memory struct {
	Version int      `json:"version"`
	Items   []saved  `json:"items"`
	Unsent  []Notice `json:"unsent"`
}

type saved struct {
	Alert   string `json:"alert"`
	Subject string `json:"subject"`
	item
}

// New starts nothing. What an earlier engine has told of is not told again.
func New(o Options, alerts []*config.Alert) *Desk {
	host, _ := os.Hostname()
	d := &Desk{opts: o, fresh: make(chan []*config.Alert, 1), watch: newWatch(), past: map[string]attempt{}}
	d.post = &post{sender: send, tell: d.told, from: letter{Daemon: o.Daemon, Host: host}, gather: gather, boxes: map[string]*box{}}
	d.fresh <- alerts
	return d
}

// Set puts the alerts of another file into force. It is not called twice at once.
func (d *Desk) Set(alerts []*config.Alert) {
	select {
	case <-d.fresh:
	default:
	}
	d.fresh <- alerts
}

// Run judges each 5 s until ctx is done; without alerts it only waits for some.
func (d *Desk) Run(ctx context.Context) {
	defer d.post.wg.Wait()
	d.recall(ctx, d.take(<-d.fresh))
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		due := tick.C
		if !d.busy() {
			due = nil
		}
		select {
		case <-ctx.Done():
			return
		case alerts := <-d.fresh:
			d.take(alerts)
		case <-due:
			d.look(ctx)
		}
	}
}

func (d *Desk) busy() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.watch.alerts) > 0
}

func (d *Desk) take(alerts []*config.Alert) []*config.Alert {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watch.configure(alerts)
	return alerts
}

// look judges once, and remembers before it tells: a crash in between costs a
// notice, which the next engine sends, never sends it twice.
func (d *Desk) look(ctx context.Context) {
	st, err := d.opts.Source.Status(control.StatusQuery{})
	if err != nil || st.Daemon.Stopping {
		return // nobody is told that a daemon which is being stopped has stopped
	}
	d.mu.Lock()
	notices := d.watch.look(st, d.opts.Source.Watched, time.Now())
	d.mu.Unlock()
	for _, n := range notices {
		d.opts.Log.Warn("alert "+n.State, "alert", n.Alert, "subject", n.Subject, "text", n.Text)
		if a := d.find(n.Alert); a != nil {
			d.post.put(ctx, a, n)
		}
	}
	if len(notices) > 0 {
		d.remember()
	}
}

func (d *Desk) find(name string) *config.Alert {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.watch.alerts {
		if a.Name == name {
			return a
		}
	}
	return nil
}

func (d *Desk) names() (list []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.watch.alerts {
		list = append(list, a.Name)
	}
	return list
}

// told notes what became of an attempt.
func (d *Desk) told(alert string, w way, err error, final bool) {
	a := attempt{at: time.Now()}
	switch {
	case err != nil && final:
		a.err = err.Error()
		d.opts.Log.Error("an alert could not be delivered and is given up", "alert", alert, "by", w, "error", err)
	case err != nil:
		a.err = err.Error()
		d.opts.Log.Warn("an alert could not be delivered yet", "alert", alert, "by", w, "error", err)
	}
	d.mu.Lock()
	d.past[alert+"\x00"+string(w)] = a
	d.mu.Unlock()
	d.remember()
}

// remember writes what has been told and what has not arrived yet.
func (d *Desk) remember() {
	m := memory{Version: 1, Unsent: d.post.unsent()}
	d.mu.Lock()
	for k, it := range d.watch.items {
		if it.On {
			m.Items = append(m.Items, saved{k.alert, k.subject, *it})
		}
	}
	slices.SortFunc(m.Items, func(a, b saved) int { return strings.Compare(a.Alert+"/"+a.Subject, b.Alert+"/"+b.Subject) })
	raw, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = config.ReplaceFile(d.opts.Path, raw)
	}
	d.mu.Unlock()
	if err != nil {
		d.opts.Log.Error("a crash of the engine would repeat alerts", "error", err)
	}
}

// recall takes over what an earlier engine has told, and sends what it could not.
func (d *Desk) recall(ctx context.Context, alerts []*config.Alert) {
	raw, err := os.ReadFile(d.opts.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var m memory
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil || m.Version != 1 {
		d.opts.Log.Warn("what alerts were told of before is not known; they may be repeated", "file", d.opts.Path, "error", err)
		return
	}
	d.mu.Lock()
	for _, s := range m.Items {
		it := s.item
		d.watch.items[key{s.Alert, s.Subject}] = &it
	}
	d.watch.configure(alerts)
	d.mu.Unlock()
	for _, n := range m.Unsent {
		if a := d.find(n.Alert); a != nil {
			d.post.put(ctx, a, n)
		}
	}
}

// List says how every alert stands.
func (d *Desk) List() []control.AlertStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []control.AlertStatus{}
	for _, a := range d.watch.alerts {
		s := control.AlertStatus{Name: a.Name, State: "ok", Ways: []control.AlertWay{}, Firing: []control.AlertSubject{}}
		for k, it := range d.watch.items {
			if k.alert == a.Name && it.On {
				s.State = Firing
				s.Firing = append(s.Firing, control.AlertSubject{Subject: k.subject, Since: it.Since, Text: it.Value})
			}
		}
		slices.SortFunc(s.Firing, func(a, b control.AlertSubject) int { return strings.Compare(a.Subject, b.Subject) })
		for _, w := range ways(a) {
			p := d.past[a.Name+"\x00"+string(w)]
			s.Ways = append(s.Ways, control.AlertWay{By: string(w), At: p.at, Error: p.err})
		}
		list = append(list, s)
	}
	return list
}

// Test sends a letter by every way of an alert now, and says what became of each.
func (d *Desk) Test(ctx context.Context, name string) ([]control.AlertWay, error) {
	a := d.find(name)
	if a == nil {
		return nil, &control.NotFound{Name: name, Kind: "alert", Suggestion: kind.Nearest(name, d.names())}
	}
	l := d.post.from
	now := time.Now()
	l.Notices = []Notice{{Alert: a.Name, Subject: "test", State: Test, Text: "nothing is wrong", Since: now, At: now}}
	results := []control.AlertWay{}
	for _, w := range ways(a) {
		attempt, cancel := context.WithTimeout(ctx, attemptLimit)
		err := send(attempt, a, w, l)
		cancel()
		r := control.AlertWay{By: string(w), At: time.Now()}
		if err != nil {
			r.Error = err.Error()
		}
		results = append(results, r)
	}
	return results, nil
}
