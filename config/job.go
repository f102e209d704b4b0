package config

import (
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"qsuper/internal/kind"
	"qsuper/schedule"
)

// Job is one program with a schedule. What it has in common with a consumer is
// one: Instances is how many of its runs there may be at once, and it has neither
// queue nor window.
type Job struct {
	*Consumer
	Schedule *schedule.Timetable
	Overlap  Overlap
	Missed   Missed
	Timeout  time.Duration // of one run, then it is stopped and has failed; 0 = none
	Jitter   time.Duration // by which starts are spread, the same for each fire of a job on a host; 0 = none
	Retries  Retries
}

// Overlap says what becomes of a fire while the job still runs.
type Overlap string

// The values of `overlap`.
const (
	OverlapSkip    Overlap = "skip"
	OverlapQueue   Overlap = "queue"
	OverlapAllow   Overlap = "allow"
	OverlapReplace Overlap = "replace"
)

// Missed says what becomes of fires for which nobody was there.
type Missed string

// The values of `missed`.
const (
	MissedRunOnce Missed = "run_once"
	MissedSkip    Missed = "skip"
)

// Retries says how often a fire whose run has failed is tried again, and after
// what pauses.
type Retries struct {
	Times   int           `yaml:"times" min:"0" max:"1000"`  // how often it is tried again
	Initial time.Duration `yaml:"initial"`                   // first pause
	Factor  float64       `yaml:"factor" min:"1" max:"1000"` // each pause is longer by this factor
	Max     time.Duration `yaml:"max"`                       // longest pause
	Jitter  float64       `yaml:"jitter" format:"percent"`   // share of the pause that is random
}

// UnmarshalNode reads a number, or a map with times.
func (r *Retries) UnmarshalNode(d *kind.Decoder, n *kind.Node, path string) {
	if n.Shape == kind.Scalar {
		d.Value(n, path, &r.Times, `min:"0" max:"1000"`)
		return
	}
	type keys Retries
	k := keys(*r)
	before := len(d.Problems)
	d.Decode(n, path, &k)
	if len(d.Problems) == before && n.Get("times") == nil {
		d.Problems.Add(n, path, "times is missing")
	}
	*r = Retries(k)
}

// jobKeys are the keys of a job that a consumer does not have.
type jobKeys struct {
	Schedule string        `yaml:"schedule,required"`                        // 5 fields, 6 with seconds in front, @hourly @daily @weekly @monthly @yearly, or @every 90s
	Timezone string        `yaml:"timezone"`                                 // of schedule; default: the host's
	Overlap  Overlap       `yaml:"overlap" oneof:"skip queue allow replace"` // it still runs when it is due: skip, queue (one), allow (`instances` at once, 10), replace
	Missed   Missed        `yaml:"missed" oneof:"run_once skip"`             // after downtime or a clock that was set: run_once (for all), skip
	Timeout  time.Duration `yaml:"timeout"`                                  // of one run: stopped, and failed; 0 = none
	Jitter   time.Duration `yaml:"jitter"`                                   // starts up to so much later, always the same for this job and host
	Retries  Retries       `yaml:"retries"`                                  // of a fire whose run has failed
	EnvFile  []envFile     `yaml:"env_file"`                                 // as of a consumer
}

// allowed is how many runs of a job there may be at once with overlap: allow.
const allowed = 10

// notOfJobs are the keys of a consumer that a job does not have, with what to
// write instead; from `defaults` they are left out.
var notOfJobs = map[string]string{
	"preset": "give command or shell", "queue": "a job goes by its schedule", "spawn": "a job goes by its schedule",
	"idle_timeout": "use timeout", "time_limit": "use timeout", "max_messages": "give it in command", "memory_limit": "use memory_hard",
	"restart": "use retries", "backoff": "use retries: {times: 3, initial: 10s}", "stall": "use timeout",
	"active": "write it into schedule", "restart_on": "every fire starts it anew",
	"app_restart": "it is for workers, of which a job has none", "foreign_lock": "a job goes by its schedule",
}

// addJobs reads one `jobs` section. named holds the consumers and jobs before.
func (l *loader) addJobs(section *kind.Node, named map[string]*kind.Node) {
	const twice = "a job and a consumer, or two jobs, cannot have one name; first in"
	for e, path := range l.sections(section, "jobs", named, twice, "give it a schedule and a command") {
		if job := l.job(e.Key, e.Value, path); job != nil {
			l.cfg.Jobs = append(l.cfg.Jobs, job)
		}
	}
}

