package trace

import (
	"fmt"
	"slices"
	"time"

	"qsuper/plan"
	"qsuper/slot"
)

// Program is what another file says about a consumer.
type Program struct {
	plan.Program
	Requires []string // connections, that of its queue among them
}

// Difference is a span of time in which something else would have been decided.
type Difference struct {
	From     time.Time
	Until    time.Time // zero: to the end of the trace
	Consumer string
	Was      Verdict
	Would    Verdict
}

// Report is what a replay has found.
type Report struct {
	Differences []Difference // by time
	Records     int
	Consumers   int
	Fires       int // records about fires of jobs, which are not decided again
	From, Until time.Time
	Missed      uint64   // records that could not be written
	Gone        []string // consumers of the trace that the other file does not have
	Assumed     []string // what the trace does not tell, in words
}

// Replay decides again what the records hold, as another file would have it. What
// was seen is taken as it was seen: that other decisions would have been followed
// by other observations is not guessed. program returns false for a consumer
// that the file does not have. Records are in the order of their time.
func Replay(records []Record, program func(string) (Program, bool)) Report {
	p := player{program: program, conns: map[string]plan.Conn{}, of: map[string]*part{}, report: Report{Records: len(records)}}
	for i := range records {
		p.play(&records[i])
	}
	for _, name := range p.order {
		if c := p.of[name]; c.known {
			p.replay(c, p.report.Until)
			p.close(c, time.Time{})
		}
	}
	p.report.Consumers = len(p.order)
	slices.SortStableFunc(p.report.Differences, func(a, b Difference) int { return a.From.Compare(b.From) })
	return p.report
}

// player goes through the records of all consumers side by side: what one of them
// has seen of a connection is true for the others.
type player struct {
	program func(string) (Program, bool)
	conns   map[string]plan.Conn // latest look at each
	of      map[string]*part
	order   []string
	report  Report
}

// part is one consumer.
type part struct {
	known  bool // the other file has it
	prog   Program
	record *Record
	memory plan.Memory
	open   *Difference // that goes on
	early  bool        // it began between two records
}

func (p *player) play(r *Record) {
	if p.report.From.IsZero() {
		p.report.From = r.At
	}
	p.report.Until = r.At
	p.report.Missed += r.Missed
	for _, c := range r.Observed.Conns {
		p.conns[c.Name] = c
	}
	if r.Job != nil {
		p.report.Fires++
		return
	}
	c := p.of[r.Consumer]
	if c == nil {
		c = &part{}
		p.of[r.Consumer] = c
		p.order = append(p.order, r.Consumer)
		if c.prog, c.known = p.program(r.Consumer); !c.known {
			p.report.Gone = append(p.report.Gone, r.Consumer)
		}
	}
	if !c.known {
		return
	}
	mine := r.Memory
	if c.record != nil {
		p.replay(c, r.At)
		// Where it has come to another conclusion it goes on from that; the rest are facts.
		if c.memory.Target != mine.Target {
			mine.Target, mine.FewerSince, mine.Spare = c.memory.Target, c.memory.FewerSince, c.memory.Spare
		}
	}
	c.record, c.memory = r, mine
}

// steps bounds how often a decision is taken again between two records.
const steps = 10_000

// replay takes the decision of the latest record, and again whenever time alone
// may change it, until the next one.
func (p *player) replay(c *part, until time.Time) {
	r := c.record
	o := p.seen(c)
	slots := r.slots(c.prog.Max)
	now := r.At
	for range steps {
		result := plan.Decide(c.prog.Program, o, c.memory, slots, now)
		c.memory = result.Memory
		p.compare(c, verdict(result, slots), now)
		if result.Next.IsZero() || !result.Next.Before(until) {
			return
		}
		now = later(result.Next, now.Add(time.Millisecond))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// slots are those of the record, and those that the other file has besides.
func (r *Record) slots(most int) []plan.Slot {
	var list []plan.Slot
	for _, s := range r.Slots {
		for range s.N {
			list = append(list, s.Slot)
		}
	}
	for len(list) < most {
		list = append(list, plan.Slot{State: slot.State{Phase: slot.Halted}})
	}
	return list
}

// seen is what was observed, as far as the other file asks for it. The budget stays as
// it was: who had which part of it depends on everybody.
func (p *player) seen(c *part) plan.Observed {
	o := c.record.Observed
	o.Conns = nil
	for _, name := range c.prog.Requires {
		i := slices.IndexFunc(c.record.Observed.Conns, func(k plan.Conn) bool { return k.Name == name })
		conn, other := p.conns[name]
		switch {
		case i >= 0:
			conn = c.record.Observed.Conns[i]
		case !other:
			conn = plan.Conn{Name: name, State: plan.ConnUp, At: c.record.At}
			p.assume(fmt.Sprintf("%s answered all the time: nobody had asked it", name))
		}
		o.Conns = append(o.Conns, conn)
	}
	if c.prog.Queue != c.record.Queue && c.prog.Queue != "" {
		p.assume(fmt.Sprintf("%s had as many messages as its queue before, %s", c.prog.Queue, orNone(c.record.Queue)))
	}
	return o
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func (p *player) assume(text string) {
	if !slices.Contains(p.report.Assumed, text) {
		p.report.Assumed = append(p.report.Assumed, text)
	}
}

// compare opens a difference, or ends it.
func (p *player) compare(c *part, would Verdict, now time.Time) {
	was := c.record.Was
	if c.open != nil && same(c.open.Was, was) && same(c.open.Would, would) {
		return
	}
	p.close(c, now)
	if !same(was, would) {
		c.early = now.After(c.record.At)
		c.open = &Difference{From: now, Consumer: c.record.Consumer, Was: was, Would: would}
	}
}

func (p *player) close(c *part, at time.Time) {
	if c.open == nil {
		return
	}
	c.open.Until = at
	// What time alone has changed here may only have been written down later there.
	if !c.early || at.IsZero() || at.Sub(c.open.From) > Every {
		p.report.Differences = append(p.report.Differences, *c.open)
	}
	c.open = nil
}

// same compares what follows for the world: how many run and how many are to end,
// and where none runs why not.
func same(a, b Verdict) bool {
	return a.Up() == b.Up() && a.Ending == b.Ending && (a.Up() > 0 || a.Reason.Code == b.Reason.Code)
}
