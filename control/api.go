package control

import "time"

// The wire types: what the daemon sends and `--json` prints. Fields named in
// the reference keep their names; new ones are only added.

// Status answers GET /v1/status.
type Status struct {
	Version     int                `json:"version"`
	Daemon      DaemonStatus       `json:"daemon"`
	Consumers   []ConsumerStatus   `json:"consumers"`
	Jobs        []JobStatus        `json:"jobs"`
	Connections []ConnectionStatus `json:"connections"`
	Locks       []LockStatus       `json:"locks,omitempty"`
}

// DaemonStatus describes the daemon itself.
type DaemonStatus struct {
	Name      string       `json:"name"`
	Version   string       `json:"version"`
	KeeperPID int          `json:"keeper_pid"`
	Contained string       `json:"contained"` // what holds a consumer's processes together: "cgroup", or "session: " and why not
	EnginePID int          `json:"engine_pid"`
	StartedAt time.Time    `json:"started_at"` // the keeper's start
	Stopping  bool         `json:"stopping"`
	Config    ConfigStatus `json:"config"`
	HTTP      *HTTPStatus  `json:"http,omitempty"` // absent: nothing listens on TCP
}

// HTTPStatus is the door over TCP.
type HTTPStatus struct {
	Listen string `json:"listen"`
	Error  string `json:"error"` // why it is shut; "" = it is open
}

// ConfigStatus says which file is in force, and why a newer one is not.
type ConfigStatus struct {
	Path     string    `json:"path"`
	LoadedAt time.Time `json:"loaded_at"`
	Error    string    `json:"error"`
}

// ConsumerStatus is one consumer.
type ConsumerStatus struct {
	Name    string       `json:"name"`
	Group   string       `json:"group,omitempty"`
	State   string       `json:"state"`   // running waiting backoff stopping stopped held
	Healthy bool         `json:"healthy"` // false: something that should be up is not
	Wanted  int          `json:"wanted"`
	Running int          `json:"running"`
	Max     int          `json:"max"`    // slots that exist
	Code    string       `json:"code"`   // reason code, from the closed list
	Reason  string       `json:"reason"` // the same in plain words
	Since   time.Time    `json:"since"`
	Queue   *QueueStatus `json:"queue,omitempty"`
	Slots   []SlotStatus `json:"slots,omitempty"`
	Starts  uint64       `json:"starts"`  // processes started; this and the other counts begin with the engine
	Exits   uint64       `json:"exits"`   // exits seen, of all classes
	Crashes uint64       `json:"crashes"` // of which crashed or oom
	Output  *OutputState `json:"output,omitempty"`

	RSSBytes *int64 `json:"rss_bytes,omitempty"` // resident memory of all instances; absent unless usage was asked for

	LogBytes *uint64 `json:"log_bytes,omitempty"` // printed since the keeper started; absent unless usage was asked for

	// How long until the first of the instances that hold an exclusive slot is asked to
	// end, if its lease is not renewed; absent when there is none.
	LeaseMargin *float64 `json:"lease_margin_seconds,omitempty"`

	RestartOn []SignalStatus `json:"restart_on,omitempty"`

	LimitsMissed string `json:"limits_missed,omitempty"` // which limits do not hold on this host, and why

	ExitClasses map[string]uint64 `json:"exit_classes"` // exits by class; one that has not been seen is absent
	StopSteps   map[string]uint64 `json:"stop_steps"`   // ends within a stop by the step that brought them: signal, idle, kill
}

// SignalStatus is one entry of a consumer's restart_on.
type SignalStatus struct {
	Name      string     `json:"name"`                 // in a few words, such as "file /srv/shop/current"
	ChangedAt *time.Time `json:"changed_at,omitempty"` // when it was last seen to have changed; absent: it has not
	Error     string     `json:"error,omitempty"`      // why nobody knows how it is now
}

// OutputState is there only while what consumers print cannot be written, e.g.
// because the disk is full. They go on meanwhile.
type OutputState struct {
	Error string    `json:"error"`
	Since time.Time `json:"since"`
	Slots int       `json:"slots,omitempty"` // of a consumer: how many slots it concerns; error and since are those of the first
}

// QueueStatus is the last reading of a consumer's queue. A number is absent
// when the backend cannot say it: unknown is never zero.
type QueueStatus struct {
	Connection    string    `json:"connection"`
	Name          string    `json:"name"`
	State         string    `json:"state"` // ok missing unknown
	Ready         *int64    `json:"ready,omitempty"`
	InFlight      *int64    `json:"in_flight,omitempty"`
	Delayed       *int64    `json:"delayed,omitempty"`
	OldestSeconds *float64  `json:"oldest_seconds,omitempty"`
	Consumers     *int64    `json:"consumers,omitempty"`
	MeasuredAt    time.Time `json:"measured_at"`
	Error         string    `json:"error,omitempty"`
}

