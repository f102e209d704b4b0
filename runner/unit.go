package runner

import (
	"encoding/json"
	"time"

	"qsuper/config"
	"qsuper/keeper"
	"qsuper/plan"
	"qsuper/slot"
)

// keepExits is how many exits of a slot are remembered.
const keepExits = 10

// unit is one slot with what its owner remembers about it.
type unit struct {
	n       int
	key     string
	state   slot.State
	ticket  ticket
	unacked uint64            // run whose exit the keeper has not been told to forget; 0 = none
	stopped string            // who stopped just this slot
	exits   []slot.ExitRecord // newest last
	ordered uint64            // run that the keeper has a standing order for; 0 = none
	finger  string            // configuration that the running process was started with
	spec    *keeper.Spec      // of the last start; nil: look again
	plan    *blueprint        // that spec rests on
	usage   usage
	output  Output
	passed  uint64      // with --once: the last run of the passes before this one
	fire    *fire       // of a job: what it runs for; nil: nothing
	leave   slot.Reason // of a job: why it is to end; Code "": it is not
	lease   holding

	launched time.Time // when the process was asked for: no later than its start
	expires  time.Time // when a schedule of restart_on replaces it, as reckoned for
	reckoned reckoning
	ended    time.Time // when its latest process was seen to have ended
	lock     ownLock
	demanded time.Time // ended, for which the application's own lock has been looked at anew
	renewing bool      // asked to finish by restart_on, and no successor has proved stable
}

// reckoning is what unit.expires was reckoned from.
type reckoning struct {
	cfg      *config.Consumer
	launched time.Time
}

// usage is the latest look at the processes of a slot.
type usage struct {
	at    time.Time
	rss   int64         // bytes, whole tree
	cpu   time.Duration // used so far, whole tree
	share float64       // of one processor, between the last two looks
	quiet time.Time     // since when it has used next to none
}

// busyShare is the use of a processor above which a process is taken to work.
const busyShare = 0.005

// seen records a new look at the processes.
func (u *unit) seen(now time.Time, rss int64, cpu time.Duration) {
	prev := u.usage
	u.usage = usage{at: now, rss: rss, cpu: cpu}
	if prev.at.IsZero() || cpu < prev.cpu || !now.After(prev.at) {
		return
	}
	u.usage.share = float64(cpu-prev.cpu) / float64(now.Sub(prev.at))
	if u.usage.share < busyShare {
		u.usage.quiet = prev.quiet
		if prev.quiet.IsZero() {
			u.usage.quiet = prev.at
		}
	}
}

func (u *unit) view() plan.Slot {
	return plan.Slot{
		State: u.state, Stopped: u.stopped, Quiet: u.usage.quiet,
		Launched: u.launched, Expires: u.expires, Renewing: u.renewing,
	}
}

func (u *unit) remember(e slot.ExitRecord) {
	if len(u.exits) == keepExits {
		copy(u.exits, u.exits[1:])
		u.exits = u.exits[:keepExits-1]
	}
	e.Note = clip(e.Note)
	u.exits = append(u.exits, e)
}

// memo is what the keeper remembers of a slot for the next engine. It travels
// with every start and is written for that: short keys, nothing that follows
// from something else.
type memo struct {
	Finger   string     `json:"f,omitempty"`
	Failures int        `json:"n,omitempty"`
	Quick    int        `json:"q,omitempty"`
	Token    uint64     `json:"l,omitempty"` // of the lease under which it runs
	Final    bool       `json:"h,omitempty"` // halted for good, because of Why
	Why      slot.Code  `json:"w,omitempty"` // reason for a wait
	Text     string     `json:"t,omitempty"` // likewise
	Due      int64      `json:"d,omitempty"` // end of the wait, Unix ms
	Exits    []memoExit `json:"x,omitempty"`
	Common   *common    `json:"m,omitempty"` // of the consumer
}

type memoExit struct {
	Run    uint64     `json:"r"`
	Code   int        `json:"c,omitempty"`
	Signal int        `json:"s,omitempty"`
	Class  slot.Class `json:"k"`
	Step   string     `json:"t,omitempty"`
	Cause  slot.Code  `json:"u,omitempty"`
	At     int64      `json:"a"`           // Unix ms
	Ran    int64      `json:"d"`           // ns
	Took   int64      `json:"o,omitempty"` // ns
	Note   string     `json:"n,omitempty"`
}

