// Package config turns qsuper.yaml into a validated value.
//
// This file is the whole file format as types, with every default filled in:
// what leaves Load needs no further look-up, parsing or checking. Durations are
// durations, sizes are bytes, secrets print as ***. The tags are the key table;
// internal/kind explains them, and a blank field is a key of a later release.
package config

import (
	"syscall"
	"time"

	"qsuper/health"
	"qsuper/lease"
	"qsuper/schedule"
)

// Config is one loaded file with its includes.
type Config struct {
	Path        string   // the main file, absolute
	Files       []string // the main file and every included one
	Daemon      Daemon
	Connections []*Connection // in the order of the file
	Locks       []*Lock       // in the order of the file
	Consumers   []*Consumer   // in the order of the file
	Jobs        []*Job        // in the order of the file; no job has the name of a consumer
	Alerts      []*Alert      // in the order of the file
	Warnings    []Problem     // legal, but probably not what was meant
	EnvUsed     []string      // variables of the environment that `connections` and `daemon` were filled from: they may be secrets

	sources []*source // what it was loaded from; behind pointers, so that printing a Config does not show it
}

// Daemon is the `daemon:` section.
type Daemon struct {
	Name      string            `yaml:"name"`                             // namespaces shared locks and keys: hosts that share a fleet have the same
	StateDir  string            `yaml:"state_dir" format:"path"`          // default: /var/lib/qsuper as root, else $XDG_STATE_HOME/qsuper or ~/.local/state/qsuper
	LogDir    string            `yaml:"log_dir" format:"path"`            // consumers' output; default: /var/log/qsuper as root, else state_dir/logs
	Socket    Socket            `yaml:"socket"`                           // of the commands
	Log       DaemonLog         `yaml:"log"`                              // the daemon's own log, on stderr
	Interval  schedule.Interval `yaml:"interval"`                         // how often gates and queues are looked at
	StartRate int               `yaml:"start_rate" min:"0" max:"1000000"` // starts per second over all consumers; 0 = no limit
	Budget    Budget            `yaml:"budget"`                           // bounds of the whole host
	HTTP      HTTP              `yaml:"http"`                             // page, metrics and API over TCP
}

// Socket is where the control API listens.
type Socket struct {
	Path  string `yaml:"path" format:"path"`  // default: /run/qsuper/qsuper.sock as root, else $XDG_RUNTIME_DIR/qsuper/qsuper.sock; at most 107 bytes
	Mode  uint32 `yaml:"mode" format:"octal"` // permission bits when it has a group; else 0600
	Group string `yaml:"group"`               // who may operate the fleet besides root and the daemon's user; default: nobody
}

// HTTP is the page, the metrics and the API over TCP. It is plain HTTP: beyond
// the host itself it belongs behind a proxy that speaks TLS.
type HTTP struct {
	Listen    string   `yaml:"listen"`                   // host:port such as 127.0.0.1:9180; not set: no TCP at all
	TokenFile string   `yaml:"token_file" format:"path"` // whoever brings its content is let in; needed with listen
	Hosts     []string `yaml:"hosts"`                    // names by which a browser may ask for it, beside the address itself and localhost
}

// DaemonLog is the daemon's own log on stderr.
type DaemonLog struct {
	Level  string `yaml:"level" oneof:"debug info warn error"` // the least that is logged
	Format string `yaml:"format" oneof:"text json"`            // of a line
}

// Budget bounds the whole host; zero means no bound.
type Budget struct {
	Processes     int   `yaml:"processes" min:"0" max:"1000000"` // instances that may run at once, shared out by priority; 0 = no limit
	Memory        int64 `yaml:"memory" format:"size"`            // what they may take together, each counted with its memory_limit; 0 = no limit
	MemoryReserve int64 `yaml:"memory_reserve" format:"size"`    // of MemAvailable that a start must leave free; 0 = none
}

// Connection is something consumers depend on.
type Connection struct {
	Name    string
	Type    string
	Timeout time.Duration // of one probe
	Spec    health.Spec   // opened later; checking a file never dials
	At      Position
}

// Lock is a store in which several hosts hold slots.
type Lock struct {
	Name       string
	Type       string
	Timing     lease.Timing
	HoldOff    *time.Duration // nil: what the type needs
	Connection *Connection    // nil: the type has none
	Spec       lease.Spec     // opened later; checking a file never dials
	At         Position
}

