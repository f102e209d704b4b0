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
	Name      string            `yaml:"name"`
	StateDir  string            `yaml:"state_dir" format:"path"`
	LogDir    string            `yaml:"log_dir" format:"path"`
	Socket    Socket            `yaml:"socket"`
	Log       DaemonLog         `yaml:"log"`
	Interval  schedule.Interval `yaml:"interval"`                         // how often gates and queues are looked at
	StartRate int               `yaml:"start_rate" min:"0" max:"1000000"` // starts per second over all consumers; 0 = no limit
	Budget    Budget            `yaml:"budget"`
	HTTP      HTTP              `yaml:"http"`
}

// Socket is where the control API listens.
type Socket struct {
	Path  string `yaml:"path" format:"path"`
	Mode  uint32 `yaml:"mode" format:"octal"` // permission bits
	Group string `yaml:"group"`               // "" = the daemon's own
}

// HTTP is the page, the metrics and the API over TCP. It is plain HTTP: beyond
// the host itself it belongs behind a proxy that speaks TLS.
type HTTP struct {
	Listen    string   `yaml:"listen"`                   // host:port; "" = no TCP at all
	TokenFile string   `yaml:"token_file" format:"path"` // whose content lets in
	Hosts     []string `yaml:"hosts"`                    // names by which a browser may ask for it, beside the address itself and localhost
}

// DaemonLog is the daemon's own log on stderr.
type DaemonLog struct {
	Level  string `yaml:"level" oneof:"debug info warn error"`
	Format string `yaml:"format" oneof:"text json"`
}

// Budget bounds the whole host; zero means no bound.
type Budget struct {
	Processes     int   `yaml:"processes" min:"0" max:"1000000"` // instances running at once
	Memory        int64 `yaml:"memory" format:"size"`            // bytes that they may take together, see Consumer.Footprint
	MemoryReserve int64 `yaml:"memory_reserve" format:"size"`    // bytes of MemAvailable that a start must leave free
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
	Group  string `yaml:"group"`
	Preset string // magento | symfony | laravel | ""

	// Exactly one of the two is set; presets are already expanded. Placeholders are not.
	Command []string `yaml:"command"`
	Shell   string   `yaml:"shell"`

	Instances   Instances     `yaml:"instances"`
	Queue       *Queue        // nil: no queue
	Spawn       Spawn         `yaml:"spawn" oneof:"always on_messages"`
	Priority    int           `yaml:"priority" min:"-1000" max:"1000"`       // of its share in the budget; higher goes first
	IdleTimeout time.Duration `yaml:"idle_timeout"`                          // on_messages: idle this long and it is asked to finish; 0 = never
	Requires    []string      `yaml:"requires"`                              // connections that must answer, the queue's own included
	MaxMessages int           `yaml:"max_messages" min:"0" max:"1000000000"` // 0 = not set
	TimeLimit   time.Duration `yaml:"time_limit"`                            // 0 = none
	MemoryLimit int64         `yaml:"memory_limit" format:"size"`            // bytes, resident, whole tree; 0 = none
	MemoryHard  int64         `yaml:"memory_hard" format:"size"`             // bytes; 0 = none
	Stall       time.Duration `yaml:"stall"`                                 // messages wait and nothing moves for this long: graceful restart; 0 = never

	Restart   Restart          `yaml:"restart" oneof:"always unexpected never"`
	RestartOn []Signal         `json:",omitempty"` // what its instances are replaced for
	Exit      Exit             `yaml:"exit"`
	Backoff   Backoff          `yaml:"backoff"`
	Stop      Stop             `yaml:"stop"`
	Active    *schedule.Window // nil: always

	User    string   `yaml:"user"` // user[:group]; "" = the daemon's own
	Dir     string   `yaml:"dir" format:"path"`
	Env     Env      `yaml:"env"`
	EnvFile []string // absolute; "-" in front: may be missing
	Umask   *uint32  `yaml:"umask" format:"octal"`
	Limits  Limits   `yaml:"limits"`
	Logs    Logs     `yaml:"logs"`

	Lock      string `yaml:"lock"`      // LockFile, or the name of one of Locks
	Exclusive bool   `yaml:"exclusive"` // of a shared lock: never two, even at the price of a kill when it is lost

	// AppRestart is the application's own command that tells all of its workers, whoever
	// runs them, to end; nil: there is none. Placeholders are not expanded.
	AppRestart []string `yaml:"app_restart" json:",omitempty"`

	ForeignLock *ForeignLock `json:",omitempty"` // of the application itself; nil: none is looked at

	Autostart bool `yaml:"autostart"`
	At        Position

	// Places says where the keys of this consumer were written: "command", "user", …
	// A key from `defaults` is placed there; one that was not written is absent.
	Places map[string]Position

	section string // of the file: consumers or jobs
}

