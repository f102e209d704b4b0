package alert

import (
	"fmt"
	"slices"
	"time"

	"qsuper/config"
	"qsuper/control"
)

// answer is what a look says of a condition. Unsure changes nothing: it neither
// raises an alert nor ends one.
type answer int

const (
	no answer = iota
	yes
	unsure
)

// easing is the share of its limit that a number must fall below before an alert
// ends, so that one which moves around its limit is told of once.
const easing = 0.8

// quiet is how long nothing may be killed or crash, or a queue may stop growing,
// before that is over.
const quiet = 10 * time.Minute

// loopFrom is how many crashes within quiet are a loop: one may happen.
const loopFrom = 3

// calm is how long a consumer may not spin before that is over: between two pauses
// it runs for an instant.
const calm = time.Minute

// paceOver is the time over which the pace of a queue is taken.
const paceOver = 2 * time.Minute

// trail is what is remembered of one subject between looks.
type trail struct {
	pace     []mark    // of the last paceOver
	kills    int64     // instances killed, or fires skipped, as of the last look; -1 before the first
	killed   time.Time // when that number last rose
	crashes  int64     // as of the last look; -1 before the first
	crashed  []mark    // when that number rose, and by how much
	spun     time.Time // when it was last seen to spin
	lowest   int64     // messages; -1 before the first look
	grew     time.Time
	ready    int64 // as of the last look; -1 before the first
	inFlight int64
}

type mark struct {
	at time.Time
	n  int64
}

func newTrail() *trail { return &trail{kills: -1, crashes: -1, lowest: -1, ready: -1} }

// verdict is a look with its words.
type verdict struct {
	is    answer
	value string // what was seen: "12,340 messages wait"
}

// limit is the limit of a number, which is lower for an alert that is on.
func limit(v float64, on bool) float64 {
	if on {
		return v * easing
	}
	return v
}

// consumer judges a condition of one consumer.
func (t *trail) consumer(w config.When, c control.ConsumerStatus, on bool, now time.Time) verdict {
	switch w.Is {
	case config.CrashLoop:
		return t.crash(c, on, now)
	case config.Spinning:
		return t.spin(c, now)
	case config.Killed:
		return t.kill(int64(c.StopSteps["kill"]), now)
	}
	if c.Queue == nil {
		return verdict{is: no} // a glob takes in consumers without one
	}
	if w.Is == config.Unserved && c.Running > 0 {
		return verdict{is: no}
	}
	v := t.queue(w, *c.Queue, on, now)
	if w.Is == config.Unserved && v.is == yes && c.Reason != "" {
		v.value += ", no instance runs: " + c.Reason
	}
	return v
}

func said(is bool, words string) verdict {
	if is {
		return verdict{yes, words}
	}
	return verdict{is: no}
}

// crash is on while crashes come again and again, and as long as one is not long past:
// between two of them the consumer runs. A count that has fallen belongs to another
// engine.
func (t *trail) crash(c control.ConsumerStatus, on bool, now time.Time) verdict {
	n := int64(c.Crashes)
	if n < t.crashes {
		t.crashes = 0
	}
	if t.crashes >= 0 && n > t.crashes {
		t.crashed = append(t.crashed, mark{now, n - t.crashes})
	}
	t.crashes = n
	t.crashed = slices.DeleteFunc(t.crashed, func(m mark) bool { return now.Sub(m.at) >= quiet })
	var recent int64
	for _, m := range t.crashed {
		recent += m.n
	}
	words := fmt.Sprintf("%d crashes within 10 min", recent)
	if c.State == "backoff" || c.Code == "breaker" {
		words = c.Reason
	}
	return said(recent >= loopFrom || on && recent > 0 || c.Code == "breaker", words)
}

// spin is on while quick exits without work are spaced out.
func (t *trail) spin(c control.ConsumerStatus, now time.Time) verdict {
	if c.Code == "paced" {
		t.spun = now
		return verdict{yes, c.Reason}
	}
	return said(!t.spun.IsZero() && now.Sub(t.spun) < calm, "its instances have ended at once without having worked")
}

// kill is on from an instance that had to be killed until none was for a while.
// A count that has fallen belongs to another engine.
func (t *trail) kill(n int64, now time.Time) verdict {
	if t.kills >= 0 && n > t.kills || t.kills < 0 && n > 0 {
		t.killed = now
	}
	t.kills = n
	return said(!t.killed.IsZero() && now.Sub(t.killed) < quiet, "an instance did not end within its grace and was killed")
}