// Consumer is one program with its slots.
type Consumer struct {
	Name   string
	Group  string `yaml:"group"` // a name for several: `qsuper stop @mail`
	Preset string // magento | symfony | laravel | ""

	// Exactly one of the two is set; presets are already expanded. Placeholders are not.
	Command []string `yaml:"command"` // program and arguments, without a shell
	Shell   string   `yaml:"shell"`   // a line for /bin/sh

	Instances   Instances     `yaml:"instances"` // how many run at most, or a map: how many by the depth of the queue
	Queue       *Queue        // nil: no queue
	Spawn       Spawn         `yaml:"spawn" oneof:"always on_messages"`      // always: whether or not messages wait; on_messages: only while they do, the default with a queue
	Priority    int           `yaml:"priority" min:"-1000" max:"1000"`       // of its share in the budget; higher goes first
	IdleTimeout time.Duration `yaml:"idle_timeout"`                          // with on_messages: queue empty and instance idle for this long: asked to finish; 0 = never
	Requires    []string      `yaml:"requires"`                              // connections that must answer before something starts; the queue's own always
	MaxMessages int           `yaml:"max_messages" min:"0" max:"1000000000"` // passed on by preset or placeholder; 0 = not set (preset magento: 10000)
	TimeLimit   time.Duration `yaml:"time_limit"`                            // an instance this old is asked to finish and comes back; passed on by preset or placeholder; 0 = none
	MemoryLimit int64         `yaml:"memory_limit" format:"size"`            // resident memory of the whole tree: above it asked to finish and comes back; 0 = none
	MemoryHard  int64         `yaml:"memory_hard" format:"size"`             // likewise: above it killed; 0 = none
	Stall       time.Duration `yaml:"stall"`                                 // messages wait, none goes, no output, no processor time for this long: restarted gracefully; 0 = never

	Restart   Restart          `yaml:"restart" oneof:"always unexpected never"` // what follows an end: unexpected = only after other than clean ones
	RestartOn []Signal         `json:",omitempty"`                              // what its instances are replaced for
	Exit      Exit             `yaml:"exit"`                                    // which exit codes mean what
	Backoff   Backoff          `yaml:"backoff"`                                 // pauses between starts after crashes; they grow, and it never gives up
	Stop      Stop             `yaml:"stop"`                                    // how an instance is asked to end
	Active    *schedule.Window // nil: always

	User    string   `yaml:"user"`              // user or user:group, supplementary groups included; default: the daemon's own
	Dir     string   `yaml:"dir" format:"path"` // working directory; default: the daemon's own
	Env     Env      `yaml:"env"`               // added to the environment
	EnvFile []string // absolute; "-" in front: may be missing
	Umask   *uint32  `yaml:"umask" format:"octal"` // of its files; default: the daemon's
	Limits  Limits   `yaml:"limits"`               // of the operating system
	Logs    Logs     `yaml:"logs"`                 // stdout and stderr

	Lock      string `yaml:"lock"`      // where slots are held: file (each host has its own), or an entry of `locks`
	Exclusive bool   `yaml:"exclusive"` // of a shared lock: never two, even at the price of a kill when the lock is lost

	// AppRestart is the application's own command that tells all of its workers, whoever
	// runs them, to end; nil: there is none. Placeholders are not expanded.
	AppRestart []string `yaml:"app_restart" json:",omitempty"` // what `qsuper stop-workers --app` runs, for workers of others; with a preset: the framework's own

	ForeignLock *ForeignLock `json:",omitempty"` // of the application itself; nil: none is looked at

	Autostart bool `yaml:"autostart"` // false: stays down until `qsuper start NAME`
	At        Position

	// Places says where the keys of this consumer were written: "command", "user", …
	// A key from `defaults` is placed there; one that was not written is absent.
	Places map[string]Position

	section string // of the file: consumers or jobs
}

// consumerKeys are the keys of a consumer that are not read straight into a
// field of Consumer.
type consumerKeys struct {
	Preset    presetKey    `yaml:"preset"`       // symfony, laravel or magento: knows the command and the exit codes; as a map with parameters, below
	Queue     *queueKeys   `yaml:"queue"`        // what it works on, below
	Active    string       `yaml:"active"`       // cron expression of the minutes in which it may run; default: always
	Timezone  string       `yaml:"timezone"`     // of `active` and of schedules in restart_on; default: the host's
	EnvFile   []envFile    `yaml:"env_file"`     // files with NAME=value lines; "-" in front: may be missing
	RestartOn []signalKeys `yaml:"restart_on"`   // what its instances are replaced for, gracefully, when it changes, below
	Foreign   *foreignKeys `yaml:"foreign_lock"` // the application's own lock: nothing starts while another process has it, below
}

// queueKeys are the keys of `queue:` over all connection types.
type queueKeys struct {
	Connection string `yaml:"connection,required"` // an entry of `connections`
	Name       string `yaml:"name"`                // default: the consumer's name
	Layout     string `yaml:"layout"`              // how the framework stores messages there; default: the preset's, else the connection's first
	Table      string `yaml:"table"`               // default: the layout's
	SQL        string `yaml:"query"`               // SELECT (or PromQL) that gives the depth
	Path       string `yaml:"path"`                // http: appended to the url; {queue} is filled in
	Value      string `yaml:"value"`               // http: where the number is in the JSON answer; default: the answer is a number
	Prefix     string `yaml:"prefix"`              // redis: in front of every key
	Group      string `yaml:"group"`               // consumer group whose messages count; nats: durable consumer
}

