package config

import (
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"qsuper/internal/kind"
)

// Alert is a condition and whom to tell of it.
type Alert struct {
	Name string        `yaml:"name,required"` // for people and `qsuper alerts`
	For  time.Duration `yaml:"for"`           // how long the condition must hold before anybody is told, and be over before that is told

	When When `yaml:"when,required"` // one subject and one condition

	// At least one of them is set.
	Webhook *Webhook
	Command []string `yaml:"command"` // program that gets the alert as JSON on stdin
	Email   *Email   `yaml:"email"`   // a letter

	At Position
}

// When is a condition: what it looks at, and what has to be true of it.
type When struct {
	Consumer   string `yaml:"consumer"`   // name, @group or glob; without any subject: all consumers
	Connection string `yaml:"connection"` // an entry of `connections`, with is: down
	Job        string `yaml:"job"`        // name, @group or glob, with is: late or failed
	Queue      *Queue // of nobody's, such as one for failed messages

	Depth  int64         `yaml:"depth" min:"1" max:"1000000000000"`                                             // messages waiting
	Oldest time.Duration `yaml:"oldest"`                                                                        // age of the oldest message
	Drain  time.Duration `yaml:"drain"`                                                                         // time until the queue is empty at the present pace
	Is     Symptom       `yaml:"is" oneof:"unserved stuck crash_loop spinning killed down growing late failed"` // a condition without a number

	keys *queueKeys // of Queue, until it has been checked
}

// UnmarshalNode reads the keys; what they mean together is checked later.
func (w *When) UnmarshalNode(d *kind.Decoder, n *kind.Node, path string) {
	type keys When // without this method
	var more whenKeys
	d.Decode(n, path, (*keys)(w), &more)
	w.keys = more.Queue
}

// Symptom is a condition without a number.
type Symptom string

// The symptoms.
const (
	Unserved  Symptom = "unserved"   // messages wait and no instance runs
	Stuck     Symptom = "stuck"      // messages wait and nothing moves
	CrashLoop Symptom = "crash_loop" // its instances crash
	Spinning  Symptom = "spinning"   // its instances end at once without having done anything
	Killed    Symptom = "killed"     // an instance did not end within its grace
	Down      Symptom = "down"       // the connection does not answer
	Growing   Symptom = "growing"    // there are more messages than there were
	Late      Symptom = "late"       // a fire of the job was missed, or its run takes too long
	Failed    Symptom = "failed"     // the job's last run failed
)

// Webhook is where a POST goes.
type Webhook struct {
	URL        kind.Secret `yaml:"url,required"`                        // where it is posted to
	Format     string      `yaml:"format" oneof:"json slack pagerduty"` // of the body; default: by the address, else json
	RoutingKey kind.Secret `yaml:"routing_key"`                         // of PagerDuty, with format: pagerduty
}

// Email is who gets a letter, and through which server.
type Email struct {
	To     []string    `yaml:"to,required"`      // addresses
	From   string      `yaml:"from,required"`    // address
	Server kind.Secret `yaml:"server,required"`  // smtp://user:password@host:587 (STARTTLS, or ?tls=none), smtps://… (TLS from the start)
	CA     string      `yaml:"ca" format:"path"` // certificate authority of the server, PEM; default: those of the host
}

// UnmarshalNode takes a plain address for {url: …}.
func (w *Webhook) UnmarshalNode(d *kind.Decoder, n *kind.Node, path string) {
	if n.Shape == kind.Scalar {
		w.URL.UnmarshalNode(d, n, path)
	} else {
		type keys Webhook // without this method
		d.Value(n, path, (*keys)(w), "")
	}
	if w.URL.IsZero() {
		return
	}
	u, err := url.Parse(w.URL.Reveal())
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		d.Problems.Add(n, path, "webhook is not an http or https address")
		return
	}
	if w.Format == "" {
		w.Format = formatOf(u.Hostname())
	}
	if (w.Format == "pagerduty") == w.RoutingKey.IsZero() {
		d.Problems.Add(n, path, "routing_key and format: pagerduty belong together")
	}
}

func formatOf(host string) string {
	switch host {
	case "hooks.slack.com":
		return "slack"
	case "events.pagerduty.com", "events.eu.pagerduty.com":
		return "pagerduty"
	}
	return "json"
}

// alertKeys are the keys of an alert that are not read straight into Alert.
type alertKeys struct {
	Webhook *Webhook `yaml:"webhook"` // an address, or a map
}

