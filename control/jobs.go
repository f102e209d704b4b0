package control

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// JobStatus is one job.
type JobStatus struct {
	Name     string     `json:"name"`
	Group    string     `json:"group,omitempty"`
	Schedule string     `json:"schedule"`
	Timezone string     `json:"timezone"`
	State    string     `json:"state"`           // running waiting backoff (a run has failed and will be tried again) stopping stopped held (paused)
	Healthy  bool       `json:"healthy"`         // false: a fire is due, and something keeps it from starting
	Code     string     `json:"code"`            // reason code, from the closed list
	Reason   string     `json:"reason"`          // the same in plain words
	Next     *time.Time `json:"next"`            // null: there is none
	Starts   *time.Time `json:"starts"`          // the same with the job's jitter
	Note     string     `json:"note,omitempty"`  // what a clock change has to do with the next fire
	Last     *JobEnd    `json:"last"`            // that ended on this host; null: none has yet
	Running  bool       `json:"running"`         // something runs now
	Open     []JobFire  `json:"fires,omitempty"` // that run or are about to, oldest first
	Skipped  int        `json:"skipped"`         // fires that were not started, ever
	Skip     *JobSkip   `json:"last_skip,omitempty"`
	History  []JobEnd   `json:"history,omitempty"` // newest first, up to ten; those of other hosts are of class elsewhere

	Lock      string  `json:"lock,omitempty"`      // hosts share it: each fire runs on one of them; absent: it is this host's own
	Elsewhere *JobEnd `json:"elsewhere,omitempty"` // the latest that another host has
}

// JobFire is a fire that is not over. Its name for the world is (job, at).
type JobFire struct {
	At     time.Time `json:"at"`
	Manual bool      `json:"manual,omitempty"` // a person asked for it
	Note   string    `json:"note,omitempty"`
	Try    int       `json:"try"` // from 1
	PID    int       `json:"pid,omitempty"`
}

// JobEnd is a fire that is over, with its last run.
type JobEnd struct {
	At      time.Time `json:"at"` // the fire
	Manual  bool      `json:"manual,omitempty"`
	Note    string    `json:"note,omitempty"`
	Tries   int       `json:"tries"`
	Code    int       `json:"code"` // -1 when a signal ended it or nothing is known
	Signal  string    `json:"signal"`
	Class   string    `json:"class"`          // as of an exit of a consumer, or timeout, or elsewhere: another host has it
	Begun   time.Time `json:"begun,omitzero"` // its first run; absent: not known, or it did not run here
	Ended   time.Time `json:"ended"`          // of class elsewhere: when this host was told so
	Seconds float64   `json:"seconds"`
	Detail  string    `json:"detail,omitempty"`
	Host    string    `json:"host,omitempty"` // of class elsewhere: the host that has it
}

// JobSkip is a fire that was not started, or the last of several.
type JobSkip struct {
	At     time.Time `json:"at"`
	Count  int       `json:"count"`
	Code   string    `json:"code"`
	Reason string    `json:"reason"`
}

// JobRun is the body of POST /v1/jobs/run.
type JobRun struct {
	Name    string `json:"name"`
	Wait    bool   `json:"wait,omitempty"`    // answer when it has ended
	Timeout string `json:"timeout,omitempty"` // of the wait, a Go duration; "" = none
	By      string `json:"by,omitempty"`      // filled in by the server, as in Command
}

// JobSpan says which fires of a job are asked for.
type JobSpan struct {
	Name  string
	From  time.Time     // zero: now
	For   time.Duration // above zero
	Limit int           // fires at most; 0 = MaxFires
}

// MaxFires bounds how many fires of a job are told of at once.
const MaxFires = 100_000

// JobExplain answers GET /v1/jobs/explain: when a job runs in a span of time, and why.
type JobExplain struct {
	Job      string       `json:"job"`
	Schedule string       `json:"schedule"`
	Timezone string       `json:"timezone"`
	Jitter   float64      `json:"jitter_seconds"`
	Lock     string       `json:"lock,omitempty"` // hosts share it: each fire runs on one of them
	From     time.Time    `json:"from"`
	Until    time.Time    `json:"until"`
	Fires    []JobPlanned `json:"fires"`
	More     bool         `json:"more"` // there are more than are shown
}

