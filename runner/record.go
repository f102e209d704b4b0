package runner

import (
	"hash/maphash"
	"math/bits"
	"time"

	"qsuper/health"
	"qsuper/plan"
	"qsuper/slot"
	"qsuper/trace"
)

// A decision that changes is kept, with what it rests on. That a slot cannot start, or
// that the depth has doubled or halved, is told of more seldom: it changes no
// decision, but a replay against another file needs it.
const recordSeldom = 10 * time.Second

// recordBurst is how many records may come at once after a quiet time, such as those of
// a start.
const recordBurst = 10

// written is what the decision log knows of a consumer.
type written struct {
	decision uint64 // of what was decided last
	around   uint64 // of what else has changed
	at       time.Time
	paid     time.Time // up to when its records count, one each trace.Every
	due      time.Time // when what was held back is to be told; zero: nothing was
}

// owes says whether something that was held back is due.
func (t *written) owes(now time.Time) bool {
	if t.due.IsZero() || now.Before(t.due) {
		return false
	}
	t.due = time.Time{}
	return true
}

var marks = maphash.MakeSeed()

// record notes the decision that has just been taken, if it is another one.
func (c *consumer) record(before plan.Memory, now time.Time) {
	if c.r.trace == nil {
		return
	}
	decision, around := c.signature()
	t := &c.written
	if decision == t.decision && around == t.around {
		return
	}
	due := t.paid.Add(-recordBurst * trace.Every)
	if decision == t.decision {
		// Over all consumers it is no more than one a second.
		due = t.at.Add(max(recordSeldom, time.Duration(c.r.counted.Load())*trace.Every))
	}
	if now.Before(due) {
		t.due = due
		return
	}
	paid := t.paid
	if paid.Before(now) {
		paid = now
	}
	*t = written{decision: decision, around: around, at: now, paid: paid.Add(trace.Every)}
	c.r.trace.Note(trace.NewRecord(c.prog, c.observed, before, c.views, c.result, now))
}

// signature is a number for what was decided, and one for what keeps slots that are
// wanted from starting and for about how much waits.
func (c *consumer) signature() (decision, around uint64) {
	var d, a maphash.Hash
	d.SetSeed(marks)
	a.SetSeed(marks)
	maphash.WriteComparable(&d, c.result.Target)
	d.WriteString(string(c.result.Reason.Code))
	for i := range c.result.Decisions {
		v := &c.result.Decisions[i]
		d.WriteByte(byte(v.Want))
		d.WriteString(string(v.Reason.Code))
		if s := &c.views[i]; v.Want == slot.Up && s.Want == slot.Up && !s.Phase.Alive() {
			a.WriteString(string(s.Reason.Code))
		}
		a.WriteByte(0)
	}
	if q := c.observed.Queue; q != nil && q.State == health.OK {
		a.WriteByte(byte(bits.Len64(uint64(max(0, q.Ready)))))
	}
	return d.Sum64(), a.Sum64()
}