// SlotStatus is one slot.
type SlotStatus struct {
	Slot       int         `json:"slot"`
	Phase      string      `json:"phase"` // waiting checking spawning running draining killing halted
	PID        int         `json:"pid"`
	Since      time.Time   `json:"since"`
	Run        uint64      `json:"run"`
	Failures   int         `json:"failures"`
	Code       string      `json:"code"`
	Reason     string      `json:"reason"`
	Adopted    bool        `json:"adopted"`
	Deadline   *time.Time  `json:"deadline,omitempty"` // when this phase changes by itself
	RSSBytes   int64       `json:"rss_bytes"`
	CPUPercent float64     `json:"cpu_percent"`
	CPUSeconds float64     `json:"cpu_seconds"`        // processor time of the run's processes that live; 0 = not measured
	Outdated   string      `json:"outdated,omitempty"` // what it runs that has been replaced, moved or deleted
	LastExit   *ExitStatus `json:"last_exit,omitempty"`

	Output       *OutputState `json:"output,omitempty"`
	DroppedBytes int64        `json:"dropped_bytes,omitempty"` // of output, since the daemon's start; counted up when it is written again
}

// ExitStatus says how a run ended.
type ExitStatus struct {
	Run     uint64    `json:"run"`
	Code    int       `json:"code"` // -1 when a signal ended it or nothing is known
	Signal  string    `json:"signal"`
	Class   string    `json:"class"` // clean empty recycled stopped crashed oom timeout misconfigured permanent unknown fenced: see gates.md
	Step    string    `json:"step"`  // which step of a stop ended it: "" (it ended by itself), signal, idle, kill
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"` // how long it ran
	Detail  string    `json:"detail,omitempty"`

	// How long its stop took, from the first signal to the end; 0 when it ended by itself.
	StopSeconds float64 `json:"stop_seconds,omitempty"`
}

// ConnectionStatus is one dependency.
type ConnectionStatus struct {
	Name      string    `json:"name"`
	Type      string    `json:"type"`
	State     string    `json:"state"` // up down unknown
	LatencyMS float64   `json:"latency_ms"`
	Error     string    `json:"error"`
	Since     time.Time `json:"since"`
	CheckedAt time.Time `json:"checked_at"`

	Probes       uint64  `json:"probes"` // looks at it since the engine began
	Failures     uint64  `json:"failures"`
	ProbeSeconds float64 `json:"probe_seconds"` // what all looks took together
}

// Explain answers GET /v1/explain: the gates of one consumer in order, with
// the evidence they were decided on, then its slots.
type Explain struct {
	Consumer string        `json:"consumer"`
	Slot     *int          `json:"slot,omitempty"`
	State    string        `json:"state"`
	Reason   string        `json:"reason"`
	Wanted   int           `json:"wanted"`
	Running  int           `json:"running"`
	Gates    []Gate        `json:"gates"`
	Slots    []SlotExplain `json:"slots"`
	Exits    []SlotExit    `json:"exits"` // the last ten, newest first
	Job      *JobStatus    `json:"job,omitempty"`
}

// Gate is one condition and what was seen.
type Gate struct {
	Name     string `json:"gate"`     // stopped paused window connection queue depth budget start_rate backoff lock …
	State    string `json:"state"`    // open closed unknown skipped (not configured, or not looked at)
	Evidence string `json:"evidence"` // e.g. "ready 0 < 1, measured 0.4 s ago"
}

// SlotExplain is what one slot adds to the consumer's gates.
type SlotExplain struct {
	Slot   int    `json:"slot"`
	Phase  string `json:"phase"`
	Want   string `json:"want"` // up hold down
	Code   string `json:"code"`
	Reason string `json:"reason"`
	Gates  []Gate `json:"gates"` // backoff and lock
}

// SlotExit is an exit with its slot.
type SlotExit struct {
	Slot int `json:"slot"`
	ExitStatus
}

// Command is the body of POST /v1/command.
type Command struct {
	Verb    string   `json:"verb"`  // start stop restart stop-workers pause resume scale
	Names   []string `json:"names"` // consumer, consumer/slot, @group or glob; empty = all
	Now     bool     `json:"now,omitempty"`
	Wait    bool     `json:"wait"`              // answer when it is true, not when it is accepted
	Timeout string   `json:"timeout,omitempty"` // of the wait, a Go duration; "" = none
	Count   int      `json:"count,omitempty"`   // scale
	By      string   `json:"by,omitempty"`      // who asks: filled in by the server from the peer credentials

	Rolling        bool   `json:"rolling,omitempty"`         // restart
	MaxUnavailable string `json:"max_unavailable,omitempty"` // "25%" or "2"
	Surge          string `json:"surge,omitempty"`           // likewise: instances that are started before others are stopped

	App bool `json:"app,omitempty"` // stop-workers: first run the application's own command (app_restart), for workers of others

	Fleet bool `json:"fleet,omitempty"` // stop-workers, pause, resume: on every host that shares a lock store
}

