package control

import "net/http"

// Access says what a route may do, and so who may ask it: whoever is let in
// reads and operates, which the file bounds: nothing can be started that is not
// in it. Admin is for root and the daemon's own user. What is not Read leaves a
// line in the daemon's log.
type Access string

// The three levels.
const (
	Read    Access = "read"
	Operate Access = "operate"
	Admin   Access = "admin"
)

// Route is one entry of the API.
type Route struct {
	Method string
	Path   string
	Access Access
	Doc    string // one line
	handle func(*Server, http.ResponseWriter, *http.Request) error
}

// Routes is the whole API: the server's mux, its documentation and the test
// that each of them has a client method are made from it.
var Routes = []Route{
	{"GET", "/v1/status", Read, "the fleet: ?name=… (repeated), slots=true, usage=true", (*Server).status},
	{"GET", "/v1/explain", Read, "the gates of ?name=consumer or consumer/slot, with their evidence", (*Server).explain},
	{"GET", "/v1/jobs/explain", Read, "when a job runs, and why: ?name=job, from=2026-03-29T00:00:00Z (now), for=72h (24h), n=10", (*Server).explainJob},
	{"GET", "/v1/events", Read, "transitions as JSON lines: ?n=100, follow=true, from=CURSOR, name=… (repeated)", (*Server).events},
	{"GET", "/v1/logs", Read, "consumers' output as JSON lines: ?n=100, follow=true, from=CURSOR, marks=true, name=… (both repeated)", (*Server).logs},
	{"GET", "/v1/alerts", Read, "every alert: what it tells of, and whether it arrives", (*Server).alerts},
	{"POST", "/v1/alerts/test", Operate, "send a test by every way of an alert", (*Server).testAlert},
	{"POST", "/v1/command", Operate, "start, stop, restart, stop-workers, pause, resume or scale consumers", (*Server).command},
	{"POST", "/v1/jobs/run", Operate, "run a job now, within what its overlap allows", (*Server).runJob},
	{"POST", "/v1/reload", Operate, "read the file again and apply what changed", (*Server).reload},
	{"GET", "/v1/plan", Read, "what a reload would change", (*Server).plan},
	{"POST", "/v1/upgrade", Admin, "let another binary take over; no consumer notices", (*Server).upgrade},
	{"POST", "/v1/shutdown", Admin, "stop every consumer, then the daemon", (*Server).shutdown},
}