// JobPlanned is a fire that the schedule names.
type JobPlanned struct {
	At   time.Time `json:"at"` // in the job's zone
	UTC  time.Time `json:"utc"`
	Note string    `json:"note"` // what a clock change has to do with it
}

// Limit is how long Wait may take; 0 = as long as it needs.
func (j JobRun) Limit() time.Duration { return Command{Timeout: j.Timeout}.Limit() }

// JobReply says what became of it.
type JobReply struct {
	Fire    JobFire `json:"fire"`
	Skipped string  `json:"skipped,omitempty"` // why it does not run
	Waits   string  `json:"waits,omitempty"`   // what it waits for at this moment
	End     *JobEnd `json:"end,omitempty"`     // nil: it has not ended yet
}

// RunJob is POST /v1/jobs/run. A ctx that ends leaves the job running.
func (c *Client) RunJob(ctx context.Context, j JobRun) (JobReply, error) {
	if limit := j.Limit(); limit > 0 || !j.Wait {
		var cancel context.CancelFunc
		ctx, cancel = c.bounded(ctx, limit+answerLimit)
		defer cancel()
	}
	var r JobReply
	err := c.tell(ctx, "/v1/jobs/run", j, &r)
	return r, hung(ctx, err)
}

// ExplainJob is GET /v1/jobs/explain.
func (c *Client) ExplainJob(ctx context.Context, j JobSpan) (JobExplain, error) {
	v := url.Values{"name": {j.Name}, "for": {j.For.String()}, "n": {strconv.Itoa(j.Limit)}}
	if !j.From.IsZero() {
		v.Set("from", j.From.Format(time.RFC3339Nano))
	}
	var x JobExplain
	err := c.ask(ctx, "/v1/jobs/explain", v, &x)
	return x, err
}

func (s *Server) explainJob(w http.ResponseWriter, req *http.Request) error {
	q, err := newQuery(req.URL.Query(), "name", "from", "for", "n")
	if err != nil {
		return err
	}
	names := q.names()
	if len(names) != 1 {
		return &Invalid{Problem: "this takes one job", Advice: "give ?name=job"}
	}
	j := JobSpan{Name: names[0], For: 24 * time.Hour, Limit: q.number("n", MaxFires, MaxFires)}
	if text := q.values.Get("for"); text != "" {
		if j.For, err = time.ParseDuration(text); err != nil || j.For <= 0 {
			return &Invalid{Problem: clip(text) + " is no span of time", Advice: "give a duration above zero with its unit, such as 72h"}
		}
	}
	if text := q.values.Get("from"); text != "" {
		if j.From, err = time.Parse(time.RFC3339, text); err != nil {
			return &Invalid{Problem: clip(text) + " is no moment", Advice: "write it as 2026-03-29T01:30:00Z"}
		}
	}
	if q.err != nil {
		return q.err
	}
	x, err := s.daemon.ExplainJob(j)
	if err != nil {
		return err
	}
	return s.reply(w, x)
}

func (s *Server) runJob(w http.ResponseWriter, req *http.Request) error {
	var j JobRun
	if err := s.body(w, req, &j); err != nil {
		return err
	}
	if err := validNames([]string{j.Name}); err != nil {
		return err
	}
	if _, err := (Command{Timeout: j.Timeout}).limit(); err != nil {
		return err
	}
	peer := peerFrom(req.Context())
	j.By = peer.Name()
	if j.Wait {
		leave, err := enter(s.waiting, "commands that wait")
		if err != nil {
			return err
		}
		defer leave()
	}
	s.audit(peer, "run", "job", j.Name)
	r, err := s.daemon.RunJob(req.Context(), j)
	if err != nil {
		return err
	}
	return s.reply(w, r)
}