// CommandReply says what was done.
type CommandReply struct {
	Consumers []string  `json:"consumers"`         // the consumers meant
	Outcomes  []Outcome `json:"outcomes"`          // one for each instance that had to end or start
	TimedOut  bool      `json:"timed_out"`         // the wait ended before it was true
	Killed    int       `json:"killed"`            // instances that had to be killed
	Failed    []string  `json:"failed,omitempty"`  // consumers whose rolling restart was given up because new instances crashed, and how
	Warning   string    `json:"warning,omitempty"` // done, but something about it did not work

	Hosts []HostReply `json:"hosts,omitempty"` // of a command to the fleet

	Apps []AppReply `json:"apps,omitempty"` // what became of app_restart, once for each different command
}

// AppReply says what became of an application's own restart command.
type AppReply struct {
	Command   string   `json:"command"`
	Consumers []string `json:"consumers"` // whose it is
	Output    string   `json:"output"`
	Error     string   `json:"error"` // "" = it has ended with 0
}

// HostReply says what became of a command on one host of the fleet.
type HostReply struct {
	Host  string `json:"host"`
	Lock  string `json:"lock"` // the store by which it was reached
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`
}

// Outcome is what became of one instance.
type Outcome struct {
	Consumer string      `json:"consumer"`
	Slot     int         `json:"slot"`
	Phase    string      `json:"phase"`
	PID      int         `json:"pid,omitempty"` // of the instance that runs now
	Reason   string      `json:"reason,omitempty"`
	Exit     *ExitStatus `json:"exit,omitempty"` // how the former one ended
}

// Shutdown is the body of POST /v1/shutdown: stop everything, then the daemon.
type Shutdown struct {
	Now    bool   `json:"now,omitempty"`
	NoWait bool   `json:"no_wait,omitempty"` // answer when it is accepted, not when everything is gone
	By     string `json:"by,omitempty"`      // filled in by the server, as in Command
}

// ReloadReply answers POST /v1/reload, and GET /v1/plan with what it would be.
// Problems is not empty exactly when the file is refused and nothing changes.
type ReloadReply struct {
	Problems    []string       `json:"problems"`
	Warnings    []string       `json:"warnings"`
	Added       []string       `json:"added"`
	Changed     []string       `json:"changed"`
	Removed     []string       `json:"removed"`
	Replaced    []string       `json:"replaced,omitempty"`    // of those changed: running instances finish and come back; the others take the change as they run
	Connections []string       `json:"connections,omitempty"` // added, changed or removed
	Settings    []string       `json:"settings,omitempty"`    // of the daemon, that take effect at once
	Unchanged   int            `json:"unchanged"`
	Unscaled    map[string]int `json:"unscaled,omitempty"` // consumers for which the file's number holds again, with the one that scale had given
}

// AlertStatus is one alert of the file: an entry of the answer to GET /v1/alerts.
type AlertStatus struct {
	Name   string         `json:"name"`
	State  string         `json:"state"`  // ok firing
	Firing []AlertSubject `json:"firing"` // on what
	Ways   []AlertWay     `json:"ways"`   // how it is told, and what became of the latest attempt
}

// AlertSubject is something that an alert tells of now.
type AlertSubject struct {
	Subject string    `json:"subject"`
	Since   time.Time `json:"since"`
	Text    string    `json:"text"`
}

// AlertWay is a way of telling. POST /v1/alerts/test answers with what became of
// the test by each.
type AlertWay struct {
	By    string    `json:"by"`    // webhook command email
	At    time.Time `json:"at"`    // of the attempt; zero = there was none
	Error string    `json:"error"` // "" = delivered
}

// AlertTest is the body of POST /v1/alerts/test.
type AlertTest struct {
	Name string `json:"name"`
}

// Event is one transition, one JSON line of GET /v1/events.
type Event struct {
	Seq      uint64    `json:"seq"`
	At       time.Time `json:"at"`
	Consumer string    `json:"consumer,omitempty"`
	Slot     *int      `json:"slot,omitempty"`
	Run      uint64    `json:"run,omitempty"`
	PID      int       `json:"pid,omitempty"`
	From     string    `json:"from,omitempty"` // phase
	To       string    `json:"to,omitempty"`   // phase
	Code     string    `json:"code"`
	Reason   string    `json:"reason"`
	Cursor   string    `json:"cursor,omitempty"` // a Stream from here goes on after it
}

// LogLine is one JSON line of GET /v1/logs.
type LogLine struct {
	Consumer string `json:"consumer"`
	Slot     int    `json:"slot"`
	Text     string `json:"text"`
	Cursor   string `json:"cursor,omitempty"` // a Stream from here goes on after it
	Mark     bool   `json:"mark,omitempty"`   // no line: Cursor alone, of a slot that is followed from there
}

// Stream says what GET /v1/events and GET /v1/logs are to give.
type Stream struct {
	Names  []string // empty: all
	Last   int      // how many to begin with, 0 to 1,000,000: transitions in all, lines of each slot
	Follow bool     // go on with each new one
	From   []string // cursors, one for each slot: what comes after them, instead of the last ones
	Marks  bool     // a cursor for each slot before it has had a line
}

// Failure is the body of every answer that is not 2xx.
type Failure struct {
	Error string `json:"error"`          // what is wrong
	Hint  string `json:"hint,omitempty"` // what to do next
}