// Instances is how many slots a consumer has. Fixed: Min == Max.
type Instances struct {
	Min         int           `yaml:"min" min:"0" max:"10000"`               // with an empty queue; more than 0 with spawn: always
	Max         int           `yaml:"max" min:"0" max:"10000"`               // needed in a map
	PerInstance int           `yaml:"per_instance" min:"1" max:"1000000000"` // waiting messages for each instance
	MaxWait     time.Duration `yaml:"max_wait"`                              // instead of per_instance: how long a due message should wait at most, 1s or more
	Cooldown    time.Duration `yaml:"cooldown"`                              // fewer are wanted only after this long
	StepUp      int           `yaml:"step_up" min:"0" max:"10000"`           // at most so many more in 5 seconds; 0 = no limit
	StepDown    int           `yaml:"step_down" min:"0" max:"10000"`         // at most so many fewer in a cooldown; 0 = no limit
}

// Queue ties a consumer to a queue on a connection.
type Queue struct {
	Connection string
	health.Queue
}

// Spawn says when a consumer is wanted.
type Spawn string

// The values of `spawn`.
const (
	SpawnAlways     Spawn = "always"
	SpawnOnMessages Spawn = "on_messages"
)

// Restart says what follows an exit.
type Restart string

// The values of `restart`.
const (
	RestartAlways     Restart = "always"
	RestartUnexpected Restart = "unexpected"
	RestartNever      Restart = "never"
)

// Exit sorts exit codes into classes.
type Exit struct {
	Clean     []int `yaml:"clean" min:"0" max:"255"`     // an ordinary end: comes back at once, uncounted
	Empty     []int `yaml:"empty" min:"0" max:"255"`     // found nothing to do; as clean
	Permanent []int `yaml:"permanent" min:"0" max:"255"` // do not start me again
}

// Backoff spaces restarts after crashes and after quick clean exits. It never gives up.
type Backoff struct {
	Initial    time.Duration `yaml:"initial"`                   // first pause
	Factor     float64       `yaml:"factor" min:"1" max:"1000"` // each pause is longer by this factor
	Max        time.Duration `yaml:"max"`                       // longest pause
	Jitter     float64       `yaml:"jitter" format:"percent"`   // share of the pause that is random
	ResetAfter time.Duration `yaml:"reset_after"`               // a run this long forgets the crashes before it
	MinUptime  time.Duration `yaml:"min_uptime"`                // quicker clean exits that did no work are paced; 0 = never
}

// WaitIdle is the value of `stop.wait_for` that looks for a safe point.
const WaitIdle = "idle"

// Stop is the graceful ladder.
type Stop struct {
	Signal  syscall.Signal `yaml:"signal" format:"signal"`     // name or number
	Grace   time.Duration  `yaml:"grace"`                      // until it is killed
	Scope   string         `yaml:"scope" format:"scope"`       // who gets the signal; tree: all that it has started; default with shell: group
	Command []string       `yaml:"command"`                    // run once per instance before the signal, for half of the grace at most; QSUPER_PID is the instance
	Fence   *time.Duration `yaml:"fence_grace"`                // grace when an exclusive shared lock is lost; default: grace
	WaitFor string         `yaml:"wait_for" format:"wait_for"` // idle: no signal, ended while it, or its queue, has nothing in progress; preset magento: idle
}

// Limits are set on the consumer's process before exec, or on its cgroup.
type Limits struct {
	NoFile *uint64 `yaml:"nofile" min:"3" max:"1073741816"` // soft limit of open files; default: the daemon's
	Nice   *int    `yaml:"nice" min:"-20" max:"19"`         // -20 (first) to 19 (last); default: the daemon's

	// Of all that one instance starts together; they need a cgroup, see docs/weaker.md.
	PIDsMax   int   `yaml:"pids_max" min:"0" max:"4194304"` // processes and threads of one instance with all it starts; 0 = no limit
	MemoryMax int64 `yaml:"memory_max" format:"size"`       // their memory, page cache included: beyond it the kernel kills; 0 = no limit
	CPUWeight int   `yaml:"cpu_weight" min:"0" max:"10000"` // their share of the processors when they are short, 100 = as everybody; 0 = not set

	// Nothing it executes gains privileges: sudo, su, ping, sendmail and other
	// set-user-ID programs do not work in it.
	NoNewPrivs bool `yaml:"no_new_privs"` // sudo, sendmail and other set-user-ID programs do not work in it
}

// Logs says where output goes.
type Logs struct {
	To       string `yaml:"to" oneof:"file stdout both none"` // file: NAME.SLOT.log in log_dir; stdout: the daemon's own
	MaxSize  int64  `yaml:"max_size" format:"size"`           // a file this large is rotated; 0 = never
	Keep     int    `yaml:"keep" min:"0" max:"10000"`         // rotated files per instance
	Compress bool   `yaml:"compress"`                         // gzip rotated files
	Prefix   string `yaml:"prefix" oneof:"none time json"`    // in front of each line; json: each line as an object
}

// Position is a place in a file.
type Position struct {
	File   string
	Line   int
	Column int
}
