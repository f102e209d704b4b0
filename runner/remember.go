package runner

import (
	"reflect"
	"time"

	"qsuper/keeper"
	"qsuper/plan"
)

// common is what a consumer as a whole has to remember over the death of an engine:
// without it that would end every hold and every ramp, and all that they hold back
// would start at once. It travels in the memos of the slots; the one with the
// highest number is in force. Moments are Unix ms; 0: none.
//
// What a breaker knows of single instances is in their last exits.
type common struct {
	Number  uint64               `json:"i"`
	Breaker *memoBreaker         `json:"b,omitempty"`
	Deaths  []memoDeath          `json:"d,omitempty"`
	Stalled int64                `json:"s,omitempty"` // when one was last asked to finish for being deaf
	Conns   map[string]*memoConn `json:"c,omitempty"` // that are down, or have just come back
	Pace    *memoPace            `json:"p,omitempty"`
}

// memoPace is what max_wait has learned, roughly: what changes a little all the time
// need not be written all the time.
type memoPace struct {
	Rate    float64 `json:"r"`           // messages a second and instance
	Startup int64   `json:"s,omitempty"` // ms
	Proven  int     `json:"n,omitempty"`
}

// roughly is what is to be kept of a pace; before is what is kept by now.
func roughly(p *plan.Pace, before *memoPace) *memoPace {
	if p.Rate == 0 || p.Vague > 0 {
		return before
	}
	m := &memoPace{p.Rate, p.Startup.Milliseconds(), p.Proven}
	near := func(a, b float64) bool { return a > b*3/4 && a < b*4/3 }
	if before != nil && m.Proven == before.Proven && near(m.Rate, before.Rate) && (m.Startup == before.Startup || near(float64(m.Startup), float64(before.Startup))) {
		return before
	}
	return m
}

type memoBreaker struct {
	Phase plan.BreakerPhase `json:"p,omitempty"`
	Trips int               `json:"t,omitempty"`
	Until int64             `json:"u,omitempty"`
	Since int64             `json:"s,omitempty"`
	Let   int               `json:"l,omitempty"`
	Step  int64             `json:"e,omitempty"`
	Proof int64             `json:"f,omitempty"` // ms
	Lived bool              `json:"v,omitempty"`
	Cause string            `json:"c,omitempty"`
	N     int               `json:"n,omitempty"`
	Of    int               `json:"o,omitempty"`
}

type memoDeath struct {
	Ran     int64 `json:"r"` // ns
	Backlog int64 `json:"b"`
}

type memoConn struct {
	Down bool  `json:"d,omitempty"`
	Back int64 `json:"b,omitempty"`
}

// recent is how long it matters that a connection has come back: longer than any ramp.
const recent = time.Minute

// keep notes what is to be remembered, and that it has changed.
func (c *consumer) keep(now time.Time) {
	m := common{Number: c.kept.Number, Stalled: stamp(c.memory.StalledAt), Pace: roughly(&c.memory.Pace, c.kept.Pace)}
	if b := &c.memory.Breaker; b.Phase != plan.Watching || b.Trips > 0 {
		m.Breaker = &memoBreaker{b.Phase, b.Trips, stamp(b.Until), stamp(b.Since), b.Let, stamp(b.Step), b.Proof.Milliseconds(), b.Lived, clip(b.Cause), b.N, b.Of}
	}
	for _, d := range c.memory.Deaths {
		m.Deaths = append(m.Deaths, memoDeath{int64(d.Ran), d.Backlog})
	}
	for i := range c.observed.Conns {
		conn := &c.observed.Conns[i]
		note := memoConn{Down: conn.State == plan.ConnDown}
		if !conn.Back.IsZero() && now.Sub(conn.Back) < recent {
			note.Back = stamp(conn.Back)
		}
		if conn.State == plan.ConnUnknown {
			note = c.past[conn.Name] // nobody has looked yet
		}
		if note != (memoConn{}) {
			if m.Conns == nil {
				m.Conns = map[string]*memoConn{}
			}
			m.Conns[conn.Name] = &note
		}
	}
	if c.kept.Number == 0 && m.Stalled == 0 && m.Breaker == nil && m.Deaths == nil && m.Conns == nil && m.Pace == nil {
		return
	}
	if !reflect.DeepEqual(m, c.kept) {
		m.Number++
		c.kept, c.unkept = m, true
	}
}

// memo is what the keeper remembers of a slot, and of the consumer with it.
func (c *consumer) memo(u *unit) []byte {
	c.unkept = false
	if c.kept.Number == 0 {
		return u.memo(nil)
	}
	return u.memo(&c.kept)
}

// remind leaves a change with the keeper that no memo of this turn has taken along.
func (c *consumer) remind() { // run 0 acknowledges nothing
	if !c.unkept || c.shutdown || c.removed || len(c.units) == 0 {
		return
	}
	u := c.units[0]
	c.send(c.r.keeper.Ack(keeper.AckRequest{Slot: u.key, Memo: c.memo(u)}))
}

// recollect takes what an earlier engine has remembered.
func (c *consumer) recollect(m *common, now time.Time) {
	if m == nil || m.Number <= c.kept.Number {
		return
	}
	c.kept, c.past = *m, map[string]memoConn{}
	for name, conn := range m.Conns {
		c.past[name] = *conn
	}
	moment := func(ms int64) time.Time {
		if ms == 0 {
			return time.Time{}
		}
		return now.Add(time.UnixMilli(ms).Sub(now)) // deadlines count on the clock that is never set
	}
	if p := &c.memory.Pace; m.Pace != nil && p.Rate == 0 {
		p.Rate, p.Startup, p.Proven = m.Pace.Rate, time.Duration(m.Pace.Startup)*time.Millisecond, m.Pace.Proven
	}
	c.memory.StalledAt = moment(m.Stalled)
	c.memory.Deaths = nil
	for _, d := range m.Deaths {
		c.memory.Deaths = append(c.memory.Deaths, plan.Death{Ran: time.Duration(d.Ran), Backlog: d.Backlog})
	}
	own := &c.memory.Breaker
	b := plan.Breaker{Crashes: own.Crashes, Credit: own.Credit, Good: own.Good}
	if k := m.Breaker; k != nil {
		b.Phase, b.Trips, b.Let, b.Lived, b.Cause, b.N, b.Of = min(k.Phase, plan.Ramping), k.Trips, k.Let, k.Lived, k.Cause, k.N, k.Of
		b.Until, b.Since, b.Step, b.Proof = moment(k.Until), moment(k.Since), moment(k.Step), time.Duration(k.Proof)*time.Millisecond
		if longest := now.Add(2 * c.policy.Max); b.Phase == plan.Holding && b.Until.After(longest) { // the clock was set back
			b.Until = longest
		}
	}
	c.memory.Breaker = b
}

// remembered is a connection with what an earlier engine has seen of it: one that
// was down then, and answers the first time it is asked, has come back.
func (c *consumer) remembered(conn plan.Conn) plan.Conn {
	was, ok := c.past[conn.Name]
	if !ok || conn.State == plan.ConnUnknown {
		return conn
	}
	if !conn.Back.IsZero() || conn.State == plan.ConnDown {
		delete(c.past, conn.Name) // this engine has seen something later
		return conn
	}
	if was.Down {
		was = memoConn{Back: stamp(conn.At)}
		c.past[conn.Name] = was
	}
	if was.Back != 0 {
		conn.Back = time.UnixMilli(was.Back)
	}
	return conn
}

func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
