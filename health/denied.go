package health

import (
	"errors"
	"fmt"
	"time"
)

// deniedPause is how long a connection that refused its credentials is not asked
// again: servers lock accounts out after a few wrong passwords, and tools that
// watch their logs block whole hosts.
const deniedPause = 30 * time.Second

// Denied is what Ping and Measure return, wrapped or not, when the other side
// answered that the credentials are wrong. A Probe asks such a connection once in
// 30 s; a reload makes new probes, and so asks at once.
type Denied struct{ Err error }

func (e *Denied) Error() string { return e.Err.Error() }

// Unwrap returns what the other side or the library said.
func (e *Denied) Unwrap() error { return e.Err }

// hold remembers a refusal of credentials, and returns what is told of it.
func (p *Probe) hold(err error, text string) string {
	if _, denied := errors.AsType[*Denied](err); !denied {
		return text
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.denied, p.deniedAt = fmt.Sprintf("%s; asked again every %s", text, deniedPause), time.Now()
	return p.denied
}

// held is the last look while it is too soon for another.
func (p *Probe) held(queues []Queue) (o Observation, yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.denied == "" || p.closed || time.Since(p.deniedAt) >= deniedPause {
		return o, false
	}
	o = down(p.denied, queues)
	o.At = p.deniedAt
	return o, true
}