// whenKeys are those of `when`.
type whenKeys struct {
	Queue *queueKeys `yaml:"queue"` // a queue of nobody's, such as one for failed messages; keys as above
}

// defaultFor keeps one slow answer from waking anybody.
const defaultFor = time.Minute

// addAlerts reads `alerts`, a list.
func (l *loader) addAlerts(n *kind.Node) {
	if n == nil {
		return
	}
	named := map[string]bool{}
	for i, item := range n.Items {
		path := fmt.Sprintf("alerts[%d]", i)
		a := l.alert(item, path)
		if a == nil {
			continue
		}
		switch {
		case a.Name == "":
		case !validName().MatchString(a.Name):
			l.name(item, "name", path+".name", a.Name)
		case named[a.Name]:
			l.add(place(item, "name"), path+".name", "alert %s is defined twice", kind.Quote(a.Name))
		}
		named[a.Name] = true
		l.cfg.Alerts = append(l.cfg.Alerts, a)
	}
}

func (l *loader) alert(n *kind.Node, path string) *Alert {
	if n.Shape != kind.Map {
		l.add(n, path, "expected a map, got %s", n.Got())
		return nil
	}
	a := &Alert{For: defaultFor, At: position(n)}
	var keys alertKeys
	before := len(l.decoder.Problems)
	l.decoder.Decode(n, path, a, &keys)
	a.Webhook = keys.Webhook
	if len(l.decoder.Problems) > before {
		return a
	}
	l.condition(&a.When, place(n, "when"), path+".when")
	if a.Webhook == nil && a.Email == nil && len(a.Command) == 0 {
		l.add(n, path, "tells nobody").Hint = "give webhook, command or email"
	}
	if a.Email != nil {
		l.email(a.Email, place(n, "email"), path+".email")
	}
	if len(a.Command) > 0 && strings.Contains(a.Command[0], "/") {
		a.Command[0] = kind.Resolve(place(n, "command"), a.Command[0])
	}
	return a
}

// condition checks that there is one subject and one thing to be true of it, and
// that they fit.
func (l *loader) condition(w *When, n *kind.Node, path string) {
	subjects := given(n, "consumer", "connection", "job", "queue")
	tests := given(n, "depth", "oldest", "drain", "is")
	switch {
	case len(subjects) > 1:
		l.add(n, path, "looks at %s; one alert looks at one thing", strings.Join(subjects, " and at "))
		return
	case len(tests) != 1:
		l.add(n, path, "needs exactly one of depth, oldest, drain and is, has %d", len(tests))
		return
	}
	subject := first(append(subjects, "consumer")...)
	fits := map[string][]string{
		"consumer":   {"depth", "oldest", "drain", "unserved", "stuck", "crash_loop", "spinning", "killed"},
		"connection": {"down"},
		"queue":      {"depth", "oldest", "growing"},
		"job":        {"late", "failed"},
	}
	test := tests[0]
	if test == "is" {
		test = string(w.Is)
	}
	if !slices.Contains(fits[subject], test) {
		l.add(n, path, "of a %s it can be told: %s; not %s", subject, strings.Join(fits[subject], ", "), test)
	}
	l.subject(w, n, path, subject)
}

func (l *loader) subject(w *When, n *kind.Node, path, subject string) {
	switch subject {
	case "connection":
		l.knownConnection(place(n, "connection"), path+".connection", w.Connection)
	case "queue":
		c := &check{Consumer: &Consumer{}, l: l, node: n, path: path, from: len(l.decoder.Problems)}
		if c.queue(w.keys); c.Queue != nil && c.Queue.Name == "" {
			l.add(place(n, "queue"), path+".queue", "name is missing")
		}
		w.Queue, w.keys = c.Queue, nil
	}
}

func (l *loader) email(e *Email, n *kind.Node, path string) {
	for i, to := range append([]string{e.From}, e.To...) {
		if _, err := mail.ParseAddress(to); err != nil {
			key := fmt.Sprintf("to[%d]", i-1)
			if i == 0 {
				key = "from"
			}
			l.add(n, path+"."+key, "%s is not an e-mail address", kind.Quote(to))
		}
	}
	u, err := url.Parse(e.Server.Reveal())
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" || u.RawQuery != "" && u.RawQuery != "tls=none" {
		l.add(place(n, "server"), path+".server", "is not smtp://… or smtps://…").Hint = "smtp://user:password@mail.example.org:587"
	}
}

// given lists which of keys were written.
func given(n *kind.Node, keys ...string) (list []string) {
	for _, k := range keys {
		if n.Get(k) != nil {
			list = append(list, k)
		}
	}
	return list
}