// consumerKeys are the keys of a consumer that are not read straight into a
// field of Consumer.
type consumerKeys struct {
	Preset    presetKey    `yaml:"preset"`
	Queue     *queueKeys   `yaml:"queue"`
	Active    string       `yaml:"active"`
	Timezone  string       `yaml:"timezone"`
	EnvFile   []envFile    `yaml:"env_file"`
	RestartOn []signalKeys `yaml:"restart_on"`
	Foreign   *foreignKeys `yaml:"foreign_lock"`
}

// queueKeys are the keys of `queue:` over all connection types.
type queueKeys struct {
	Connection string `yaml:"connection,required"`
	Name       string `yaml:"name"`
	Layout     string `yaml:"layout"`
	Table      string `yaml:"table"`
	SQL        string `yaml:"query"`
	Path       string `yaml:"path"`
	Value      string `yaml:"value"`
	Prefix     string `yaml:"prefix"`
	Group      string `yaml:"group"`
}

// Instances is how many slots a consumer has. Fixed: Min == Max.
type Instances struct {
	Min         int           `yaml:"min" min:"0" max:"10000"`
	Max         int           `yaml:"max" min:"0" max:"10000"`
	PerInstance int           `yaml:"per_instance" min:"1" max:"1000000000"` // messages per instance; 0 when fixed, or with MaxWait
	MaxWait     time.Duration `yaml:"max_wait"`                              // the longest that a due message should wait; 0 when fixed, or with PerInstance
	Cooldown    time.Duration `yaml:"cooldown"`                              // how long the wish for fewer must last
	StepUp      int           `yaml:"step_up" min:"0" max:"10000"`           // most that the number grows by in plan.StepTime; 0 = no limit
	StepDown    int           `yaml:"step_down" min:"0" max:"10000"`         // most that it shrinks by in a cooldown; 0 = no limit
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
	Clean     []int `yaml:"clean" min:"0" max:"255"`
	Empty     []int `yaml:"empty" min:"0" max:"255"`     // "found nothing to do"
	Permanent []int `yaml:"permanent" min:"0" max:"255"` // "do not start me again"
}

// Backoff spaces restarts after crashes and after quick clean exits. It never gives up.
type Backoff struct {
	Initial    time.Duration `yaml:"initial"`
	Factor     float64       `yaml:"factor" min:"1" max:"1000"`
	Max        time.Duration `yaml:"max"`
	Jitter     float64       `yaml:"jitter" format:"percent"` // 0..1: share of the delay that is random
	ResetAfter time.Duration `yaml:"reset_after"`
	MinUptime  time.Duration `yaml:"min_uptime"` // a clean exit quicker than this that did no work is paced; 0 = never
}

// WaitIdle is the value of `stop.wait_for` that looks for a safe point.
const WaitIdle = "idle"

// Stop is the graceful ladder.
type Stop struct {
	Signal  syscall.Signal `yaml:"signal" format:"signal"`
	Grace   time.Duration  `yaml:"grace"`
	Scope   string         `yaml:"scope" format:"scope"`       // process | group | tree; group with `shell`
	Command []string       `yaml:"command"`                    // run once per instance before the signal; nil = none
	Fence   *time.Duration `yaml:"fence_grace"`                // grace when an exclusive shared lock is lost; nil: Grace
	WaitFor string         `yaml:"wait_for" format:"wait_for"` // "" | idle: no signal; it is ended at a moment when its queue has nothing in flight
}

// Limits are set on the consumer's process before exec, or on its cgroup.
type Limits struct {
	NoFile *uint64 `yaml:"nofile" min:"3" max:"1073741816"` // soft limit of open files
	Nice   *int    `yaml:"nice" min:"-20" max:"19"`

	// Of all that one instance starts together; they need a cgroup, see docs/weaker.md.
	PIDsMax   int   `yaml:"pids_max" min:"0" max:"4194304"` // processes and threads; 0 = no limit
	MemoryMax int64 `yaml:"memory_max" format:"size"`       // bytes, page cache included; 0 = no limit
	CPUWeight int   `yaml:"cpu_weight" min:"0" max:"10000"` // share of the processors when they are short, 100 = as everybody; 0 = not set

	// Nothing it executes gains privileges: sudo, su, ping, sendmail and other
	// set-user-ID programs do not work in it.
	NoNewPrivs bool `yaml:"no_new_privs"`
}

// Logs says where output goes.
type Logs struct {
	To       string `yaml:"to" oneof:"file stdout both none"`
	MaxSize  int64  `yaml:"max_size" format:"size"`   // bytes; 0 = no rotation
	Keep     int    `yaml:"keep" min:"0" max:"10000"` // rotated files
	Compress bool   `yaml:"compress"`
	Prefix   string `yaml:"prefix" oneof:"none time json"`
}

// Position is a place in a file.
type Position struct {
	File   string
	Line   int
	Column int
}