// job judges a condition of one job. A person who stops a run makes it neither
// good nor bad.
func (t *trail) job(w config.When, j control.JobStatus, now time.Time) verdict {
	if w.Is == config.Late {
		skipped := int64(j.Skipped)
		if t.kills >= 0 && skipped > t.kills {
			t.killed = now
		}
		t.kills = skipped
		if !j.Healthy {
			return verdict{yes, "a fire is due and does not start: " + j.Reason}
		}
		return said(!t.killed.IsZero() && now.Sub(t.killed) < quiet, "a fire was skipped: "+skip(j))
	}
	switch {
	case j.Last == nil || j.Last.Class == "stopped":
		return verdict{is: unsure}
	case j.Last.Class == "clean" || j.Last.Class == "empty":
		return verdict{is: no}
	}
	return verdict{yes, fmt.Sprintf("the run of %s failed: %s", j.Last.At.Format(time.RFC3339), how(*j.Last))}
}

func skip(j control.JobStatus) string {
	if j.Skip == nil {
		return "its history says why"
	}
	return j.Skip.Reason
}

func how(e control.JobEnd) string {
	switch {
	case e.Class == "timeout":
		return "timeout"
	case e.Signal != "":
		return "ended by " + e.Signal
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// queue judges what depends on a reading.
func (t *trail) queue(w config.When, q control.QueueStatus, on bool, now time.Time) verdict {
	if q.State != "ok" || q.Ready == nil {
		if t.pace = nil; q.State == "missing" && w.Is == config.Growing {
			return verdict{is: no} // many frameworks make the queue with the first failure
		}
		return verdict{is: unsure}
	}
	ready := *q.Ready
	words := fmt.Sprintf("%d messages wait", ready)
	switch {
	case w.Depth > 0:
		return verdict{truth(float64(ready) >= limit(float64(w.Depth), on)), words}
	case w.Oldest > 0:
		switch {
		case ready == 0:
			return verdict{no, words}
		case q.OldestSeconds == nil:
			return verdict{is: unsure}
		}
		return verdict{truth(*q.OldestSeconds >= limit(w.Oldest.Seconds(), on)), fmt.Sprintf("the oldest of %d messages waits for %s", ready, inWords(*q.OldestSeconds))}
	case w.Drain > 0:
		return t.drain(w.Drain, ready, on, now)
	case w.Is == config.Stuck:
		return t.stuck(ready, q.InFlight)
	case w.Is == config.Growing:
		return t.growing(ready, now)
	}
	return verdict{truth(ready > 0), words} // unserved
}

func truth(b bool) answer {
	if b {
		return yes
	}
	return no
}

// drain asks how long the queue takes to become empty at the pace of the last
// two minutes. One that does not shrink never does.
func (t *trail) drain(most time.Duration, ready int64, on bool, now time.Time) verdict {
	t.pace = append(t.pace, mark{now, ready})
	for len(t.pace) > 2 && now.Sub(t.pace[1].at) >= paceOver {
		t.pace = t.pace[1:]
	}
	first := t.pace[0]
	over := now.Sub(first.at)
	switch {
	case ready == 0:
		return verdict{is: no}
	case over < paceOver/2:
		return verdict{is: unsure}
	}
	fell := float64(first.n-ready) / over.Seconds()
	if fell <= 0 {
		return verdict{yes, fmt.Sprintf("%d messages wait and do not become fewer", ready)}
	}
	left := float64(ready) / fell
	return verdict{truth(left >= limit(most.Seconds(), on)), fmt.Sprintf("%d messages wait, at this pace for %s", ready, inWords(left))}
}

// stuck looks for movement since the last look: fewer wait, or others are in
// progress.
func (t *trail) stuck(ready int64, inFlight *int64) verdict {
	now := int64(-1)
	if inFlight != nil {
		now = *inFlight
	}
	moved := t.ready < 0 || ready < t.ready || now != t.inFlight
	t.ready, t.inFlight = ready, now
	return verdict{truth(ready > 0 && !moved), fmt.Sprintf("%d messages wait and nothing moves", ready)}
}

// growing is on from the moment there are more messages than there ever were
// fewer, until they are gone again or none has come for a while.
func (t *trail) growing(ready int64, now time.Time) verdict {
	if t.lowest < 0 {
		t.lowest = ready
	}
	if t.ready >= 0 && ready > t.ready {
		t.grew = now
	}
	t.ready = ready
	if ready <= t.lowest || now.Sub(t.grew) >= quiet {
		t.lowest = ready
		return verdict{is: no}
	}
	return verdict{yes, fmt.Sprintf("%d messages, %d more than before", ready, ready-t.lowest)}
}

// inWords is a duration for people.
func inWords(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