func (u *unit) memo(of *common) []byte {
	m := memo{Common: of, Finger: u.finger, Token: u.lease.token, Failures: u.state.Failures, Quick: u.state.Quick, Exits: make([]memoExit, len(u.exits))}
	for i, e := range u.exits {
		m.Exits[i] = memoExit{e.Run, e.Code, e.Signal, e.Class, e.Step, e.Cause, e.At.UnixMilli(), int64(e.Ran), int64(e.Took), e.Note}
	}
	switch s := &u.state; {
	case s.Final:
		m.Final, m.Why, m.Text = true, s.Reason.Code, clip(s.Reason.Text)
	case s.Phase == slot.Waiting && !s.Deadline.IsZero():
		m.Why, m.Text, m.Due = s.Reason.Code, clip(s.Reason.Text), s.Deadline.UnixMilli()
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil // nothing in it can fail to encode
	}
	return raw
}

// recall puts a memo of an earlier engine into a fresh slot, and returns what it
// says of the consumer; nil: nothing. A wait in it ends at a moment of the wall
// clock, which may have been set back since: it is longest, at most.
func (u *unit) recall(raw []byte, longest time.Duration, now time.Time) *common {
	var m memo
	if len(raw) == 0 || json.Unmarshal(raw, &m) != nil {
		return nil
	}
	u.finger, u.lease.token = m.Finger, m.Token
	u.state.Failures, u.state.Quick = max(0, m.Failures), max(0, m.Quick)
	for _, e := range m.Exits {
		u.remember(slot.ExitRecord{
			Run: e.Run, Code: e.Code, Signal: e.Signal, Class: e.Class, Step: e.Step, Cause: e.Cause,
			At: time.UnixMilli(e.At), Ran: time.Duration(e.Ran), Took: time.Duration(e.Took), Note: e.Note,
		})
	}
	if n := len(u.exits); n > 0 {
		u.state.Last = u.exits[n-1]
		u.state.Run = u.state.Last.Run
	}
	why := slot.Reason{Code: m.Why, Text: m.Text}
	switch {
	case m.Final:
		u.state.Phase, u.state.Final, u.state.Reason = slot.Halted, true, why
	case m.Due != 0:
		u.state.Phase, u.state.Reason, u.state.Deadline = slot.Waiting, why, now.Add(min(time.UnixMilli(m.Due).Sub(now), longest))
	}
	return m.Common
}

func policy(c *config.Consumer) slot.Policy {
	restart := map[config.Restart]slot.Restart{
		config.RestartAlways: slot.Always, config.RestartUnexpected: slot.Unexpected, config.RestartNever: slot.Never,
	}
	return slot.Policy{
		Restart: restart[c.Restart], Clean: c.Exit.Clean, EmptyCodes: c.Exit.Empty, Permanent: c.Exit.Permanent,
		Initial: c.Backoff.Initial, Factor: c.Backoff.Factor, Max: c.Backoff.Max, Jitter: c.Backoff.Jitter,
		ResetAfter: c.Backoff.ResetAfter, MinUptime: c.Backoff.MinUptime,
		TimeLimit: c.TimeLimit, Spread: spread, Grace: c.Stop.Grace,
	}
}

// spread is the share of time_limit by which instances differ.
const spread = 0.1

// Planned is what the planner is told of a consumer of a file, as long as nobody has
// scaled it by hand.
func Planned(c *config.Consumer) plan.Program {
	p := program(c, nil)
	p.Policy = policy(c)
	p.Policy.Key = c.Name
	return p
}

func program(c *config.Consumer, count *int) plan.Program {
	p := plan.Program{
		Name: c.Name, Min: c.Instances.Min, Max: c.Instances.Max, PerInstance: c.Instances.PerInstance,
		MaxWait: c.Instances.MaxWait, StepUp: c.Instances.StepUp, StepDown: c.Instances.StepDown,
		Cooldown: c.Instances.Cooldown, OnMessages: c.Spawn == config.SpawnOnMessages, IdleTimeout: c.IdleTimeout, Stall: c.Stall,
	}
	if c.Instances.Min == c.Instances.Max {
		p.PerInstance, p.MaxWait = 0, 0
	}
	if c.Queue != nil {
		p.Queue = c.Queue.Name + " on " + c.Queue.Connection
	}
	if c.Active != nil {
		p.Window = c.Active
	}
	if count != nil {
		p.Min, p.Max, p.PerInstance, p.MaxWait = *count, *count, 0, 0
	}
	return p
}

// clip keeps memos within what the keeper takes.
func clip(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
