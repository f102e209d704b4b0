package control

import (
	"context"
	"net/http"
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
	Class   string    `json:"class"` // as of an exit of a consumer, or timeout, or elsewhere: another host has it
	Ended   time.Time `json:"ended"` // of class elsewhere: when this host was told so
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