func (l *loader) job(key, own *kind.Node, path string) *Job {
	c := &check{Consumer: newConsumer(key.Value), l: l, node: l.jobNode(own, path), path: path, from: len(l.decoder.Problems)}
	c.section, c.At = "jobs", position(key)
	c.Spawn, c.Restart, c.Instances = SpawnAlways, RestartNever, Instances{Min: 1, Max: 1}
	for _, e := range c.node.Entries {
		c.Places[e.Key.Value] = position(e.Value)
	}
	keys := jobKeys{
		Overlap: OverlapSkip, Missed: MissedRunOnce,
		Retries: defaultRetries,
	}
	l.decoder.Decode(c.node, path, c.Consumer, &keys)
	for _, f := range keys.EnvFile {
		c.EnvFile = append(c.EnvFile, string(f))
	}
	c.Backoff = Backoff{
		Initial: keys.Retries.Initial, Factor: keys.Retries.Factor, Max: keys.Retries.Max, Jitter: keys.Retries.Jitter,
		ResetAfter: math.MaxInt64, // however long a run takes to fail, it is one of so many tries
	}
	j := &Job{Consumer: c.Consumer, Overlap: keys.Overlap, Missed: keys.Missed, Timeout: keys.Timeout, Jitter: keys.Jitter, Retries: keys.Retries}
	c.runs(j)
	c.jobLock(j)
	c.program()
	c.requires()
	c.exits()
	c.process()
	c.placeholders()
	c.exposed()
	c.retries(j)
	if c.Group != "" && !validName().MatchString(c.Group) {
		l.name(c.node, "group", path+".group", c.Group)
	}
	if j.Schedule = c.timetable(keys.Schedule, keys.Timezone); j.Schedule == nil {
		return nil // there is a problem, so that nobody sees the rest
	}
	c.jitter(j)
	return j
}

// jobNode is a job over those of the defaults that a job has.
func (l *loader) jobNode(own *kind.Node, path string) *kind.Node {
	mine := *own
	mine.Entries = slices.DeleteFunc(slices.Clone(own.Entries), func(e kind.Entry) bool {
		instead, refused := notOfJobs[e.Key.Value]
		if refused {
			l.add(e.Key, path+"."+e.Key.Value, "is no key of a job").Hint = instead
		}
		return refused
	})
	if l.defaults == nil {
		return &mine
	}
	base := *l.defaults
	base.Entries = slices.DeleteFunc(slices.Clone(base.Entries), func(e kind.Entry) bool {
		key := e.Key.Value
		return notOfJobs[key] != "" || key == "instances" || slices.Contains(programKeys, key)
	})
	return merge(&mine, &base)
}

// runs settles how many runs there may be at once.
func (c *check) runs(j *Job) {
	at := c.node.Get("instances")
	switch {
	case at == nil && j.Overlap == OverlapAllow:
		c.Instances = Instances{Min: allowed, Max: allowed}
	case at == nil || c.bad("instances") || c.bad("overlap"):
	case at.Value.Shape != kind.Scalar || c.Instances.Max < 1:
		c.l.add(at.Value, c.path+".instances", "is how many runs there may be at once: a number from 1 on")
	case j.Overlap != OverlapAllow && c.Instances.Max > 1:
		c.l.add(at.Value, c.path+".instances", "more than one run at once needs overlap: allow")
	}
	c.Instances.Min = c.Instances.Max
	before := c.l.instances
	c.l.instances += c.Instances.Max
	if c.l.instances > maxInstances && before <= maxInstances {
		c.l.add(c.node, c.path, "all consumers and jobs together have more than %d instances", maxInstances)
	}
}

// timetable reads `schedule` in `timezone`; nil when something is wrong.
func (c *check) timetable(text, timezone string) *schedule.Timetable {
	zone := c.zone(timezone)
	if c.node.Get("schedule") == nil || c.bad("schedule") {
		return nil
	}
	table, err := schedule.ParseTimetable(text, zone)
	if err == nil {
		return table
	}
	at := place(c.node, "schedule")
	if at.Filled {
		err = errors.New("the value filled in from the environment is not a schedule")
	}
	p := c.l.add(at, c.path+".schedule", "%v", err)
	if strings.HasPrefix(strings.TrimSpace(text), "@reboot") && !at.Filled {
		p.Message, p.Hint = "@reboot is no moment of the clock", "a consumer with restart: never starts once with the daemon"
	}
	return nil
}

// jitter checks that starts stay in the order of their fires.
func (c *check) jitter(j *Job) {
	if j.Jitter <= 0 || c.bad("jitter") {
		return
	}
	first := j.Schedule.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if second := j.Schedule.Next(first.At); !second.At.IsZero() && j.Jitter >= second.At.Sub(first.At) {
		c.l.add(place(c.node, "jitter"), c.path+".jitter", "must be less than the %s between two fires", second.At.Sub(first.At))
	}
}

func (c *check) retries(j *Job) {
	r := j.Retries
	switch {
	case c.bad("retries") || c.node.Get("retries") == nil:
	case r.Times > 0 && r.Initial <= 0:
		c.l.add(place(c.node, "retries", "initial"), c.path+".retries.initial", "must be more than 0, or a failure would be repeated without a pause")
	case r.Max < r.Initial:
		c.l.add(place(c.node, "retries", "max"), c.path+".retries", "max %s is less than initial %s", r.Max, r.Initial)
	}
}

// sameJob compares everything but where it was written.
func sameJob(a, b *Job) bool {
	x, y := *a, *b
	x.Consumer, y.Consumer, x.Schedule, y.Schedule = nil, nil, nil, nil
	return a.Schedule.Equal(b.Schedule) && x == y && sameConsumer(a.Consumer, b.Consumer)
}

// IsJob says that this is what a job runs.
func (c *Consumer) IsJob() bool { return c.section == "jobs" }

// Programs are the consumers and what the jobs run, in the order of the file.
func (c *Config) Programs() []*Consumer {
	all := slices.Clone(c.Consumers)
	for _, j := range c.Jobs {
		all = append(all, j.Consumer)
	}
	return all
}
